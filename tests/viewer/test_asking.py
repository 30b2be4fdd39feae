"""Asking a user in the terminal, and answering a run from another one."""

import asyncio
import os
from pathlib import Path

import pytest

import cli
from agent_s3.approval import Answer, Question
from agent_s3.record import read_model, write_model
from agent_s3.types import Risk
from viewer.asking import TerminalAsker, question_lines, read_answer

RISK = Risk(rule="delete-button", kind="delete", why="may delete something", evidence="Delete")


def question(**more: object) -> Question:
    fields = {"id": "0-1-ab", "rollout": 0, "step": 1, "what": "click 'Delete'", "risks": (RISK,), "timeout_s": 60}
    return Question.model_validate({**fields, **more})


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("y\n", Answer(allowed=True)),
        ("YES\n", Answer(allowed=True)),
        ("n keep that file\n", Answer(allowed=False, reason="keep that file")),
        ("perhaps\n", None),
        ("\n", None),
    ],
)
def test_a_line_is_a_yes_or_a_no_with_a_reason(line: str, answer: Answer | None) -> None:
    assert read_answer(line) == answer


def test_a_question_says_what_why_and_until_when_and_steers_no_terminal() -> None:
    lines = question_lines(question(what="click '\x1b[2JSave'", code="rm a\n\x1b[31mls"))
    assert lines[0] == "rollout 0 step 1 wants to click '[2JSave'"
    assert lines[1:3] == ["    rm a", "    [31mls"]
    assert "delete: this may delete something: Delete" in lines[3]
    assert "60 s" in lines[-1]


async def asked(typed: bytes) -> tuple[Answer, list[str]]:
    said: list[str] = []
    reader, writer = os.openpty()
    try:
        asking = asyncio.create_task(TerminalAsker(said.append, writer).ask(question()))
        for line in typed.splitlines(keepends=True):
            os.write(reader, line)
        return await asyncio.wait_for(asking, 20), said
    finally:
        os.close(reader)
        os.close(writer)


async def test_the_user_answers_in_the_terminal() -> None:
    answer, said = await asked(b"y go on\n")
    assert answer == Answer(allowed=True, reason="go on")
    assert "click 'Delete'" in said[0]


async def test_what_is_no_answer_is_asked_again() -> None:
    answer, said = await asked(b"what?\nn\n")
    assert not answer.allowed
    assert "write y or n" in said[-1]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    write_model(tmp_path / "questions" / "0-1-ab.json", question())
    return tmp_path


def test_what_waits_is_listed_and_answered_from_another_terminal(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["approve", str(run_dir)]) == 0
    assert "click 'Delete'" in capsys.readouterr().out
    assert cli.main(["approve", str(run_dir), "0-1-ab", "--no", "--because", "keep it"]) == 0
    said = read_model(run_dir / "questions" / "0-1-ab.answer.json", Answer)
    assert said == Answer(allowed=False, reason="keep it")


@pytest.mark.parametrize(("words", "said"), [(["0-9-zz", "--yes"], "no open question"), (["0-1-ab"], "--yes or --no")])
def test_an_answer_that_fits_nothing_is_a_mistake_with_the_next_step(
    run_dir: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(["approve", str(run_dir), *words]) == 2
    assert said in capsys.readouterr().err
