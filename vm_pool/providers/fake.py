"""An in-memory desktop behind the same Protocols as real ones, for tests and dry runs.

It has a screen of flat colour, a dictionary of files, windows and a tree that the caller sets, and a handful of
commands. Reactions to input and further commands are given as functions; faults can be injected.
"""

import asyncio
import copy
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

from vm_pool.errors import GuestError, GuestFileNotFound, MachineLost
from vm_pool.events import InputEvent
from vm_pool.guest.batches import BadBatch, check_batch
from vm_pool.machine import DEFAULT_OUTPUT_LIMIT, Machine
from vm_pool.provider import Snapshot, Spec, Stray
from vm_pool.providers.fake_desktop import FakeDesktop, FakeFile, Method, Script, blank_desktop, file_change
from vm_pool.providers.fake_shell import answer_command
from vm_pool.types import (
    Completed,
    FileChanges,
    Frame,
    Look,
    LookPart,
    MachineInfo,
    Performed,
    Settled,
    Tree,
    Window,
)

HOME = "/home/user"
_starts = itertools.count()
"""Cursors of the file journal belong to one start of one machine."""


def fake_info(machine_id: str = "fake-0", *, width: int = 320, height: int = 200) -> MachineInfo:
    return MachineInfo(
        machine_id=machine_id,
        provider="fake",
        image="fake",
        platform="linux",
        width=width,
        height=height,
        user="user",
        home=HOME,
        capabilities=frozenset({"v1", "tree", "journal", "clipboard", "settle"}),
    )


class FakeMachine:
    """A `vm_pool.machine.Machine` in memory."""

    def __init__(
        self,
        info: MachineInfo | None = None,
        *,
        files: Mapping[str, bytes] | None = None,
        script: Script | None = None,
        desktop: FakeDesktop | None = None,
        first_files: Mapping[str, FakeFile] | None = None,
    ):
        """`first_files`: what there was when it was first started, for one that is started again; None: it is new."""
        self._info = info or fake_info()
        self.script = script or Script()
        self.desktop = desktop or blank_desktop(self._info.width, self._info.height, files or {})
        self.lost = False
        self.calls = 0
        """How many calls came so far, of all methods."""
        self._receipts: dict[str, Performed] = {}
        self._completed: dict[str, Completed] = {}
        self._start = next(_starts)
        self._file_states = [copy.deepcopy(self.desktop.files if first_files is None else dict(first_files))]

    @property
    def info(self) -> MachineInfo:
        return self._info

    def lose(self) -> None:
        """From now on the machine is gone."""
        self.lost = True

    async def ready(self, timeout_s: float) -> None:  # noqa: ARG002 - a fake one is ready at once
        await self._call("boot")

    async def launched(self) -> list[list[str]]:
        return copy.deepcopy(self.desktop.launched)

    async def aclose(self) -> None:
        """Let go of all keys; idempotent."""
        self.desktop.held.clear()

    async def screenshot(self) -> Frame:
        await self._call("screenshot")
        return self._frame()

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        await self._call("perform")
        request_id = request_id or f"fake-{len(self._receipts)}"
        if request_id in self._receipts:
            return self._receipts[request_id].model_copy(update={"repeated": True})
        self._check(events)
        for event in events:
            self._execute(event)
        receipt = Performed(request_id=request_id, executed=len(events), pointer=self.desktop.pointer)
        self._receipts[request_id] = receipt
        return receipt

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 120.0,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
        request_id: str | None = None,
    ) -> Completed:
        await self._call("run")
        if request_id is not None and request_id in self._completed:
            return self._completed[request_id]
        self.desktop.commands.append(tuple(argv))
        reply = self.script.on_command(self.desktop, argv, stdin) if self.script.on_command else None
        if reply is None:
            contents = {path: file.data for path, file in self.desktop.files.items()}
            reply = answer_command(argv, stdin, files=contents, cwd=cwd or self._info.home, env=env or {})
        if reply is None:
            raise GuestError(f"{self._info.machine_id}: cannot start {argv[0]!r}: the fake machine does not know it")
        completed = reply.completed(timeout_s, output_limit)
        if request_id is not None:
            self._completed[request_id] = completed
        return completed

    async def launch(self, argv: Sequence[str], *, cwd: str | None = None) -> int:  # noqa: ARG002 - nothing to run
        await self._call("launch")
        self.desktop.launched.append(list(argv))
        return 1000 + len(self.desktop.launched)

    async def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        await self._call("read")
        file = self.desktop.files.get(self._absolute(path))
        if file is None:
            raise GuestFileNotFound(f"{self._info.machine_id}: no file {path!r}")
        if max_bytes is not None and len(file.data) > max_bytes:
            raise GuestError(f"{self._info.machine_id}: {path!r} is larger than {max_bytes} bytes")
        return file.data

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self._call("write")
        self.desktop.files[self._absolute(path)] = FakeFile(bytes(data), mode)

    async def tree(self) -> Tree:
        await self._call("tree")
        return self.desktop.tree

    async def windows(self) -> tuple[Window, ...]:
        await self._call("windows")
        return self.desktop.windows

    async def look(self, parts: frozenset[LookPart], *, files_since: str | None = None) -> Look:
        await self._call("look")
        return Look(
            frame=self._frame() if "frame" in parts else None,
            tree=self.desktop.tree if "tree" in parts else None,
            windows=self.desktop.windows if "windows" in parts else None,
            clipboard=self.desktop.clipboard if "clipboard" in parts else None,
            files=self._changes(files_since) if "files" in parts else None,
            pointer=self.desktop.pointer,
        )

    async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:  # noqa: ARG002 - nothing moves
        await self._call("settle")
        return Settled(quiet=True, seconds=0.0, reason="a fake screen never moves")

    async def clipboard(self) -> str | None:
        await self._call("look")
        return self.desktop.clipboard

    async def set_clipboard(self, text: str) -> None:
        await self._call("write")
        self.desktop.clipboard = text

    async def _call(self, method: Method) -> None:
        self.calls += 1
        if self.script.delay_s:
            await asyncio.sleep(self.script.delay_s)
        limit = self.script.lose_after_calls
        if limit is not None and self.calls > limit:
            self.lost = True
        if self.lost:
            raise MachineLost(f"{self._info.machine_id}: its control server has ended")
        if self.script.faults[method]:
            raise self.script.faults[method].popleft()

    def _check(self, events: Sequence[InputEvent]) -> None:
        batch = [event.model_dump() for event in events]
        try:
            check_batch(batch, width=self._info.width, height=self._info.height)
        except BadBatch as error:
            raise GuestError(f"{self._info.machine_id}: {error}") from error

    def _execute(self, event: InputEvent) -> None:
        self.desktop.execute(event)
        if self.script.on_event is not None:
            self.script.on_event(self.desktop, event)

    def _frame(self) -> Frame:
        return Frame(self.desktop.pixels.copy(), time.time())

    def _absolute(self, path: str) -> str:
        if path == "~" or path.startswith("~/"):
            return self._info.home + path[1:]
        return path if path.startswith("/") else f"{self._info.home}/{path}"

    def _changes(self, since: str | None) -> FileChanges:
        cursors = [f"{self._start}:{number}" for number in range(len(self._file_states))]
        if since is not None and since not in cursors:
            raise GuestError(f"{self._info.machine_id}: {since!r} is no cursor of this machine")
        number = 0 if since is None else cursors.index(since)
        before, after = self._file_states[number], self.desktop.files
        self._file_states.append(copy.deepcopy(after))
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        changes = tuple(file_change(path, before.get(path), after.get(path)) for path in changed)
        return FileChanges(cursor=f"{self._start}:{len(cursors)}", changes=changes)


class FakeProvider:
    """A `vm_pool.provider.Provider` whose machines live in this process.

    `prepare` is called on each freshly booted machine. `machines` holds all that were ever started, newest last.
    """

    name = "fake"
    birth_mib = 0

    def __init__(
        self,
        *,
        files: Mapping[str, bytes] | None = None,
        script: Script | None = None,
        prepare: Callable[[FakeMachine], None] | None = None,
    ):
        self.script = script or Script()
        self.machines: list[FakeMachine] = []
        self.snapshots: dict[str, FakeDesktop] = {}
        self._files = files or {}
        self._prepare = prepare
        self._numbers = itertools.count()

    async def boot(self, spec: Spec) -> FakeMachine:
        await self._start("boot")
        info = fake_info(f"fake-{next(self._numbers)}", width=spec.width, height=spec.height)
        machine = FakeMachine(info, files=self._files, script=self.script)
        if self._prepare is not None:
            self._prepare(machine)
        self.machines.append(machine)
        return machine

    async def snapshot(self, machine: Machine) -> Snapshot:
        source = self._own(machine)
        if source.lost:
            raise MachineLost(f"{source.info.machine_id} is gone")
        snapshot_id = f"fake-snapshot-{next(self._numbers)}"
        self.snapshots[snapshot_id] = copy.deepcopy(source.desktop)
        return Snapshot(snapshot_id=snapshot_id, provider=self.name, image="fake", includes_memory=True)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> FakeMachine:  # noqa: ARG002
        await self._start("fork")
        desktop = copy.deepcopy(self.snapshots[snapshot.snapshot_id])
        height, width = desktop.pixels.shape[:2]
        info = fake_info(f"fake-{next(self._numbers)}", width=int(width), height=int(height))
        machine = FakeMachine(info, script=self.script, desktop=desktop)
        self.machines.append(machine)
        return machine

    async def revive(self, machine_id: str) -> FakeMachine:
        for machine in self.machines:
            if machine.info.machine_id == machine_id and not machine.lost:
                return machine
        raise MachineLost(f"{machine_id} is gone")

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:  # noqa: ARG002 - there is no disk
        self._own(machine).lose()

    async def drop(self, snapshot: Snapshot) -> None:
        self.snapshots.pop(snapshot.snapshot_id, None)

    async def strays(self) -> list[Stray]:
        now = datetime.now(UTC)
        ids = [machine.info.machine_id for machine in self.machines if not machine.lost]
        return [
            Stray(kind="machine", id=name, owner_pid=None, owner_alive=True, created=now, expires=None, path="")
            for name in ids
        ]

    async def remove(self, stray: Stray) -> None:
        for machine in self.machines:
            if machine.info.machine_id == stray.id:
                machine.lose()

    def session(self) -> AbstractAsyncContextManager[None]:
        return _no_resources()

    async def _start(self, method: Literal["boot", "fork"]) -> None:
        if self.script.delay_s:
            await asyncio.sleep(self.script.delay_s)
        if self.script.faults[method]:
            raise self.script.faults[method].popleft()

    def _own(self, machine: Machine) -> FakeMachine:
        if not isinstance(machine, FakeMachine):
            raise GuestError(f"{machine.info.machine_id} is not a machine of the fake provider")
        return machine


@asynccontextmanager
async def _no_resources() -> AsyncGenerator[None]:
    yield
