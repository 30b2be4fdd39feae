"""Witnesses that know nothing of the guest server: X clients in the machine which write down what reaches them.

`watching` records the X server's own device events (RECORD extension); `editor` is a GTK window in which text arrives.
Where the machine has no X server, Python or python3-xlib the check that needs them does not apply.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vm_pool.contract.check import ContractBroken, NotApplicable
from vm_pool.contract.pace import stretched
from vm_pool.errors import GuestError, GuestFileNotFound
from vm_pool.machine import Machine

_PROGRAMS = Path(__file__).parent / "programs"
_LIMIT_S = 20.0
_POLL_S = 0.02
_MOST_BYTES = 1 << 20


class Seen(NamedTuple):
    """One event as the X server told it to the witness."""

    what: str
    """`press`, `release`, `motion`, `key_down` or `key_up`."""
    detail: str
    """Number of the button, or name of the key's symbol."""
    x: int
    y: int
    """Where the pointer was, in screen pixels; 0 for keys, where it does not matter."""
    types: str = ""
    """The character that a pressed key types with the map and modifiers of the moment; empty: none, or not recorded."""


class Watch:
    """What a recording witness has seen so far."""

    def __init__(self, machine: Machine, path: str):
        self._machine = machine
        self._path = path
        self._forgotten = 0

    async def until(self, enough: Callable[[list[Seen]], bool], *, forget: bool = False) -> list[Seen]:
        """Events since the last `forget`, as soon as they are enough; what came too late is told by the caller."""
        deadline = time.monotonic() + stretched(_LIMIT_S)
        while True:
            events = await self._events()
            fresh = events[self._forgotten :]
            if enough(fresh) or time.monotonic() >= deadline:
                self._forgotten = len(events) if forget else self._forgotten
                return fresh
            await asyncio.sleep(_POLL_S)

    async def clear(self) -> None:
        """Forget all so far and empty the file, for a recorder that opens it anew for each line."""
        await self._machine.write(self._path, b"watching\n")
        self._forgotten = 0

    async def ready(self) -> None:
        """Wait for the witness's first line, which says that it watches."""
        await _until_written(self._machine, self._path, "a recording X client")
        self._forgotten = 0

    async def _events(self) -> list[Seen]:
        lines = (await self._machine.read(self._path, max_bytes=_MOST_BYTES)).decode().splitlines(keepends=True)
        whole = [line for line in lines[1:] if line.endswith("\n")]
        return [Seen(*json.loads(line)) for line in whole]


class Editor:
    """A window with a text field that has the focus."""

    def __init__(self, machine: Machine, path: str):
        self._machine = machine
        self._path = path

    def at(self, machine: Machine) -> "Editor":
        """The same window in a clone that was made with its memory."""
        return Editor(machine, self._path)

    async def text(self) -> str:
        """What has arrived so far."""
        return (await self._machine.read(self._path, max_bytes=_MOST_BYTES)).decode().removeprefix("ready\n")

    async def becomes(self, wanted: str) -> None:
        """Wait until exactly that has arrived. Raises: `ContractBroken`."""
        deadline = time.monotonic() + stretched(_LIMIT_S)
        while (found := await self.text()) != wanted:
            if time.monotonic() >= deadline:
                raise ContractBroken(f"{wanted[:80]!r} was typed, {found[:120]!r} arrived")
            await asyncio.sleep(_POLL_S)

    async def ends_with(self, last: str) -> str:
        """Wait until what has arrived ends with that, and return all of it. Raises: `ContractBroken`."""
        deadline = time.monotonic() + stretched(_LIMIT_S)
        while not (found := await self.text()).endswith(last):
            if time.monotonic() >= deadline:
                raise ContractBroken(f"{last!r} was typed last, {found[-120:]!r} arrived")
            await asyncio.sleep(_POLL_S)
        return found


@asynccontextmanager
async def watching(machine: Machine, *, recorder: Path = _PROGRAMS / "record_events.py") -> AsyncGenerator[Watch]:
    """An X client that records every device event until the block is left.

    `recorder`: a program that writes such events, one list of the fields of `Seen` a line. Raises: `NotApplicable`.
    """
    async with _program(machine, recorder, "import Xlib.ext.record", "python3-xlib") as path:
        watch = Watch(machine, path)
        await watch.ready()
        yield watch


@asynccontextmanager
async def editor(machine: Machine, *, title: str = "witness", moving: bool = False) -> AsyncGenerator[Editor]:
    """A GTK text window of half the screen, on top and focused; `moving` lets it change its colour all the time.

    Raises: `NotApplicable` when there is no GTK for Python.
    """
    needs = "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk"
    words = (title, "moving" if moving else "still")
    async with _program(machine, _PROGRAMS / "editor.py", needs, "python3-gi and GTK 3", *words) as path:
        await _until_written(machine, path, "a window with a text field")
        yield Editor(machine, path)


async def require_python(machine: Machine, code: str, packages: str) -> None:
    """Raises: `NotApplicable` when the machine cannot run that Python code."""
    try:
        done = await machine.run(["python3", "-c", code], timeout_s=stretched(30))
    except GuestError as error:
        raise NotApplicable("programs", f"the machine runs no Python: {error}") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise NotApplicable("programs", f"the machine lacks {packages}: {last[0]}")


@asynccontextmanager
async def _program(machine: Machine, source: Path, needs: str, packages: str, *words: str) -> AsyncGenerator[str]:
    """Run a program of ours in the machine while the block lasts; yields the file that it writes."""
    await require_python(machine, needs, packages)
    folder = f"{machine.info.home}/.witness-{uuid.uuid4().hex[:8]}"
    await machine.write(f"{folder}/{source.name}", _content(source))
    await machine.launch(["python3", f"{folder}/{source.name}", f"{folder}/seen", *words])
    try:
        yield f"{folder}/seen"
    finally:
        await _end(machine, folder)


def _content(source: Path) -> bytes:
    return source.read_bytes()


async def _end(machine: Machine, folder: str) -> None:
    """Ask the program to end, wait until it has, and remove its files; a machine that is gone has nothing to end."""
    with suppress(GuestError):
        await machine.write(f"{folder}/end", b"")
        deadline = time.monotonic() + stretched(_LIMIT_S)
        while time.monotonic() < deadline and not await _exists(machine, f"{folder}/ended"):  # noqa: ASYNC110 - it is in the machine
            await asyncio.sleep(_POLL_S)
        await machine.run(["rm", "-r", "--", folder])


async def _until_written(machine: Machine, path: str, what: str) -> None:
    deadline = time.monotonic() + stretched(_LIMIT_S)
    while not await _exists(machine, path):
        if time.monotonic() >= deadline:
            raise ContractBroken(f"{what} that was launched was not there within {stretched(_LIMIT_S):g} s")
        await asyncio.sleep(_POLL_S)


async def _exists(machine: Machine, path: str) -> bool:
    try:
        return bool(await machine.read(path, max_bytes=_MOST_BYTES)) or path.endswith("ended")
    except GuestFileNotFound:
        return False
