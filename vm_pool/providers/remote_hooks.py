"""Runs commands of the user's on this host, for guests that only the user knows how to reset. Never through a shell."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

from vm_pool.boot_report import printable
from vm_pool.errors import ConfigError, MachineLost
from vm_pool.shield import shielded

_TAIL = 4000
"""Bytes of its output that are looked at."""
_LAST_WORDS = 300
"""Most characters of it in an error."""


def filled(argv: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with `{name}` replaced; values are never split, and never read as placeholders themselves."""
    words: list[str] = []
    for word in argv:
        pieces = [word]
        for name, value in values.items():
            pieces = [part for piece in pieces for part in _split(piece, "{" + name + "}", value)]
        words.append("".join(pieces))
    return words


class _Value(str):
    """Text that was put in, in which nothing is replaced."""

    __slots__ = ()


def _split(piece: str, mark: str, value: str) -> list[str]:
    if isinstance(piece, _Value):
        return [piece]
    parts: list[str] = []
    for number, part in enumerate(piece.split(mark)):
        parts += [part] if number == 0 else [_Value(value), part]
    return parts


async def run_hook(
    name: str,
    argv: Sequence[str],
    values: Mapping[str, str],
    timeout_s: float,
    *,
    on_output: Callable[[str], None] = lambda _: None,
) -> None:
    """Run it to its end; programs that it leaves in the background go on. `on_output` gets the end of what it wrote.

    Raises: `ConfigError` when it cannot be started, `MachineLost` when it fails or takes too long.
    """
    command = filled(argv, values)
    with tempfile.TemporaryFile() as output:
        try:
            code = await _run(name, command, values["url"], output, timeout_s)
        finally:
            said = _end_of(output)
            on_output(said)
        if code != 0:
            last = said.splitlines()[-1:] or ["it said nothing"]
            raise MachineLost(f"the {name} hook for {values['url']} ended with {code}: {last[0][-_LAST_WORDS:]}")


async def _run(name: str, command: Sequence[str], url: str, output: IO[bytes], timeout_s: float) -> int:
    """Output goes to a file: a pipe would stay open as long as a program in the background holds it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot run the {name} hook {command[0]!r}: {error}; correct its command line") from error
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError as error:
        raise MachineLost(f"the {name} hook for {url} was not over after {timeout_s:g} s") from error
    finally:
        if process.returncode is None:
            await shielded(_kill(process))


async def _kill(process: asyncio.subprocess.Process) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _end_of(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
    return printable(output.read(_TAIL)).strip()
