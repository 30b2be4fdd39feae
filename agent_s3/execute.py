"""Doing an action on the machine, once; what is returned is what was really sent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from agent_s3.actions import (
    Action,
    AskUser,
    CallCodeAgent,
    Done,
    Fail,
    HighlightTextSpan,
    Look,
    Open,
    SaveToKnowledge,
    SetCellValues,
    SwitchApplications,
    Wait,
)
from agent_s3.code_agent import CodeOutcome
from agent_s3.gestures import plan
from agent_s3.guest_script import run_script
from agent_s3.observation import covered_by
from agent_s3.settings import AgentSettings
from agent_s3.types import CodeReport, Frozen, Grounding, StepError, Tried, UserAnswer
from agent_s3.windows import open_it, switch_to
from vm_pool.errors import GuestError, GuestTimeout, MachineError, MachineLost
from vm_pool.events import Drag, InputEvent
from vm_pool.machine import Machine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executed:
    """What came of an action."""

    events: tuple[InputEvent, ...] = ()
    """Sent to the machine."""
    code: CodeReport | None = None
    answer: UserAnswer | None = None
    error: StepError | None = None
    fatal: Exception | None = None
    """Ends the rollout once the step is recorded."""
    missed: tuple[Tried, ...] = ()
    """Who was asked in vain for a phrase."""
    places: tuple[Grounding, ...] = ()
    """Found while the action was done, beside those that it was given."""

    @property
    def nothing_done(self) -> bool:
        """True when there is no action, or it failed before anything was sent."""
        return self.error is not None and self.error.nothing_done

    @property
    def output(self) -> str | None:
        """What code printed; None: no code ran."""
        return None if self.code is None else "\n".join(turn.output for turn in self.code.turns if turn.output)


class Written(Frozen):
    """How many cells were written."""

    written: int


class Span(Frozen):
    """Where a text begins and ends, in screen pixels."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    to_x: int = Field(ge=0)
    to_y: int = Field(ge=0)
    window: str
    """Title of the window that it lies in; empty: not known."""


@dataclass(frozen=True)
class Hands:
    """What an action is done with."""

    machine: Machine
    settings: AgentSettings
    request_id: str
    """Of this step; the machine never executes it twice."""
    write_code: Callable[[str | None], Awaitable[CodeOutcome]]
    """Runs the coding agent on a part of the task; None: the whole task."""
    ask: Callable[[str], Awaitable[UserAnswer]]
    """Asks the user a question and waits."""
    read_span: Callable[[str, str], Awaitable[tuple[Grounding, Grounding] | None]]
    """Looks for a text by its first and last words on the picture of the screen; None: it was not read there."""


async def execute(action: Action, places: Sequence[Grounding], hands: Hands) -> Executed:
    """Do it. Failures of the guest and of models are part of the answer; they are not raised."""
    try:
        return await _do(action, places, hands)
    except MachineLost as error:
        return Executed(error=StepError(kind="machine", message=str(error)), fatal=error)
    except GuestTimeout as error:
        message = f"{error}; the action may or may not have been executed"
        return Executed(error=StepError(kind="refused_by_guest", message=message))
    except MachineError as error:
        return Executed(error=StepError(kind="refused_by_guest", message=str(error)))


async def _do(action: Action, places: Sequence[Grounding], hands: Hands) -> Executed:
    match action:
        case Open():
            timeout_s = hands.settings.open_timeout_s
            await open_it(hands.machine, action.app_or_filename, timeout_s=timeout_s, request_id=hands.request_id)
            return Executed()
        case SwitchApplications():
            await switch_to(hands.machine, action.app_code, request_id=hands.request_id)
            return Executed()
        case SetCellValues():
            data = {"cells": action.cell_values, "app": action.app_name, "sheet": action.sheet_name}
            await run_script(hands.machine, "set_cells", data, Written, timeout_s=60, request_id=hands.request_id)
            return Executed()
        case HighlightTextSpan():
            return await _highlight(action, hands)
        case CallCodeAgent():
            return _code_executed(await hands.write_code(action.task))
        case AskUser():
            return Executed(answer=await hands.ask(action.question))
        case Wait():
            await asyncio.sleep(action.time)  # passing time is what was asked for; the screen settles afterwards
            return Executed()
        case SaveToKnowledge() | Look() | Done() | Fail():
            return Executed()
        case _:
            return await _send(plan(action, places), hands)


async def _send(events: tuple[InputEvent, ...], hands: Hands) -> Executed:
    if events:
        await hands.machine.perform(events, request_id=hands.request_id)
    return Executed(events=events)


async def _highlight(action: HighlightTextSpan, hands: Hands) -> Executed:
    """By the accessibility tree; what it does not have may still be read on the picture.

    Raises: `GuestError` that says why the tree does not have it.
    """
    try:
        drag, places = await _span(action, hands), ()
    except GuestError as error:
        places = await hands.read_span(action.starting_phrase, action.ending_phrase)
        if places is None:
            raise
        log.info("text was read on the picture: %s", error)
        start, end = places
        drag = Drag(x=start.x, y=start.y, to_x=end.x, to_y=end.y, button=action.button)
    return replace(await _send((drag,), hands), places=places)


async def _span(action: HighlightTextSpan, hands: Hands) -> Drag:
    """A drag from before the first to behind the last character, from the machine's accessibility tree."""
    data = {"start": action.starting_phrase, "end": action.ending_phrase}
    span = await run_script(hands.machine, "text_span", data, Span)
    windows = await hands.machine.windows()
    ends = (span.x, span.y), (span.to_x, span.to_y)
    if cover := next((c for x, y in ends if (c := covered_by(windows, span.window, x, y))), None):
        raise GuestError(f"the window {cover!r} covers that text; bring its own window to the front first")
    to_x = min(span.to_x, hands.machine.info.width - 1)  # behind the last character may be behind the screen's edge
    return Drag(x=span.x, y=span.y, to_x=to_x, to_y=span.to_y, button=action.button)


def _code_executed(outcome: CodeOutcome) -> Executed:
    if outcome.fatal is None:
        return Executed(code=outcome.report)
    kind = "machine" if isinstance(outcome.fatal, MachineError) else "model"
    return Executed(code=outcome.report, error=StepError(kind=kind, message=str(outcome.fatal)), fatal=outcome.fatal)
