"""The live display in a terminal, and its plain form in a pipe."""

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from agent_s3.actions import Click
from agent_s3.types import RolloutResult, Step
from bbon.types import (
    Citation,
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
from viewer.board import new_board
from viewer.console import for_progress
from viewer.terminal import LiveRun, render

EVIL = "[red]markup[/red] \x1b[2J\x1b]0;owned\x07 [/nothing]"
EVENTS: tuple[RunEvent, ...] = (
    PhaseBegan(name="boot", detail="slim"),
    PhaseBegan(name="rollouts"),
    RolloutBegan(rollout=0, machine_id="m-1", attempt=1),
    StepTaken(
        rollout=0,
        step=Step(index=0, started_at=datetime(2026, 11, 23, tzinfo=UTC), action=Click(element_description=EVIL)),
    ),
    FactsFound(rollout=0, facts=(Fact(step=0, text=f"A window opened {EVIL}", source="model"),)),
    RolloutOver(result=RolloutResult(index=0, status="done", reason=EVIL, steps=1, seconds=3.0)),
    Judged(
        verdict=Verdict(
            winner=0,
            confidence=0.9,
            reasons=f"It did the task {EVIL}",
            citations=(Citation(candidate=0, step=0),),
            method="mcq",
        )
    ),
)


def console(*, terminal: bool, width: int = 100, height: int = 30) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=height,
        markup=False,
        highlight=False,
        color_system=None,
    )


def shown(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def test_a_pipe_gets_one_plain_line_per_event() -> None:
    target = console(terminal=False)

    with LiveRun(1, target, clock=lambda: 7.0) as live:
        for event in EVENTS:
            live(event)

    lines = shown(target).splitlines()
    assert lines[0] == "[    0.0 s] boot: slim"
    assert any("rollout 0 step 0: click" in line for line in lines)
    assert any("rollout 0: says done after 1 steps" in line for line in lines)
    assert any("Verdict: rollout 0 wins (confidence 0.90)" in line for line in lines)


def test_a_terminal_gets_rows_and_at_last_the_verdict_with_what_it_cites() -> None:
    target = console(terminal=True)

    with LiveRun(2, target, clock=lambda: 7.0) as live:
        for event in EVENTS:
            live(event)

    text = shown(target)
    for words in ("last action", "winner", "waiting", "Verdict: rollout 0 wins", "It did the task", "rollout 0 step 0"):
        assert words in text


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_is_shown_as_text(terminal: bool) -> None:
    target = console(terminal=terminal)

    with LiveRun(1, target) as live:
        for event in EVENTS:
            live(event)

    text = re.sub(r"\x1b\[(\?25[lh]|2K|\d*A)", "", shown(target))  # what rich itself needs to redraw
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]markup[/red]" in text


def test_more_rollouts_than_lines_still_fit_and_say_so() -> None:
    target = console(terminal=True, height=20)

    target.print(render(new_board(32, 0.0), 1.0, height=20, width=100))

    assert "more that do not fit" in shown(target)
    assert len(shown(target).splitlines()) < 20


def test_a_narrow_terminal_keeps_room_for_the_actions() -> None:
    wide, narrow = console(terminal=True, width=100), console(terminal=True, width=50)
    for target in (wide, narrow):
        target.print(render(new_board(2, 0.0), 1.0, height=20, width=target.width))

    assert "tokens" in shown(wide)
    assert "tokens" not in shown(narrow)
    assert "last action" in shown(narrow)


def test_a_display_whose_reader_went_away_lets_the_run_go_on() -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    with LiveRun(1, for_progress(Gone())) as live:
        for event in EVENTS:
            live(event)

    assert live.board.verdict is not None
