"""Frames on the control channel of a virtual machine: many connections over one serial port. Pure.

A frame is a head (kind, stream, length of payload), the payload and a fixed end. Zeros between frames mean nothing.

A port can change hands in the middle of a frame: when the process at the host's end died, or when the machine is a copy
that was made then. Whoever takes a port over first sends `RESYNC`, as many zeros as the longest frame is long: the
broken frame is filled up with them, ends in zeros instead of its end, and is dropped. Then it says `HELLO`.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

HELLO, WELCOME, OPEN, DATA, CLOSE, CREDIT, CLOCK = range(1, 8)
"""Kinds. `HELLO` (host) begins a session and ends all streams; `WELCOME` (guest) answers with the session's id.

`OPEN` (host) connects a new stream to the guest server, or to the server that its payload names; `CLOSE` ends one, from
either side. `CREDIT` lets the other side send so many more bytes of `DATA` on a stream; both begin with `WINDOW`.
`CLOCK` (host) says what time it is.
"""
LONGEST_PAYLOAD = 16384
"""Short, because a fork reads as many zeros before it hears anything, in code that is still to be translated."""
WINDOW = 1 << 20
"""Bytes that may be under way on one stream in one direction."""
MOST_STREAMS = 64
SERVER_STARTS = "agent-s3: the guest server starts"
"""On the console, between what the kernel says of its start and the guest server's log."""
_HEAD = struct.Struct(">BII")
_END = b"\xa5\x5a\xc3\x3c"
RESYNC = bytes(_HEAD.size + LONGEST_PAYLOAD + len(_END))
_CREDIT = struct.Struct(">I")
_CLOCK = struct.Struct(">d")


class Frame(NamedTuple):
    kind: int
    stream: int
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    assert len(frame.payload) <= LONGEST_PAYLOAD
    return b"".join((_HEAD.pack(frame.kind, frame.stream, len(frame.payload)), frame.payload, _END))


def credit(stream: int, size: int) -> Frame:
    return Frame(CREDIT, stream, _CREDIT.pack(size))


def credit_of(frame: Frame) -> int:
    """Raises: `ValueError` when it is no number within the window."""
    if len(frame.payload) != _CREDIT.size:
        raise ValueError("a credit of the wrong length")
    (size,) = _CREDIT.unpack(frame.payload)
    if size > WINDOW:
        raise ValueError(f"a credit of {size} bytes")
    return size


def clock(seconds: float) -> Frame:
    """Seconds since 1970, UTC."""
    return Frame(CLOCK, 0, _CLOCK.pack(seconds))


def clock_of(frame: Frame) -> float:
    return float(_CLOCK.unpack(frame.payload)[0])


def welcome(session: bytes) -> bytes:
    """What the guest sends first in a session. The host looks for these bytes among whatever came before."""
    return encode(Frame(WELCOME, 0, session))


class Decoder:
    """Bytes in, frames out; holds at most one frame that is not whole."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.damaged = 0
        """How many frames were dropped, and bytes that began none."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._held += data
        start = 0
        try:
            while True:
                start = self._skip_zeros(start)
                end = self._end_of(start)
                if end is None:
                    return
                frame = self._take(start, end)
                start = end
                if frame is None:
                    self.damaged += 1
                else:
                    yield frame
        finally:
            del self._held[:start]

    def _skip_zeros(self, start: int) -> int:
        rest = len(self._held) - start
        if rest and self._held[start] == 0:
            # In one go: a loop over 64 KiB of zeros takes a slow guest a while.
            return start + rest - len(bytes(self._held[start:]).lstrip(b"\0"))
        return start

    def _end_of(self, start: int) -> int | None:
        """Where the frame that begins here ends; None when more is needed to tell or to have it whole."""
        if len(self._held) - start < _HEAD.size:
            return None
        kind, _, length = _HEAD.unpack_from(self._held, start)
        if not HELLO <= kind <= CLOCK or length > LONGEST_PAYLOAD:
            return start + 1
        end = start + _HEAD.size + int(length) + len(_END)
        return None if len(self._held) < end else end

    def _take(self, start: int, end: int) -> Frame | None:
        if end - start < _HEAD.size or self._held[end - len(_END) : end] != _END:
            return None
        kind, stream, _ = _HEAD.unpack_from(self._held, start)
        return Frame(kind, stream, bytes(self._held[start + _HEAD.size : end - len(_END)]))
