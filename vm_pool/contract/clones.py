"""Clones of one running desktop, made for the fidelity certificate, and the facts about them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vm_pool.contract.check import ContractBroken, NotApplicable
from vm_pool.contract.pace import stretched
from vm_pool.contract.provider_checks import Source
from vm_pool.contract.witness import Editor, editor
from vm_pool.errors import GuestError
from vm_pool.events import Text
from vm_pool.machine import Machine, WithClipboard
from vm_pool.provider import Snapshot
from vm_pool.types import Frozen, Window

UNSAVED = "unsaved é 한 "
CLIPBOARD = "on the clipboard é"
_PROGRAMS = Path(__file__).parent / "programs"
_SEEN_S = 8.0
"""How long clones are looked at for a state that all of them show: carets blink, helpers start late."""
_POLL_S = 0.1


class Facts(Frozen):
    """What `programs/facts.py` finds out inside a machine."""

    machine_id: str
    hostname: str
    random: tuple[str, ...]
    processes: tuple[str, ...]
    files: str
    """Hash over all files of the user."""
    interfaces: dict[str, str]
    """MAC address by name, without the loopback interface."""
    gateways: tuple[str, ...]


@dataclass(frozen=True)
class Clones:
    """The original, its snapshot and the machines that were forked from it."""

    source: Source
    original: Machine
    snapshot: Snapshot
    machines: Sequence[Machine]
    field: Editor | None
    """The window into which `UNSAVED` was typed in the original; None where no program of ours can run."""

    @property
    def all_alike(self) -> list[Machine]:
        """Those that must look alike: the original too where its memory is part of the snapshot."""
        return [self.original, *self.machines] if self.snapshot.includes_memory else list(self.machines)

    def need_memory(self) -> None:
        """Raises: `NotApplicable`."""
        if not self.snapshot.includes_memory:
            raise NotApplicable("memory", "snapshots of this provider hold files; launched programs start afresh")


@asynccontextmanager
async def clones_of_a_running_desktop(source: Source, n: int) -> AsyncGenerator[Clones]:
    """A desktop with files, a clipboard and an open window with unsaved text, forked `n` times at once."""
    async with source.machine() as original, AsyncExitStack() as stack:
        await original.write("~/Documents/report é.txt", b"an ordinary file\n")
        field = await _unsaved_text(original, stack)
        if "clipboard" in original.info.capabilities and isinstance(original, WithClipboard):
            await original.set_clipboard(CLIPBOARD)
        await original.settle(timeout_ms=10_000)
        snapshot = await stack.enter_async_context(source.snapshot(original))
        machines = await _forked(source, snapshot, n, stack)
        yield Clones(source, original, snapshot, machines, field)


async def _forked(source: Source, snapshot: Snapshot, n: int, stack: AsyncExitStack) -> list[Machine]:
    """Started at once; when one fails the others are waited for, so that the stack holds all that there are."""
    starts = (stack.enter_async_context(source.fork(snapshot)) for _ in range(n))
    started = await asyncio.gather(*starts, return_exceptions=True)
    for one in started:
        if isinstance(one, BaseException):
            raise one
    return [one for one in started if not isinstance(one, BaseException)]


async def _unsaved_text(original: Machine, stack: AsyncExitStack) -> Editor | None:
    try:
        field = await stack.enter_async_context(editor(original, title="unsaved"))
    except NotApplicable:
        return None
    await original.perform([Text(text=UNSAVED)])
    await field.becomes(UNSAVED)
    return field


async def facts_of(machine: Machine) -> Facts:
    """Raises: `NotApplicable` when the machine runs no Python, `ContractBroken` when it answers nonsense."""
    code = (_PROGRAMS / "facts.py").read_text(encoding="utf-8")
    out = await run_python(machine, code, machine.info.home, "/tmp")  # noqa: S108 - in the machine
    try:
        return Facts.model_validate_json(out)
    except ValidationError as error:
        raise ContractBroken(f"{machine.info.machine_id} says nonsense about itself: {out[:80]!r}") from error


async def run_python(machine: Machine, code: str, *words: str) -> str:
    """Standard output of a Python program in the machine. Raises: `NotApplicable`, `ContractBroken`."""
    try:
        done = await machine.run(["python3", "-c", code, *words], timeout_s=stretched(60))
    except GuestError as error:
        raise NotApplicable("programs", f"the machine runs no Python: {error}") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ContractBroken(f"a Python program in {machine.info.machine_id} failed: {last[0]}")
    return done.stdout


async def common_frame(machines: Sequence[Machine]) -> bool:
    """Whether all machines show one and the same frame within some seconds; a caret may blink meanwhile."""
    seen: list[set[str]] = [set() for _ in machines]
    deadline = time.monotonic() + stretched(_SEEN_S)
    while time.monotonic() < deadline:
        frames = await asyncio.gather(*(machine.screenshot() for machine in machines))
        for hashes, frame in zip(seen, frames, strict=True):
            hashes.add(frame.sha256)
        if any(all(digest in others for others in seen) for digest in seen[0]):
            return True
        await asyncio.sleep(_POLL_S)
    return False


async def common_processes(machines: Sequence[Machine]) -> list[Sequence[str]]:
    """Names of processes of each machine: as soon as they are equal, else as they are after some seconds."""
    deadline = time.monotonic() + stretched(_SEEN_S)
    while True:
        facts = await asyncio.gather(*map(facts_of, machines))
        found: list[Sequence[str]] = [one.processes for one in facts]
        if len({tuple(names) for names in found}) == 1 or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(_POLL_S)


def looks(windows: Sequence[Window]) -> list[tuple[str, str, int, int, int, int, bool]]:
    """What is to be seen of windows, without ids and processes."""
    return [(w.title, w.app, w.box.x, w.box.y, w.box.width, w.box.height, w.active) for w in windows]
