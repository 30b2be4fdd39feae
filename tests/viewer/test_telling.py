"""What a user says to a run that is under way, from another terminal and from the one that shows it."""

import asyncio
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import cli
from agent_s3.actions import AskUser
from agent_s3.paths import RunPaths
from agent_s3.record import read_lines, write_model
from agent_s3.types import RolloutResult, RolloutStatus, Step, UserMessage
from bbon.recorded import write_config
from bbon.types import Asked, RunConfig, RunEvent, RunResult, StepTaken, nobody
from viewer.console import ProgressConsole
from viewer.telling import Answers
from viewer.terminal import LiveRun

ROOT = Path(cli.__file__).parent
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = Asked(rollout=1, question="Which colour?", timeout_s=300)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path / "run")
    write_config(RunConfig(instruction="Paint it", n=2), paths)
    return paths


def said(paths: RunPaths) -> list[tuple[int | None, str]]:
    return [(message.rollout, message.text) for message in read_lines(paths.inbox, UserMessage)]


def over(paths: RunPaths, index: int, status: RolloutStatus = "done") -> None:
    result = RolloutResult(index=index, status=status, reason="", steps=1, seconds=1.0)
    write_model(paths.rollout(index).result, result)


def tell(paths: RunPaths, *words: str) -> int:
    return cli.main(["tell", str(paths.root), *words])


def test_a_message_goes_to_all_rollouts_or_to_one(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(paths, "make it blue") == 0
    assert tell(paths, "you: green", "--rollout", "1") == 0
    assert said(paths) == [(None, "make it blue"), (1, "you: green")]
    assert "told rollout 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["x", "--rollout", "2"], "its rollouts are 0 to 1"),
        (["x", "--rollout", "0"], "is over"),
        ([" "], "at least 1 character"),
    ],
)
def test_what_nobody_would_read_is_refused(
    paths: RunPaths, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    over(paths, 0)
    assert tell(paths, *words) == 2
    assert line in capsys.readouterr().err
    assert said(paths) == []


def test_a_run_that_is_over_reads_nothing_and_one_that_was_interrupted_does(
    paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    over(paths, 0)
    over(paths, 1, "interrupted")
    assert tell(paths, "go on") == 0
    over(paths, 1)
    assert tell(paths, "go on") == 2
    result = RunResult(
        run_dir="r", instruction="x", winner=None, verdict=None, rollouts=(), usage={}, seconds={}, model="local"
    )
    write_model(paths.result, result)
    assert tell(paths, "go on") == 2
    assert tell(RunPaths(paths.root / "none"), "go on") == 2
    assert "config.json is missing" in capsys.readouterr().err


def test_a_rollout_that_was_added_can_be_told_too(paths: RunPaths) -> None:
    paths.rollout(2).root.mkdir(parents=True)
    assert tell(paths, "x", "--rollout", "2") == 0
    assert tell(paths, "x", "--rollout", "3") == 2


def answers(paths: RunPaths, listener: Callable[[RunEvent], Any] = nobody) -> Answers:
    return Answers(listener, paths, now=lambda: NOW)


def test_each_line_that_is_typed_answers_the_rollout_that_has_waited_longest(paths: RunPaths) -> None:
    heard = answers(paths)
    heard.typed(b"nobody asked\n")
    heard(ASKED)
    heard(ASKED.model_copy(update={"rollout": 0}))
    heard.typed(b"blu")
    heard.typed(b"e\n\ngreen\nred\n")
    assert said(paths) == [(1, "blue"), (0, "green")]


def test_a_question_whose_time_is_over_is_answered_no_more(paths: RunPaths) -> None:
    heard = answers(paths)
    heard(ASKED)
    step = Step(index=0, started_at=NOW, action=AskUser(question="Which colour?"))
    heard(StepTaken(rollout=1, step=step))
    heard.typed(b"blue\n")
    assert said(paths) == []


async def test_answers_are_read_beside_the_run_until_the_terminal_closes(paths: RunPaths) -> None:
    read, write = os.pipe()
    taken = asyncio.Event()

    def now() -> datetime:
        taken.set()
        return NOW

    heard = Answers(nobody, paths, now=now)
    heard(ASKED)
    with heard.reading(read):
        os.write(write, "blüe\n".encode())
        os.close(write)
        async with asyncio.timeout(10):
            await taken.wait()
    os.close(read)
    assert said(paths) == [(1, "blüe")]


@pytest.mark.parametrize("here", [True, False])
def test_a_question_is_shown_with_the_ways_to_answer_it(here: bool) -> None:
    screen = io.StringIO()
    with LiveRun(2, ProgressConsole(file=screen), run_dir="runs/a b", answered_here=here) as live:
        live(ASKED)
    shown = screen.getvalue()
    assert "rollout 1 asks: Which colour?" in shown
    assert "agent-s3 tell 'runs/a b' TEXT --rollout 1" in shown
    assert ("type it here" in shown) is here
    assert "asks" in live.board.rows[1].action


def test_a_run_in_a_terminal_asks_and_takes_what_is_typed_there(tmp_path: Path) -> None:
    script = [
        {"role": "worker", "json": {"thought": "", "action": "ask_user", "question": "Which colour?"}},
        {"role": "worker", "when": "<user_message>\nblue\n</user_message>", "json": {"thought": "", "action": "done"}},
        {"role": "judge", "json": {"reasons": "r", "citations": [], "choice": "A", "confidence": 0.9}, "times": 0},
    ]
    (tmp_path / "script.json").write_text(json.dumps({"replies": script, "images": False}))
    command = ["run", "Paint it", "-n", "1", "--provider", "fake", "--model", f"scripted:{tmp_path}/script.json"]
    typing, terminal_ = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *command, "--ask", "--run-dir", str(tmp_path / "run"), "--json"],
        cwd=tmp_path,
        env={**os.environ, "AGENT_S3_STATE": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)},
        stdin=terminal_,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        os.close(terminal_)
        assert run.stderr is not None
        lines: list[str] = []
        for line in run.stderr:
            lines.append(line)
            if "asks:" in line:
                os.write(typing, b"blue\n")
        assert run.stdout is not None
        shown = run.stdout.read()
    os.close(typing)
    assert any("type it here" in line for line in lines), lines
    result = RunResult.model_validate_json(shown)
    assert [rollout.status for rollout in result.rollouts] == ["done"], lines
    assert said(RunPaths(tmp_path / "run")) == [(0, "blue")]
