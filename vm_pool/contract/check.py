"""What a check is: a promise in words, a body that raises when it is not kept, and the typed result of running it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from vm_pool.contract.pace import at_pace, stretched
from vm_pool.errors import NotSupported, VMPoolError
from vm_pool.types import Frozen

Subject = TypeVar("Subject")
Failure = TypeVar("Failure", bound=VMPoolError)
Outcome = Literal["passed", "failed", "not_applicable"]
_REASON_LIMIT = 300


class ContractBroken(AssertionError):
    """Something does not do what its Protocol promises; the message says which promise."""


class NotApplicable(Exception):
    """A promise that was not made: names the missing capability, in words of `MachineInfo.capabilities` where there is
    one, and why the check cannot be done without it."""

    def __init__(self, capability: str, reason: str):
        super().__init__(reason)
        self.capability = capability


class Result(Frozen):
    """What came of one check."""

    check: str
    """The promise, as a sentence."""
    group: str
    outcome: Outcome
    reason: str = ""
    """In one line: which promise was broken, or why the check does not apply; empty when it passed."""
    missing: str | None = None
    """The capability without which the check does not apply."""
    seconds: float


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """A named promise about a machine, a provider or a set of clones."""

    name: str
    """The sentence with underscores, as its function is called."""
    group: str
    body: Callable[[Subject], Awaitable[None]]
    limit_s: float

    @property
    def sentence(self) -> str:
        return self.name.replace("_", " ")

    async def __call__(self, subject: Subject, *, pace: float = 1.0) -> None:
        """`pace` stretches all time limits. Raises: `ContractBroken`, `NotApplicable`, `TimeoutError`, and what the
        subject raises."""
        with at_pace(pace):
            async with asyncio.timeout(stretched(self.limit_s)):
                await self.body(subject)


def check(group: str, *, limit_s: float = 60.0) -> Callable[[Callable[[Subject], Awaitable[None]]], Check[Subject]]:
    """Make a check of a coroutine function whose name is the promise.

    `limit_s`: after this long it has failed on a machine as fast as this host; see `vm_pool.contract.pace`.
    """

    def make(body: Callable[[Subject], Awaitable[None]]) -> Check[Subject]:
        return Check(getattr(body, "__name__", "a check"), group, body, limit_s)

    return make


def checks_in(names: Mapping[str, object]) -> tuple[Check[Any], ...]:
    """All checks among the names of a module, in the order of their definition."""
    return tuple(cast("Check[Any]", value) for value in list(names.values()) if isinstance(value, Check))


async def run_check(one: Check[Subject], subject: Subject, *, pace: float = 1.0) -> Result:
    """Run a check; whatever it raises becomes its result. `pace` stretches its time limits."""
    started = time.monotonic()
    outcome, reason, missing = await _outcome(one, subject, pace)
    seconds = round(time.monotonic() - started, 3)
    return Result(check=one.sentence, group=one.group, outcome=outcome, reason=reason, missing=missing, seconds=seconds)


async def _outcome(one: Check[Subject], subject: Subject, pace: float) -> tuple[Outcome, str, str | None]:
    try:
        await one(subject, pace=pace)
    except (NotApplicable, NotSupported) as lack:
        return "not_applicable", _one_line(str(lack)), lack.capability
    except ContractBroken as broken:
        return "failed", _one_line(str(broken)), None
    except TimeoutError as error:
        return "failed", _one_line(str(error)) or f"it was not over after {one.limit_s * pace:g} s", None
    except Exception as error:  # noqa: BLE001 - one check that breaks must not keep the others from being run
        return "failed", _one_line(f"{type(error).__name__}: {error}"), None
    return "passed", "", None


def expect(kept: bool, promise: str) -> None:
    """Raises: `ContractBroken`."""
    if not kept:
        raise ContractBroken(promise)


async def expect_error(failure: type[Failure], call: Awaitable[object], promise: str) -> Failure:
    """Await a call that must fail, with one line that says why. Raises: `ContractBroken`."""
    try:
        await call
    except failure as error:
        expect("\n" not in str(error) and bool(str(error)), f"{promise}: with one line that says why")
        return error
    raise ContractBroken(f"{promise}: nothing was raised")


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[: 2 * _REASON_LIMIT])
    return " ".join(printable.split())[:_REASON_LIMIT]
