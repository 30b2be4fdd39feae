"""What a run looks like at one moment: built from its events, one after the other. Pure; `now` comes in, in seconds."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from agent_s3.types import RolloutResult, Step
from agent_s3.words import action_words
from bbon.types import (
    Asked,
    Fact,
    FactsFound,
    Judged,
    PhaseBegan,
    RolloutBegan,
    RolloutOver,
    RunEvent,
    StepTaken,
    Verdict,
)
from llm.chat import Usage
from viewer.plain import plain

STATE_WORDS = {
    "waiting": "waiting",
    "running": "running",
    "done": "says done",
    "fail": "gave up",
    "step_limit": "step limit",
    "stopped": "got nowhere",
    "bad_replies": "bad replies",
    "budget": "budget spent",
    "safety_check": "safety check",
    "timeout": "time over",
    "model_error": "model failed",
    "machine_lost": "machine lost",
    "interrupted": "interrupted",
    "crashed": "crashed",
}
"""How the states of a rollout are called on screen and in the report."""


class Phase(NamedTuple):
    """A phase of the run."""

    name: str
    detail: str
    began: float
    """`now` when it began, in seconds."""


@dataclass(frozen=True)
class Row:
    """One rollout as it is shown."""

    index: int
    state: str = "waiting"
    """A key of `STATE_WORDS`."""
    reason: str = ""
    steps: int = 0
    """Steps taken so far."""
    action: str = ""
    """The last action in words, or what went wrong."""
    facts: tuple[Fact, ...] = ()
    usage: Usage = field(default_factory=Usage)
    attempt: int = 1
    since: float = 0.0
    """`now` of the last event of this rollout."""

    @property
    def over(self) -> bool:
        return self.state not in ("waiting", "running")


@dataclass(frozen=True)
class Board:
    """A run at one moment."""

    rows: tuple[Row, ...]
    began: float
    phases: tuple[Phase, ...] = ()
    verdict: Verdict | None = None


def new_board(n: int, now: float) -> Board:
    return Board(rows=tuple(Row(index) for index in range(n)), began=now)


def advance(board: Board, event: RunEvent, now: float) -> Board:
    """The board after one more event.

    A rollout that was added to the run gets a row when it begins; other events of unknown ones change nothing.
    """
    match event:
        case RolloutBegan() if event.rollout >= len(board.rows):
            added = tuple(Row(index) for index in range(len(board.rows), event.rollout + 1))
            return _with_row(replace(board, rows=(*board.rows, *added)), event.rollout, event, now)
        case PhaseBegan():
            return replace(board, phases=(*board.phases, Phase(plain(event.name), plain(event.detail), now)))
        case Judged():
            return replace(board, verdict=event.verdict)
        case RolloutOver():
            return _with_row(board, event.result.index, event, now)
        case _:
            return _with_row(board, event.rollout, event, now)


def _with_row(board: Board, index: int, event: RunEvent, now: float) -> Board:
    rows = tuple(replace(_next_row(row, event), since=now) if row.index == index else row for row in board.rows)
    return replace(board, rows=rows)


def _next_row(row: Row, event: RunEvent) -> Row:
    match event:
        case RolloutBegan():
            again = Row(row.index, state="running", attempt=event.attempt)
            return again if event.attempt > row.attempt else replace(row, state="running", attempt=event.attempt)
        case StepTaken():
            spent = sum(event.step.usage.values(), row.usage)
            return replace(row, state="running", steps=event.step.index + 1, action=step_words(event.step), usage=spent)
        case Asked():
            return replace(row, action=plain(f"asks: {event.question}"))
        case FactsFound():
            return replace(row, facts=(*row.facts, *(fact for fact in event.facts if fact.dropped is None)))
        case RolloutOver():
            return _over(row, event.result)
        case _:
            return row


def _over(row: Row, result: RolloutResult) -> Row:
    usage = sum(result.usage.values(), Usage()) if result.usage else row.usage
    return replace(
        row, state=result.status, reason=plain(result.reason), steps=result.steps, usage=usage, attempt=result.attempt
    )


def step_words(step: Step) -> str:
    """What a step did, in one line: its action, or why there is none."""
    if step.action is None:
        return plain(f"no action: {step.error.message}" if step.error else "no action")
    words = action_words(step.action)
    return plain(f"{words} (failed: {step.error.message})" if step.error else words)


def fact_of(facts: tuple[Fact, ...], step: int) -> str:
    """The first fact of a step, as one line; empty when there is none."""
    return next((plain(fact.text) for fact in facts if fact.step == step), "")
