"""A machine behind our own guest server: `vm_pool.machine.Machine` over the `/v1/` routes."""

import asyncio
import base64
import contextlib
import socket as sockets
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from vm_pool.errors import BootTimeout, GuestError, GuestTimeout, MachineError, MachineLost
from vm_pool.events import InputEvent
from vm_pool.framebuffer import BadFramebuffer, Framebuffer, rgb_of_bgrx
from vm_pool.guest_answers import Launched, Nothing, Readiness, Seen, Started, Written
from vm_pool.guest_wire import DEFAULT_TIMEOUT_S, FILE_LIMIT, GuestWire
from vm_pool.machine import DEFAULT_OUTPUT_LIMIT, Address
from vm_pool.types import (
    Completed,
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
_READY_POLL_S, _READY_SLOWEST_S = 0.005, 0.05
_READY_SHARE = 0.05
"""Of the time waited so far: sixteen machines that start at once would else spend much of it answering that they do."""
_SLOWEST = 1 << 20
"""Bytes in a second that the way into a machine carries at least, however busy it is."""
_GRACE_S = 10.0
"""What the guest may take beyond the time that a command or a wait was given."""


class GuestMachine:
    """A running computer with our guest server, reached by a unix socket or a URL.

    `framebuffer` is the file in which the guest's X server keeps the screen, if this host can read it, from the byte
    `framebuffer_start` on; frames then cost no request. Without it, or when it holds nonsense, frames travel over the
    socket.
    """

    def __init__(
        self,
        info: MachineInfo,
        *,
        socket: Path | None = None,
        url: str | None = None,
        token: str,
        framebuffer: Path | None = None,
        framebuffer_start: int = 0,
    ):
        self._info = info
        self._wire = GuestWire(info.machine_id, socket=socket, url=url, token=token)
        self._framebuffer_path = framebuffer
        self._framebuffer_start = framebuffer_start
        self._framebuffer: Framebuffer | None = None
        self._presence: sockets.socket | None = None
        self._lost: str | None = None

    @property
    def info(self) -> MachineInfo:
        return self._info

    @property
    def address(self) -> Address:
        return self._wire.address

    @property
    def outside_screen(self) -> bool:
        """Whether frames are read where the screen lies, without asking the guest."""
        return self._framebuffer is not None

    async def ready(self, timeout_s: float) -> None:
        """Wait until the desktop takes input. Raises: `BootTimeout`; `GuestError` when it is not what was asked for."""
        waiting_for, began = "its control server", time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    waiting_for = await self._waiting_for(timeout_s) or ""
                    if not waiting_for:
                        break
                    await asyncio.sleep(_until_asked_again(time.monotonic() - began))
        except (TimeoutError, GuestTimeout) as error:
            message = f"{self._info.machine_id} was not ready after {timeout_s:g} s; it waited for {waiting_for}"
            raise BootTimeout(message) from error
        self._attach()

    def another_client(self, *, token: str | None = None) -> "GuestMachine":
        """A further client of the same machine, whose frames travel over the socket; "" for `token` sends none."""
        return GuestMachine(self._info, **self._wire.place_and_token(token))

    async def launched(self) -> list[list[str]]:
        """Command lines that `launch` started, oldest first."""
        return (await self._wire.get_json("/v1/launched", Launched)).launched

    def lose(self, reason: str) -> None:
        self._wire.lose(reason)
        self._lost = reason

    @contextlib.asynccontextmanager
    async def apart(self, timeout_s: float) -> AsyncGenerator[None]:
        """Without a connection to the guest, of whose memory none must be a part that is saved; requests wait.

        Raises: `TimeoutError` when a request is still under way after `timeout_s`; `MachineLost` when it is over and
        the guest has gone.
        """
        async with self._wire.apart(timeout_s):
            if self._presence is not None:
                self._presence.close()
                self._presence = None
            try:
                yield
            finally:
                self._attach_presence()

    async def aclose(self) -> None:
        """Let go of held keys and close the connections; idempotent, and silent when the machine is gone."""
        if self._presence is not None:
            with contextlib.suppress(MachineError):
                await self._wire.post_json("/v1/release", {}, Nothing, timeout_s=2.0)
            self._presence.close()
            self._presence = None
        if self._framebuffer is not None:
            self._framebuffer.close()
            self._framebuffer = None
        await self._wire.aclose()

    async def screenshot(self) -> Frame:
        if self._framebuffer is not None:
            self._check_presence()
            with contextlib.suppress(OSError, BadFramebuffer):
                return Frame(await asyncio.to_thread(self._framebuffer.grab), time.time())
        return await self._screenshot_by_socket()

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        body = {"request_id": request_id or _fresh_id(), "events": [event.model_dump() for event in events]}
        return await self._wire.post_json("/v1/input", body, Performed, timeout_s=_seconds_of(events))

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
        body = {
            "request_id": request_id or _fresh_id(),
            "argv": list(argv),
            "timeout_s": timeout_s,
            "stdin": base64.b64encode(stdin).decode(),
            "cwd": cwd,
            "env": dict(env or {}),
            "output_limit": output_limit,
        }
        # JSON writes one byte of output as at most six characters.
        limit = 65536 + 12 * output_limit
        return await self._wire.post_json(
            "/v1/run", body, Completed, timeout_s=timeout_s + _GRACE_S, answer_limit=limit
        )

    async def launch(self, argv: Sequence[str], *, cwd: str | None = None) -> int:
        body = {"request_id": _fresh_id(), "argv": list(argv), "cwd": cwd}
        return (await self._wire.post_json("/v1/launch", body, Started)).pid

    async def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        limit = FILE_LIMIT if max_bytes is None else max_bytes
        query = {"path": path, "max_bytes": str(limit)}
        return await self._wire.ok("GET", "/v1/read", query=query, answer_limit=limit + 65536)

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        query, timeout_s = {"path": path, "mode": f"{mode:o}"}, DEFAULT_TIMEOUT_S + len(data) / _SLOWEST
        answer = await self._wire.ok("PUT", "/v1/write", query=query, body=data, timeout_s=timeout_s)
        if self._wire.parse(answer, Written).bytes_written != len(data):
            raise GuestError(f"{self._info.machine_id}: {path!r} was not written whole")

    async def tree(self) -> Tree:
        seen = await self._look(["tree"], None)
        return self._given(seen.tree, "an accessibility tree")

    async def windows(self) -> tuple[Window, ...]:
        seen = await self._look(["windows"], None)
        return self._given(seen.windows, "windows")

    async def look(self, parts: frozenset[LookPart], *, files_since: str | None = None) -> Look:
        asked = self._look(sorted(parts - {"frame"}), files_since)
        if "frame" in parts:
            # The slower one first: the frame is grabbed while the guest gathers the rest.
            seen, frame = await asyncio.gather(asked, self.screenshot())
        else:
            seen, frame = await asked, None
        return Look(frame, seen.tree, seen.windows, seen.clipboard, seen.files, seen.pointer)

    async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:
        body = {"quiet_ms": quiet_ms, "timeout_ms": timeout_ms}
        return await self._wire.post_json("/v1/settle", body, Settled, timeout_s=timeout_ms / 1000 + _GRACE_S)

    async def clipboard(self) -> str | None:
        """Text of the clipboard; None when there is none or its owner does not answer."""
        return (await self._look(["clipboard"], None)).clipboard

    async def set_clipboard(self, text: str) -> None:
        await self._wire.post_json("/v1/clipboard", {"text": text}, Nothing)

    async def _waiting_for(self, timeout_s: float) -> str | None:
        """What is still missing; None when the desktop is ready."""
        try:
            answer = await self._wire.send("GET", "/v1/ready", timeout_s=timeout_s)
        except MachineLost:
            return "its control server"
        if answer.status not in (200, 503):
            raise self._wire.refusal(answer)
        state = self._wire.parse(answer.body, Readiness)
        self._check_size(state)
        return None if state.ready else state.waiting_for or "something it does not name"

    def _check_size(self, found: Readiness) -> None:
        if (found.width, found.height) != (self._info.width, self._info.height):
            message = f"{self._info.machine_id} has a screen of {found.width}x{found.height} px"
            raise GuestError(f"{message}, not the {self._info.width}x{self._info.height} that was asked for")

    def _attach(self) -> None:
        """Open what lies on this host: the framebuffer, and a connection whose end is the machine's end."""
        self._attach_presence()
        if self._framebuffer_path is not None:
            with contextlib.suppress(OSError, BadFramebuffer):
                self._framebuffer = Framebuffer(
                    self._framebuffer_path, self._info.width, self._info.height, start=self._framebuffer_start
                )

    def _attach_presence(self) -> None:
        if self._wire.socket is None:
            return
        self._presence = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self._presence.setblocking(False)
        try:
            self._presence.connect(self._wire.socket.address())
        except OSError as error:
            raise MachineLost(f"{self._info.machine_id}: {error}") from error

    def _check_presence(self) -> None:
        """A framebuffer file outlives its machine. Raises: `MachineLost` when the guest server has gone."""
        if self._lost is not None:
            raise MachineLost(self._lost)
        if self._presence is None:
            return
        try:
            self._presence.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            raise MachineLost(f"{self._info.machine_id}: {error}") from error
        raise MachineLost(f"{self._info.machine_id}: its control server has ended")

    async def _screenshot_by_socket(self) -> Frame:
        width, height = self._info.width, self._info.height
        size = width * height * 4
        body = await self._wire.ok("GET", "/v1/frame", answer_limit=size)
        if len(body) != size:
            raise GuestError(f"{self._info.machine_id}: a frame of {len(body)} bytes is not {width}x{height} px")
        bgrx = np.frombuffer(body, np.uint8).reshape(height, width, 4)
        return Frame(await asyncio.to_thread(rgb_of_bgrx, bgrx), time.time())

    async def _look(self, parts: Sequence[str], files_since: str | None) -> Seen:
        body = {"parts": list(parts), "files_since": files_since}
        return await self._wire.post_json("/v1/look", body, Seen, timeout_s=DEFAULT_TIMEOUT_S)

    def _given(self, value: T | None, what: str) -> T:
        if value is None:
            raise GuestError(f"{self._info.machine_id}: the guest gave no {what}")
        return value


def _until_asked_again(waited_s: float) -> float:
    return min(max(_READY_POLL_S, waited_s * _READY_SHARE), _READY_SLOWEST_S)


def _fresh_id() -> str:
    return uuid.uuid4().hex


def _seconds_of(events: Sequence[InputEvent]) -> float:
    """How long a batch may take: drags travel for as long as they say, long texts take their time."""
    drags = sum(event.milliseconds for event in events if event.type == "drag") / 1000
    characters = sum(len(event.text) for event in events if event.type == "text")
    return DEFAULT_TIMEOUT_S + drags + characters * 0.05
