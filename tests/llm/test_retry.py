"""Waiting and asking again."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import ProviderTimeout, RateLimited, Refused, Unavailable
from llm.retry import RetryPolicy, retry_after_s, retrying


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def policy(self, attempts: int = 10, deadline_s: float = 60.0) -> RetryPolicy:
        return RetryPolicy(
            attempts=attempts, deadline_s=deadline_s, clock=lambda: self.now, sleep=self.sleep, random=lambda: 1.0
        )


class Asked:
    """Raises its errors one after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0

    async def __call__(self) -> str:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)
        return "ok"


async def test_passing_faults_are_asked_again() -> None:
    asked = Asked(Unavailable("a"), RateLimited("b"), ProviderTimeout("c"))
    assert await retrying(asked, Clock().policy()) == "ok"
    assert asked.times == 4


async def test_a_fault_that_no_retry_mends_is_raised_at_once() -> None:
    asked = Asked(Refused("no"))
    with pytest.raises(Refused):
        await retrying(asked, Clock().policy())
    assert asked.times == 1


async def test_the_last_error_is_raised_when_the_tries_are_used_up() -> None:
    with pytest.raises(Unavailable, match="third"):
        await retrying(Asked(*(Unavailable(x) for x in ("first", "second", "third"))), Clock().policy(attempts=3))


async def test_no_wait_is_begun_that_would_pass_the_deadline() -> None:
    clock = Clock()
    asked = Asked(RateLimited("slow", retry_after_s=50), RateLimited("slower", retry_after_s=50))
    with pytest.raises(RateLimited, match="slower"):
        await retrying(asked, clock.policy(deadline_s=60))
    assert clock.now < 60


async def test_a_try_that_runs_into_the_deadline_is_a_timeout() -> None:
    with pytest.raises(ProviderTimeout, match=r"0\.05 s over 1 tries"):
        await retrying(lambda: asyncio.sleep(30, "late"), RetryPolicy(deadline_s=0.05))


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(random=lambda: 1.0)
    assert [policy.wait_s(i, Unavailable("x")) for i in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(min_value=0, max_value=60), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_wait_is_between_half_and_all_of_the_backoff(attempt: int, chance: float) -> None:
    full = min(30.0, 0.5 * 2**attempt)
    assert full / 2 <= RetryPolicy(random=lambda: chance).wait_s(attempt, Unavailable("x")) <= full


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 11, 23, 12, tzinfo=UTC)) == seconds
