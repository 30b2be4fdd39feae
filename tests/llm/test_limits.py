import asyncio

from llm.limits import DEFAULT_LIMITS, OTHER, Limits


def test_every_provider_has_its_usual_number_of_places() -> None:
    limits = Limits()
    assert [limits.most(name) for name in ("openai", "local", "elsewhere")] == [
        DEFAULT_LIMITS["openai"],
        DEFAULT_LIMITS["local"],
        OTHER,
    ]


def test_large_runs_get_more_places_everywhere_but_at_the_local_model() -> None:
    limits = Limits({"openai": 3}, least=20)
    assert [limits.most(name) for name in ("openai", "anthropic", "local", "elsewhere")] == [3, 20, 4, 20]


async def test_no_more_calls_are_under_way_than_there_are_places() -> None:
    limits, under_way, most = Limits({"p": 2}), 0, 0

    async def call() -> None:
        nonlocal under_way, most
        async with limits.slot("p"):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(call() for _ in range(6)))
    assert most == 2
