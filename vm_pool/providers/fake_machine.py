"""An in-memory machine behind the same Protocol as real ones, for tests and dry runs.

It has a screen of flat colour, a dictionary of files, windows and a tree that the caller sets, and a handful of
commands. Reactions to input and further commands are given as functions; faults can be injected.
"""

import asyncio
import copy
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from vm_pool.errors import GuestError, GuestFileNotFound, MachineLost
from vm_pool.event_check import check_events
from vm_pool.events import InputEvent
from vm_pool.machine import DEFAULT_OUTPUT_LIMIT
from vm_pool.providers.fake_desktop import FakeDesktop, FakeFile, Script, blank_desktop, file_change
from vm_pool.providers.fake_faults import Fault, Method, TornFrame, suffer, torn
from vm_pool.providers.fake_shell import Reply, answer_command
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

T = TypeVar("T")
HOME = "/home/user"
TOKEN = "fake-token"  # noqa: S105 - it guards nothing
"""What clients of a fake machine must send; the first one does."""
_DIRECTORIES = frozenset({"/", "/home", HOME, "/tmp"})  # noqa: S108 - names in memory
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
        capabilities=frozenset({"v1", "tree", "journal", "clipboard", "settle", "token"}),
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
        number: int = 0,
    ):
        """`first_files`: what there was when it was first started, for one that is started again; None: it is new.

        `number` is what planned faults call it by.
        """
        self._info = info or fake_info()
        self.script = script or Script()
        self.desktop = desktop or blank_desktop(self._info.width, self._info.height, files or {})
        self._ended = asyncio.Event()
        """Shared by all clients of the machine."""
        self._why: str | None = None
        self.calls = 0
        """How many calls came so far, of all methods."""
        self._number = number
        self._calls_by_method: Counter[Method] = Counter()
        self._last_frame: Frame | None = None
        self._tear: float | None = None
        self._stranger = False
        self._receipts: dict[str, Performed] = {}
        self._completed: dict[str, Completed] = {}
        self._start = next(_starts)
        self._file_states = [copy.deepcopy(self.desktop.files if first_files is None else dict(first_files))]

    @property
    def info(self) -> MachineInfo:
        return self._info

    @property
    def lost(self) -> bool:
        return self._ended.is_set()

    def lose(self, reason: str | None = None) -> None:
        """From now on the machine is gone; None: without a word."""
        self._why = self._why or reason
        self._ended.set()

    async def ready(self, timeout_s: float) -> None:  # noqa: ARG002 - a fake one is ready at once
        await self._do("boot", lambda: None)

    def another_client(self, *, token: str | None = None) -> "FakeMachine":
        """A further client of the same machine; one with another token than `TOKEN` is refused everything."""
        other = copy.copy(self)
        other.refuse_if_stranger(token)
        return other

    def refuse_if_stranger(self, token: str | None) -> None:
        """Take this client for one that sends that token; None: the right one."""
        self._stranger = token not in (None, TOKEN)

    async def launched(self) -> list[list[str]]:
        return copy.deepcopy(self.desktop.launched)

    async def aclose(self) -> None:
        """Let go of all keys; idempotent."""
        self.desktop.held.clear()

    async def screenshot(self) -> Frame:
        return await self._do("screenshot", self._frame)

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        return await self._do("perform", lambda: self._perform(events, request_id))

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
        def act() -> Completed:
            if request_id is not None and request_id in self._completed:
                return self._completed[request_id]
            completed = self._run(argv, stdin, cwd or self._info.home, env or {}).completed(timeout_s, output_limit)
            if request_id is not None:
                self._completed[request_id] = completed
            return completed

        return await self._do("run", act)

    async def launch(self, argv: Sequence[str], *, cwd: str | None = None) -> int:  # noqa: ARG002 - nothing to run
        def act() -> int:
            self.desktop.launched.append(list(argv))
            return 1000 + len(self.desktop.launched)

        return await self._do("launch", act)

    async def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        return await self._do("read", lambda: self._read(path, max_bytes))

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self._do("write", lambda: self._write(path, FakeFile(bytes(data), mode)))

    async def tree(self) -> Tree:
        return await self._do("tree", lambda: self.desktop.tree)

    async def windows(self) -> tuple[Window, ...]:
        return await self._do("windows", lambda: self.desktop.windows)

    async def look(self, parts: frozenset[LookPart], *, files_since: str | None = None) -> Look:
        def act() -> Look:
            return Look(
                frame=self._frame() if "frame" in parts else None,
                tree=self.desktop.tree if "tree" in parts else None,
                windows=self.desktop.windows if "windows" in parts else None,
                clipboard=self.desktop.clipboard if "clipboard" in parts else None,
                files=self._changes(files_since) if "files" in parts else None,
                pointer=self.desktop.pointer,
            )

        return await self._do("look", act)

    async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:  # noqa: ARG002 - nothing moves
        still = Settled(quiet=True, seconds=0.0, reason="a fake screen never moves")
        return await self._do("settle", lambda: still)

    async def clipboard(self) -> str | None:
        return await self._do("look", lambda: self.desktop.clipboard)

    async def set_clipboard(self, text: str) -> None:
        await self._do("write", lambda: setattr(self.desktop, "clipboard", text))

    async def _do(self, method: Method, act: Callable[[], T]) -> T:
        """Every call comes through here: it is counted, delayed, and may break."""
        number, in_all = self._calls_by_method[method], self.calls
        self._calls_by_method[method] += 1
        self.calls += 1
        if self.script.delay_s:
            await asyncio.sleep(self.script.delay_s)
        self._check_alive(method)
        fault = next((p.fault for p in self.script.plan if p.hits(method, self._number, number, in_all)), None)
        return act() if fault is None else await self._suffer(fault, act)

    async def _suffer(self, fault: Fault, act: Callable[[], T]) -> T:
        self._tear = fault.share if isinstance(fault, TornFrame) else None
        try:
            return cast("T", await suffer(fault, self._info.machine_id, act=act, die=self.lose))
        finally:
            self._tear = None

    def _check_alive(self, method: Method) -> None:
        limit = self.script.lose_after_calls
        if limit is not None and self.calls > limit:
            self.lose()
        if self.lost:
            raise MachineLost(self._why or f"{self._info.machine_id}: its control server has ended")
        if self.script.faults[method]:
            raise self.script.faults[method].popleft()
        if self._stranger:
            raise GuestError(f"{self._info.machine_id}: a valid token is needed")

    def _perform(self, events: Sequence[InputEvent], request_id: str | None) -> Performed:
        request_id = request_id or f"fake-{len(self._receipts)}"
        if request_id in self._receipts:
            return self._receipts[request_id].model_copy(update={"repeated": True})
        check_events(events, self._info)
        for event in events:
            self._execute(event)
        receipt = Performed(request_id=request_id, executed=len(events), pointer=self.desktop.pointer)
        self._receipts[request_id] = receipt
        return receipt

    def _run(self, argv: Sequence[str], stdin: bytes, cwd: str, env: Mapping[str, str]) -> Reply:
        if not self._is_directory(cwd):
            raise GuestError(f"{self._info.machine_id}: cannot start {argv[0]!r}: no directory {cwd!r}")
        self.desktop.commands.append(tuple(argv))
        reply = self.script.on_command(self.desktop, argv, stdin) if self.script.on_command else None
        if reply is None:
            contents = {path: file.data for path, file in self.desktop.files.items()}
            reply = answer_command(argv, stdin, files=contents, cwd=cwd, env=env)
        if reply is None:
            raise GuestError(f"{self._info.machine_id}: cannot start {argv[0]!r}: the fake machine does not know it")
        return reply

    def _read(self, path: str, max_bytes: int | None) -> bytes:
        file = self.desktop.files.get(self._absolute(path))
        if file is None:
            raise GuestFileNotFound(f"{self._info.machine_id}: no file {path!r}")
        if max_bytes is not None and len(file.data) > max_bytes:
            raise GuestError(f"{self._info.machine_id}: {path!r} is larger than {max_bytes} bytes")
        return file.data

    def _write(self, path: str, file: FakeFile) -> None:
        absolute = self._absolute(path)
        if self._is_directory(absolute):
            raise GuestError(f"{self._info.machine_id}: cannot write {path!r}: it is a directory")
        self.desktop.files[absolute] = file

    def _is_directory(self, path: str) -> bool:
        return path in _DIRECTORIES or any(name.startswith(path.rstrip("/") + "/") for name in self.desktop.files)

    def _execute(self, event: InputEvent) -> None:
        self.desktop.execute(event)
        if self.script.on_event is not None:
            self.script.on_event(self.desktop, event)

    def _frame(self) -> Frame:
        frame, before = Frame(self.desktop.pixels.copy(), time.time()), self._last_frame
        self._last_frame = frame
        return frame if self._tear is None else torn(frame, before, self._tear)

    def _absolute(self, path: str) -> str:
        if not path or "\0" in path:
            raise GuestError(f"{self._info.machine_id}: a path must be given, without NUL characters")
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
