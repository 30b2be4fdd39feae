"""An interpreter on a pool machine: runs Python and shell snippets there, never on this host.

Snippets do not share variables; state is kept in files of the machine. What a snippet starts in the background lives on
when the snippet ends in time, e.g. a program with a window; when it does not, all that it started is killed with it.
"""

import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.machine import Machine

Language = Literal["python", "bash"]
_COMMANDS: dict[Language, tuple[str, ...]] = {"python": ("python3", "-c"), "bash": ("bash", "-c")}
_MAX_CODE = 100_000
"""Longest snippet in bytes: the system's limit for one argument is 128 KiB."""
_MARK = "AGENT_S3_SNIPPET"
"""Variable in the environment of a snippet and of all that it starts, by which they are found."""
_SWEEP_S = 20.0


@dataclass(frozen=True)
class Ran:
    """A snippet that was run."""

    language: Language
    code: str
    returncode: int | None
    """None: it did not finish in time and was killed. Negative: killed by that signal."""
    output: str
    """Standard output, then standard error, shortened in the middle."""
    seconds: float


class Interpreter:
    """Runs snippets as the desktop's user, in the home directory, with a time limit each."""

    def __init__(self, machine: Machine, *, timeout_s: float = 60.0, output_limit: int = 4000) -> None:
        self._machine = machine
        self._timeout_s = timeout_s
        self._output_limit = output_limit
        """In characters."""

    async def run(self, language: Language, code: str, *, request_id: str | None = None) -> Ran:
        """Run one snippet and wait for it. Raises: errors of `vm_pool.errors`; a failing snippet is no error."""
        if len(code.encode(errors="replace")) > _MAX_CODE:
            return Ran(language, code, 2, f"not run: longer than {_MAX_CODE} bytes; write files in parts", 0.0)
        mark = uuid.uuid4().hex
        done = await self._machine.run(
            [*_COMMANDS[language], code.replace("\0", "")],
            timeout_s=self._timeout_s,
            env={_MARK: mark} if self._marks else None,
            output_limit=self._output_limit * 4,
            request_id=request_id,
        )
        text = "\n".join(part.rstrip("\n") for part in (done.stdout, done.stderr) if part.strip())
        output = shorten(text, self._output_limit)
        if not done.timed_out:
            return Ran(language, code, done.returncode, output, done.seconds)
        others = await self._sweep(mark) if self._marks else ""
        return Ran(
            language, code, None, f"{output}\n[killed after {self._timeout_s:g} s{others}]".strip(), done.seconds
        )

    @property
    def _marks(self) -> bool:
        """Other systems' guests may take no environment, and keep none where we could find it."""
        return self._machine.info.platform == "linux"

    async def _sweep(self, mark: str) -> str:
        """Kill what the snippet had started and what left its process group; a few words about that."""
        try:
            done = await self._machine.run(["python3", "-c", _sweeper(), f"{_MARK}={mark}"], timeout_s=_SWEEP_S)
        except (GuestError, GuestTimeout):
            return "; what it had started may still run"
        counts = done.stdout.split()
        if done.returncode != 0 or len(counts) != 2 or not all(count.isdecimal() for count in counts):
            return "; what it had started may still run"
        killed, left = (int(count) for count in counts)
        return ("; so was what it had started" if killed else "") + ("; some of it still runs" if left else "")


@cache
def _sweeper() -> str:
    return (Path(__file__).parent / "sweep.py").read_text(encoding="utf-8")


def shorten(text: str, limit: int) -> str:
    """At most about `limit` characters: the beginning and the end, with a line in between that says what is missing."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit // 2], text[len(text) - limit // 2 :]
    return f"{head}\n[… {len(text) - len(head) - len(tail)} characters left out …]\n{tail}"
