"""Asking again after passing faults: exponential backoff with jitter, within one deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from llm.errors import ProviderError, ProviderTimeout, RateLimited, Unavailable

T = TypeVar("T")

PASSING: tuple[type[ProviderError], ...] = (RateLimited, Unavailable, ProviderTimeout)
"""The faults that another try may mend."""


@dataclass(frozen=True)
class RetryPolicy:
    """When to ask again, and the world it happens in (replaced in tests)."""

    attempts: int = 6
    """Most tries, the first included."""
    first_s: float = 0.5
    """Upper end of the first wait; it doubles with every try."""
    longest_s: float = 30.0
    """Upper end of any wait of our own choice."""
    deadline_s: float = 600.0
    """Seconds over all tries and waits; no wait is begun that would end after it."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    """Uniform in [0, 1)."""

    def wait_s(self, attempt: int, error: ProviderError) -> float:
        """Seconds to wait after failed try `attempt` (0-based): what the provider asked for, else half to full backoff.

        The jitter also spreads a wait that the provider asked of many callers at once.
        """
        full = min(self.longest_s, self.first_s * 2**attempt)
        if error.retry_after_s is not None:
            return error.retry_after_s + self.first_s * self.random()
        return full * (0.5 + 0.5 * self.random())


async def retrying(ask: Callable[[], Awaitable[T]], policy: RetryPolicy) -> T:
    """Await `ask()` until it succeeds, fails for good, or the policy is exhausted; then its last error is raised.

    Raises: what `ask` raises; ProviderTimeout if a try is cut off by the deadline.
    """
    end = policy.clock() + policy.deadline_s
    attempt = 0
    while True:
        try:
            async with asyncio.timeout(max(0.0, end - policy.clock())):
                return await ask()
        except PASSING as error:
            wait = policy.wait_s(attempt, error)
            attempt += 1
            if attempt >= policy.attempts or policy.clock() + wait >= end:
                raise
        except TimeoutError as error:
            raise ProviderTimeout(f"no answer within {policy.deadline_s:g} s over {attempt + 1} tries") from error
        await policy.sleep(wait)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a response asks us to wait, from `retry-after-ms` or `Retry-After` (seconds or an HTTP date).

    None if it names none, or one that cannot be read. A date in the past is 0.
    Source: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if value is None or seconds is not None:
        return seconds
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
