"""The guest's end of the control channel: streams of the serial port become connections to the guest server's socket.

One thread, no blocking calls; what waits to be sent is bounded by the streams' windows.
"""

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .channel_wire import (
    CLOCK,
    CLOSE,
    CREDIT,
    DATA,
    HELLO,
    LONGEST_PAYLOAD,
    MOST_STREAMS,
    OPEN,
    WINDOW,
    Decoder,
    Frame,
    clock_of,
    credit,
    credit_of,
    encode,
    welcome,
)

_READ = 1 << 18
_READS = 16
"""Most reads of the port in a row: its driver hands out a page at a time."""
_MOST_WAITING = 1 << 20
"""Bytes for the port; while so many wait, no connection is read."""
_NOBODY_POLL_S = 0.005
SESSION_BYTES = 16


@dataclass
class _Stream:
    connection: socket.socket
    may_send: int = WINDOW
    """Bytes to the host."""
    waiting: deque[memoryview] = field(default_factory=deque)
    """From the host for the connection."""
    closed: bool = False
    """The host has closed it: what waits is still delivered."""


@dataclass(frozen=True)
class Calls:
    """What a channel calls."""

    hello: Callable[[bytes], None]
    """With what the host says of a session, before it is answered."""
    clock: Callable[[float], None]
    """With the time, in seconds since 1970."""
    turn: Callable[[], None]
    """After whatever happened; what it raises ends the channel."""


class Channel:
    """Carries streams between a port and a server's socket, or those of `others` by their names."""

    def __init__(self, port: int, server: str, calls: Calls, others: Mapping[bytes, str] | None = None):
        self._port = port
        self._servers = {b"": server, **(others or {})}
        self._calls = calls
        self._decoder = Decoder()
        self._streams: dict[int, _Stream] = {}
        self._out: deque[memoryview] = deque()
        self._waiting = 0
        os.set_blocking(port, False)

    def serve(self, wake: int) -> None:
        """For ever; `wake` is a descriptor that ends a wait when it can be read."""
        try:
            while True:
                self._turn(wake)
                self._calls.turn()
        finally:
            for number in list(self._streams):
                self._end(number)

    def _turn(self, wake: int) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._port, select.POLLIN | (select.POLLOUT if self._out else 0))
        by_fd = {stream.connection.fileno(): (number, stream) for number, stream in self._streams.items()}
        for fd, (_, stream) in by_fd.items():
            poll.register(fd, self._interest(stream))
        for fd, events in poll.poll():
            if fd == wake:
                os.read(wake, 4096)
            elif fd == self._port:
                self._serve_port(events)
            elif (known := by_fd[fd])[0] in self._streams:
                self._serve_stream(*known, events)

    def _interest(self, stream: _Stream) -> int:
        reads = stream.may_send and not stream.closed and self._waiting < _MOST_WAITING
        return (select.POLLIN if reads else 0) | (select.POLLOUT if stream.waiting else 0)

    def _serve_port(self, events: int) -> None:
        if events & select.POLLIN:
            self._read_port()
        if events & select.POLLOUT:
            self._write_port()

    def _read_port(self) -> None:
        data = self._pages()
        if not data:
            # Nobody is at the host's end. The port stays readable, and nothing but asking again tells of a change.
            select.select([], [], [], _NOBODY_POLL_S)
        for frame in self._decoder.feed(data):
            self._take(frame)

    def _pages(self) -> bytes:
        """What the port has now; empty when nobody is at the host's end."""
        pages: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while len(pages) < _READS and (page := os.read(self._port, _READ)):
                pages.append(page)
        return b"".join(pages)

    def _write_port(self) -> None:
        try:
            while self._out:
                sent = os.write(self._port, self._out[0])
                self._waiting -= sent
                self._out[0] = self._out[0][sent:]
                if not self._out[0]:
                    self._out.popleft()
        except BlockingIOError:
            return

    def _send(self, data: bytes) -> None:
        self._out.append(memoryview(data))
        self._waiting += len(data)

    def _take(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if frame.kind == HELLO:
            self._begin(frame.payload)
        elif frame.kind == CLOCK:
            self._calls.clock(clock_of(frame))
        elif frame.kind == OPEN:
            self._open(frame.stream, frame.payload)
        elif stream is None:
            return
        elif frame.kind == DATA:
            stream.waiting.append(memoryview(frame.payload))
            self._deliver(frame.stream, stream)
        elif frame.kind == CREDIT:
            stream.may_send += credit_of(frame)
        elif frame.kind == CLOSE:
            stream.closed = True
            if not stream.waiting:
                self._end(frame.stream)

    def _begin(self, payload: bytes) -> None:
        for number in list(self._streams):
            self._end(number)
        self._calls.hello(payload[SESSION_BYTES:])
        self._send(welcome(payload[:SESSION_BYTES]))

    def _open(self, number: int, name: bytes) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            if number in self._streams or len(self._streams) >= MOST_STREAMS:
                raise OSError("too many streams")
            if name not in self._servers:
                raise OSError("there is no such server")
            connection.connect(self._servers[name])
        except OSError:
            connection.close()
            self._send(encode(Frame(CLOSE, number)))
            return
        self._streams[number] = _Stream(connection)

    def _serve_stream(self, number: int, stream: _Stream, events: int) -> None:
        if events & select.POLLOUT:
            self._deliver(number, stream)
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and number in self._streams:
            self._collect(number, stream)

    def _deliver(self, number: int, stream: _Stream) -> None:
        """Hand on to the connection what it takes now."""
        try:
            while stream.waiting:
                sent = stream.connection.send(stream.waiting[0])
                self._send(encode(credit(number, sent)))
                stream.waiting[0] = stream.waiting[0][sent:]
                if not stream.waiting[0]:
                    stream.waiting.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._hang_up(number)
            return
        if stream.closed:
            self._end(number)

    def _collect(self, number: int, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(min(LONGEST_PAYLOAD, stream.may_send or 1))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(number)
            return
        stream.may_send -= len(data)
        self._send(encode(Frame(DATA, number, data)))

    def _hang_up(self, number: int) -> None:
        self._send(encode(Frame(CLOSE, number)))
        self._end(number)

    def _end(self, number: int) -> None:
        self._streams.pop(number).connection.close()
