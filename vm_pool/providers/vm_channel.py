"""The host's end of a virtual machine's control channel: connections to a unix socket become streams of a serial port.

The guest is not trusted: it can end the channel, and with it its machine, but not make this process hold more than the
streams' windows, nor open streams.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vm_pool.errors import MachineLost
from vm_pool.guest.channel_wire import (
    CLOSE,
    CREDIT,
    DATA,
    HELLO,
    LONGEST_PAYLOAD,
    MOST_STREAMS,
    OPEN,
    RESYNC,
    WELCOME,
    WINDOW,
    Decoder,
    Frame,
    clock,
    credit,
    credit_of,
    encode,
    welcome,
)
from vm_pool.types import Frozen

_READ = 1 << 18


class Identity(Frozen):
    """What a machine is told of itself, anew for each copy."""

    token: str
    """Of the guest server; it goes over the channel and nowhere else."""
    machine_id: str
    """32 hex digits, for /etc/machine-id."""
    hostname: str
    size: str
    """Of the screen, e.g. `1920x1080`; heard at the first start only."""
    egress: bool = False
    """Whether programs find a proxy; heard at the first start only."""


@dataclass
class _Stream:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    may_send: int = WINDOW
    """Bytes to the guest."""
    credited: asyncio.Event = field(default_factory=asyncio.Event)
    unread: int = 0
    """Bytes from the guest that the client has not taken; at most a window."""
    arrived: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue[bytes])
    """From the guest for the client; empty bytes are the end."""
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list["asyncio.Task[None]"])


class Broken(Exception):
    """The guest broke the protocol or went away."""


class HostChannel:
    """Carries connections to `listen` over `port` from `open` until `close`, or until the machine's end.

    `others` are further sockets to listen on, by the names of what they lead to in the machine.
    """

    def __init__(
        self,
        port: Path,
        listen: Path,
        *,
        others: Mapping[bytes, Path] | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._port_path = port
        self._listen_paths = {b"": listen, **(others or {})}
        self._clock = clock
        self._streams: dict[int, _Stream] = {}
        self._number = 0
        self._decoder = Decoder()
        self._welcomed = asyncio.Event()
        self._listeners: list[asyncio.Server] = []
        self._pump: asyncio.Task[None] | None = None
        self._ended = False

    async def open(self, identity: Identity) -> None:
        """Take the port over and begin a session; the guest may hear of it later, when it runs."""
        self._reader, self._writer = await asyncio.open_unix_connection(str(self._port_path), limit=_READ)
        self._writer.write(RESYNC + self._hello(identity))
        self._pump = asyncio.create_task(self._run(welcome(self._session)))

    async def open_again(self, identity: Identity) -> None:
        """Begin another session on a port that is taken; all connections end. The guest answers as to `open`."""
        for number in list(self._streams):
            await self._drop(number)
        self._welcomed.clear()
        self._writer.write(self._hello(identity))

    def _hello(self, identity: Identity) -> bytes:
        self._session = secrets.token_bytes(16)
        return encode(Frame(HELLO, 0, self._session + json.dumps(identity.model_dump()).encode()))

    async def ready(self) -> None:
        """Wait until the guest has taken its identity. Raises: `MachineLost` when the channel ends instead."""
        assert self._pump is not None
        waiting = asyncio.create_task(self._welcomed.wait())
        try:
            await asyncio.wait((waiting, self._pump), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._welcomed.is_set():
            raise MachineLost(f"the control channel at {self._port_path} ended before the machine answered")

    def set_clock(self) -> None:
        """Tell the machine what time it is; it falls behind while it stands still."""
        self._send(clock(self._clock()))

    async def close(self) -> None:
        """Idempotent."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _run(self, greeting: bytes) -> None:
        try:
            rest = await self._await_greeting(greeting)
            await self._listen()
            self._begin()
            self._take_all(rest)
            while data := await self._reader.read(_READ):
                self._take_all(data)
        except (Broken, ValueError, OSError):
            return  # all connections end below, which clients read as the machine's end
        finally:
            await self._end()

    def _begin(self) -> None:
        self.set_clock()
        self._welcomed.set()

    async def _listen(self) -> None:
        for name, path in self._listen_paths.items():
            accept = partial(self._accept, name)
            self._listeners.append(await asyncio.start_unix_server(accept, str(path), backlog=64))
            path.chmod(0o600)

    async def _await_greeting(self, greeting: bytes) -> bytes:
        """Drop what an earlier session left on the way. Returns what came after the greeting."""
        held = b""
        while data := await self._reader.read(_READ):
            before, found, after = (held + data).partition(greeting)
            if found:
                return after
            held = before[-len(greeting) :]
        raise Broken("the machine ended")

    def _take_all(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._take(frame)
        if self._decoder.damaged:
            raise Broken("a damaged frame")

    def _take(self, frame: Frame) -> None:
        if frame.kind == WELCOME and frame.payload == self._session and not self._welcomed.is_set():
            self._begin()
            return
        if frame.kind not in (DATA, CREDIT, CLOSE):
            raise Broken(f"a frame of kind {frame.kind}")
        stream = self._streams.get(frame.stream)
        if stream is None:
            return  # closed here while the guest was still sending
        if frame.kind == DATA:
            stream.unread += len(frame.payload)
            if stream.unread > WINDOW:
                raise Broken("more data than there was room for")
            stream.arrived.put_nowait(frame.payload)
        elif frame.kind == CREDIT:
            stream.may_send = min(WINDOW, stream.may_send + credit_of(frame))
            stream.credited.set()
        else:
            stream.arrived.put_nowait(b"")

    async def _accept(self, name: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._ended or len(self._streams) >= MOST_STREAMS:
            writer.close()
            return
        self._number += 1
        number, stream = self._number, _Stream(reader, writer)
        self._streams[number] = stream
        self._send(Frame(OPEN, number, name))
        stream.tasks = [
            asyncio.create_task(self._send_on(number, stream)),
            asyncio.create_task(self._hand(number, stream)),
        ]
        await asyncio.wait(stream.tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._drop(number)

    async def _send_on(self, number: int, stream: _Stream) -> None:
        """From the client to the guest, until the client ends."""
        with contextlib.suppress(OSError):
            while data := await stream.reader.read(LONGEST_PAYLOAD):
                stream.may_send -= len(data)
                self._send(Frame(DATA, number, data))
                await self._writer.drain()
                await self._await_credit(stream)
        # An orderly half-close is not carried: HTTP clients close when they have their answer.

    async def _await_credit(self, stream: _Stream) -> None:
        """Reads are up to a payload long, so that much must be free before the next."""
        while stream.may_send < LONGEST_PAYLOAD:
            stream.credited.clear()
            await stream.credited.wait()

    async def _hand(self, number: int, stream: _Stream) -> None:
        """From the guest to the client, until the guest ends."""
        with contextlib.suppress(OSError):
            while data := await stream.arrived.get():
                stream.writer.write(data)
                await stream.writer.drain()
                stream.unread -= len(data)
                self._send(credit(number, len(data)))

    def _send(self, frame: Frame) -> None:
        self._writer.write(encode(frame))

    async def _drop(self, number: int) -> None:
        """End one stream on both sides."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        for task in stream.tasks:
            task.cancel()
        await asyncio.gather(*stream.tasks, return_exceptions=True)
        self._send(Frame(CLOSE, number))
        stream.writer.close()

    async def _stop_listening(self) -> None:
        """Connections that were accepted a moment ago get to their handler first, which ends them.

        asyncio forgets those whose server is closed by then, and their clients would hear of no end.
        """
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for one in listener.sockets:
                loop.remove_reader(one.fileno())
        await asyncio.sleep(0)
        for listener in self._listeners:
            listener.close()

    async def _end(self) -> None:
        self._ended = True
        self._writer.close()
        await self._stop_listening()
        for path in self._listen_paths.values():
            path.unlink(missing_ok=True)
        for number in list(self._streams):
            await self._drop(number)
