"""What the coding agent runs, on disk as it happens: a run that is killed in the middle of it knows what was run.

A step with code is one line of the trajectory, written when the coding agent has ended; until then its snippets are
here: a line before each is run, and one after it with what came of it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from agent_s3.record import append_line, read_lines
from agent_s3.types import SCHEMA_VERSION, CodeReport, CodeTurn, Frozen

_CUT_SHORT = "[the run was stopped while this ran; it may or may not have been finished]"


class CodeNote(Frozen):
    """A snippet that is about to be run, or that was."""

    schema_version: int = SCHEMA_VERSION
    request_id: str
    """Of the step."""
    number: int
    """Of the snippet in its step, from 0."""
    task: str
    language: Literal["python", "bash"]
    code: str
    turn: CodeTurn | None = None
    """What came of it; None: it is about to be run."""


class CodeLog:
    """The snippets of one call of the coding agent."""

    def __init__(self, path: Path, request_id: str, task: str) -> None:
        self._path = path
        self._request_id = request_id
        self._task = task

    def begins(self, number: int, language: Literal["python", "bash"], code: str) -> None:
        """Must be on disk before the snippet is run. Raises: `agent_s3.record.RecordError`."""
        self._write(number, language, code, None)

    def ended(self, number: int, turn: CodeTurn) -> None:
        """Raises: `agent_s3.record.RecordError`."""
        self._write(number, turn.language, turn.code, turn)

    def _write(self, number: int, language: Literal["python", "bash"], code: str, turn: CodeTurn | None) -> None:
        note = CodeNote(
            request_id=self._request_id, number=number, task=self._task, language=language, code=code, turn=turn
        )
        append_line(self._path, note)


def left_behind(path: Path, request_id: str) -> CodeReport | None:
    """What the coding agent had run in a step that never ended; None: nothing. Raises: `RecordError`."""
    notes = [note for note in read_lines(path, CodeNote) if note.request_id == request_id]
    if not notes:
        return None
    return CodeReport(task=notes[0].task, turns=_turns(notes), ended="interrupted", summary=_summary(notes))


def _turns(notes: Sequence[CodeNote]) -> tuple[CodeTurn, ...]:
    newest = {note.number: note for note in notes}
    return tuple(note.turn or _unfinished(note) for _, note in sorted(newest.items()))


def _unfinished(note: CodeNote) -> CodeTurn:
    return CodeTurn(language=note.language, code=note.code, returncode=None, output=_CUT_SHORT, seconds=0.0)


def _summary(notes: Sequence[CodeNote]) -> str:
    count = len({note.number for note in notes})
    return f"The run was stopped after it had begun {count} snippet{'s' if count > 1 else ''}; see what they left."
