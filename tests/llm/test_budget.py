"""The run's limit of money and tokens, and the ledger."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer_models import HI, World, connect
from scripted_peers import Cut, Deed, Drop, Fault, Peer, Say, Slow

from llm.budget import Budget, Ledger, Metered, Spend, upper_estimate
from llm.chat import Completion, ImagePart, Message, Request, Tool, ToolCall, ToolResult, Usage
from llm.errors import BadReply, BudgetExceeded, PriceUnknown, ProviderTimeout, RateLimited, Unavailable
from llm.pricing import FREE, Price
from llm.registry import price_of
from llm.scripted import Reply, ScriptedModel
from llm.settings import Settings

DOLLAR_A_TOKEN = Price(input=1_000_000, cached=1_000_000, output=1_000_000)


def ask(text: str = "hi", max_tokens: int = 10) -> Request:
    return Request(messages=(Message.of("user", text),), max_tokens=max_tokens)


def costing(tokens: int) -> Completion:
    return Completion(text="ok", model="m", usage=Usage(calls=1, output_tokens=tokens, usd=float(tokens)))


def metered(model: ScriptedModel, budget: Budget, ledger: Ledger | None = None, price: Price | None = FREE) -> Metered:
    return Metered(model, budget=budget, ledger=ledger or Ledger(), price=price)


async def test_a_call_is_booked_under_the_role_that_asked() -> None:
    ledger = Ledger()
    model = metered(ScriptedModel([costing(3), costing(4), costing(5)]), Budget(), ledger)
    for role in ("worker", "judge", "worker"):
        await model.complete(ask(), role=role)
    assert ledger.by_role["worker"] == Usage(calls=2, output_tokens=8, usd=8.0)
    assert ledger.by_role["judge"].output_tokens == 4
    assert ledger.total.calls == 3


async def test_a_call_that_could_pass_the_limit_is_refused_before_it_is_made() -> None:
    inner = ScriptedModel([costing(5)])
    model = metered(inner, Budget(usd=20), price=DOLLAR_A_TOKEN)
    with pytest.raises(BudgetExceeded, match="may take 28"):
        await model.complete(ask("hi", max_tokens=10), role="worker")
    assert inner.asked == []


async def test_eight_parallel_rollouts_never_pass_the_limit() -> None:
    budget, most = Budget(tokens=200), 0
    inner = ScriptedModel([Reply(times=0, delay_s=0.001, usage=Usage(calls=1, input_tokens=18, output_tokens=7))])
    model = metered(inner, budget)

    async def rollout() -> int:
        nonlocal most
        for calls in range(100):
            try:
                await model.complete(ask("hi", max_tokens=10), role="worker")
            except BudgetExceeded:
                return calls
            most = max(most, budget.spent.tokens)
        raise AssertionError("the budget never ended")

    calls = await asyncio.gather(*(rollout() for _ in range(8)))
    assert most <= 200
    assert sum(calls) == 7, "28 reserved, 25 spent a call: the eighth might end at 203"


async def test_a_call_that_fits_only_without_running_ones_waits_for_them() -> None:
    budget = Budget(tokens=40)
    model = metered(ScriptedModel([Reply(times=0, delay_s=0.01, usage=Usage(calls=1, output_tokens=1))]), budget)
    await asyncio.gather(*(model.complete(ask("hi", max_tokens=10), role="worker") for _ in range(6)))
    assert budget.spent.tokens == 6


async def test_a_waiting_call_that_is_cancelled_leaves_the_budget_usable() -> None:
    budget = Budget(tokens=10)
    hold = await budget.reserve(Spend(10))
    waiting = asyncio.create_task(budget.reserve(Spend(10)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hold.settle(Spend(0))
    assert (await budget.reserve(Spend(10))).amount == Spend(10)


def test_reservations_from_two_threads_with_loops_of_their_own_do_not_overlap() -> None:
    budget = Budget(tokens=10)

    async def take() -> None:
        for _ in range(50):
            with await budget.reserve(Spend(10)) as hold:
                await asyncio.sleep(0)
                hold.settle(Spend(0))

    threads = [threading.Thread(target=asyncio.run, args=(take(),), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(t.is_alive() for t in threads)
    assert budget.spent == Spend(0)


def test_a_money_budget_without_a_price_is_an_error_before_any_call() -> None:
    with pytest.raises(PriceUnknown, match="no known price"):
        metered(ScriptedModel([]), Budget(usd=1), price=None)


async def test_a_token_budget_needs_no_price() -> None:
    model = metered(ScriptedModel(["ok"]), Budget(tokens=1000), price=None)
    assert (await model.complete(ask(), role="worker")).text == "ok"


def test_a_resumed_run_starts_with_what_was_spent() -> None:
    budget = Budget(usd=5, spent=Usage(calls=1, usd=4.5, input_tokens=7))
    assert budget.spent == Spend(7, 4.5)
    assert Ledger({"worker": Usage(calls=2)}).total.calls == 2


def test_a_resumed_run_with_unknown_prices_cannot_have_a_money_budget() -> None:
    with pytest.raises(PriceUnknown, match="unknown price"):
        Budget(usd=5, spent=Usage(calls=1, usd=None))


async def test_a_refused_call_costs_nothing() -> None:
    budget = Budget(tokens=100)
    with pytest.raises(RateLimited):
        await metered(ScriptedModel([RateLimited("slow down")]), budget).complete(ask(), role="worker")
    assert budget.spent == Spend()


async def test_a_call_that_timed_out_forfeits_its_reservation_because_it_may_be_billed() -> None:
    budget = Budget(tokens=100)
    with pytest.raises(ProviderTimeout):
        await metered(ScriptedModel([ProviderTimeout("slow")]), budget).complete(ask(), role="worker")
    assert budget.spent == upper_estimate(ask(), FREE)


SEVEN = Say(input_tokens=3, cached_tokens=0, output_tokens=4)


@pytest.mark.parametrize(
    ("deeds", "told", "lost"),
    [
        ((Cut(), Drop(), SEVEN), 7, 2),
        ((Slow(30), SEVEN), 7, 1),
        ((Cut(), Fault(400)), 0, 1),
        ((Cut(), Cut(), Fault(500)), 0, 2),
        ((Cut(),), 0, 3),
        ((Fault(500), Fault(429), SEVEN), 7, 0),
    ],
)
async def test_every_try_that_was_sent_and_not_answered_is_paid_for(
    deeds: tuple[Deed, ...], told: int, lost: int
) -> None:
    budget, settings = Budget(tokens=1_000_000), Settings(timeout_s=3.0, retry=World().policy(attempts=3))
    async with Peer("chat", *deeds) as peer:
        model = Metered(connect(peer, settings), budget=budget, ledger=Ledger(), price=FREE)
        await asyncio.gather(model.complete(HI, role="worker"), return_exceptions=True)
        await model.aclose()
    assert budget.spent.tokens == told + lost * upper_estimate(HI, FREE).tokens


async def test_a_question_that_never_left_is_not_counted_as_lost() -> None:
    async with Peer("chat") as peer:
        model = connect(peer, Settings(retry=World().policy(attempts=2)))
    with pytest.raises(Unavailable) as caught:
        await model.complete(HI, role="worker")
    await model.aclose()
    assert caught.value.lost == 0


async def test_a_bad_reply_is_paid_for() -> None:
    ledger, bad = Ledger(), BadReply("not JSON", usage=Usage(calls=1, output_tokens=9))
    with pytest.raises(BadReply):
        await metered(ScriptedModel([bad]), Budget(tokens=100), ledger).complete(ask(), role="worker")
    assert ledger.by_role["worker"].output_tokens == 9


async def test_a_metered_model_looks_like_the_model_inside() -> None:
    inner = ScriptedModel([])
    model = metered(inner, Budget())
    assert (model.name, model.abilities) == (inner.name, inner.abilities)
    await model.aclose()


def test_the_estimate_counts_every_part_of_a_request() -> None:
    schema = {"type": "object"}
    parts = (ImagePart(b"x"), ToolCall("c", "f", {"a": 1}), ToolResult("c", "done"), "text")
    whole = Request(
        messages=(Message.of("user", *parts),), tools=(Tool("f", "d", schema),), schema=schema, max_tokens=7
    )
    assert upper_estimate(whole, FREE).tokens > FREE.image_tokens + 7 + len("text") + len("done") + 2 * len(str(schema))


def test_a_picture_is_estimated_at_what_its_model_counts_at_most() -> None:
    shown = Request(messages=(Message.of("user", ImagePart(b"x")),), max_tokens=1)
    mini, plain = price_of("openai:gpt-4o-mini"), price_of("openai:gpt-4o")
    assert upper_estimate(shown, mini).tokens - upper_estimate(shown, plain).tokens == 48_169 - 5_000


@given(st.text(), st.integers(min_value=1, max_value=10_000))
def test_the_estimate_is_never_below_one_token_per_byte_plus_the_output(text: str, max_tokens: int) -> None:
    estimate = upper_estimate(ask(text, max_tokens), DOLLAR_A_TOKEN)
    assert estimate.tokens >= len(text.encode()) + max_tokens
    assert estimate.usd == pytest.approx(estimate.tokens)


async def test_a_call_that_another_budget_refuses_costs_nothing_here() -> None:
    """A rollout's own budget stands around the run's."""
    own = Budget(tokens=1000, name="the budget of this rollout")
    outer = Metered(metered(ScriptedModel([costing(5)]), Budget(tokens=1)), budget=own, ledger=Ledger(), price=FREE)
    with pytest.raises(BudgetExceeded, match=r"^the budget is used up"):
        await outer.complete(ask(), role="worker")
    assert own.spent == Spend()


async def test_a_refusal_says_whose_budget_it_was() -> None:
    model = metered(ScriptedModel([costing(5)]), Budget(tokens=1, name="the budget of this rollout"))
    with pytest.raises(BudgetExceeded, match=r"^the budget of this rollout is used up"):
        await model.complete(ask(), role="worker")


def test_the_cached_share_is_that_of_the_input() -> None:
    assert (Usage(input_tokens=1000, cached_tokens=620) + Usage(calls=1)).cached_share == 0.62
    assert Usage().cached_share == 0.0
