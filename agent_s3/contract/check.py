"""What a check of an action is: an action, an application, a promise, and two witnesses that both must confirm it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from agent_s3.contract.stage import Proof, Stage
from agent_s3.types import Frozen
from vm_pool.contract.check import Check, Outcome, run_check

App = TypeVar("App")
"""An application that is open on a stage."""


class Row(Frozen):
    """What came of one check of an action: a row of the table action x application x witness."""

    action: str
    application: str
    check: str
    """The promise, as a sentence."""
    outcome: Outcome
    events: str
    """What the X event log says: the first witness. Empty: it was not reached."""
    state: str
    """What the application itself says: the second witness. Empty: it was not reached."""
    reason: str = ""
    """In one line: what broke, or why the check does not apply; empty when it passed."""
    seconds: float


@dataclass(frozen=True)
class ActionCheck(Generic[App]):
    """A promise about an action in one application."""

    action: str
    check: Check[App]
    quick: bool
    """Whether it is part of the short form of the suite."""


@dataclass(frozen=True)
class Suite(Generic[App]):
    """All checks in one application, which is opened once for them."""

    application: str
    needs: str
    """The program without which none of them applies; empty: none."""
    opened: Callable[[Stage], AbstractAsyncContextManager[App]]
    checks: Sequence[ActionCheck[App]]


def proves(
    action: str, *, quick: bool = False, limit_s: float = 90.0
) -> Callable[[Callable[[App], Awaitable[None]]], ActionCheck[App]]:
    """Make a check of a coroutine function whose name is the promise; `limit_s` as in `vm_pool.contract.check`."""

    def make(body: Callable[[App], Awaitable[None]]) -> ActionCheck[App]:
        return ActionCheck(action, Check(body.__name__, action, body, limit_s), quick)

    return make


def checks_among(names: Mapping[str, object]) -> tuple[ActionCheck[Any], ...]:
    """All checks among the names of a module, in the order of their definition."""
    return tuple(cast("ActionCheck[Any]", value) for value in list(names.values()) if isinstance(value, ActionCheck))


async def run_row(application: str, one: ActionCheck[Any], app: object, stage: Stage, *, pace: float) -> Row:
    """Run a check; it fails when one of the witnesses was not asked."""
    stage.proof = Proof()
    result = await run_check(one.check, app, pace=pace)
    outcome, reason = result.outcome, result.reason
    if outcome == "passed" and not (stage.proof.events and stage.proof.state):
        outcome, reason = "failed", "one of the two witnesses was not asked"
    return Row(
        action=one.action,
        application=application,
        check=result.check,
        outcome=outcome,
        events=stage.proof.events,
        state=stage.proof.state,
        reason=reason,
        seconds=result.seconds,
    )
