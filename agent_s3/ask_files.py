"""Asking over files of the run folder, so that a run without a terminal can be answered from anywhere.

An open question is `questions/ID.json`; its answer is `questions/ID.answer.json`. Both are gone when it is over.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from agent_s3.approval import Answer, Question
from agent_s3.record import RecordError, read_model, write_model

_POLL_S = 0.2
_ID = re.compile(r"[0-9a-z-]{1,80}")
_ANSWER = ".answer.json"


class NoSuchQuestion(ValueError):
    """There is no open question of that id; the message is one line."""


class FileAsker:
    """`told` is called with each new question, so that somebody can say where it lies."""

    def __init__(self, folder: Path, told: Callable[[Question], None] = lambda _question: None) -> None:
        self._folder = folder
        self._told = told

    async def ask(self, question: Question) -> Answer:
        path, answered = self._folder / f"{question.id}.json", self._folder / f"{question.id}{_ANSWER}"
        answered.unlink(missing_ok=True)  # of a session that was killed: it was for an earlier question
        write_model(path, question)
        self._told(question)
        try:
            while True:
                if (answer := _read(answered)) is not None:
                    return answer
                await asyncio.sleep(_POLL_S)  # until somebody answers; whoever asks sets the deadline
        finally:
            for left in (path, answered):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)


def _read(path: Path) -> Answer | None:
    """None: there is none yet, or none that can be read."""
    try:
        return read_model(path, Answer) if path.exists() else None
    except RecordError:
        return None


def open_questions(folder: Path) -> list[Question]:
    """Those that wait for an answer, in order of rollouts and steps; a damaged file is none."""
    found: list[Question] = []
    for path in folder.glob("*.json"):
        if not path.name.endswith(_ANSWER):
            with contextlib.suppress(RecordError):
                found.append(read_model(path, Question))
    return sorted(found, key=lambda question: (question.rollout, question.step, question.id))


def answer(folder: Path, question_id: str, said: Answer) -> None:
    """Answer an open question. Raises: `NoSuchQuestion`, `agent_s3.record.RecordError`."""
    if not _ID.fullmatch(question_id) or not (folder / f"{question_id}.json").is_file():
        raise NoSuchQuestion(f"there is no open question {question_id!r} in {folder}")
    write_model(folder / f"{question_id}{_ANSWER}", said)
