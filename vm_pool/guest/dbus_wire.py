"""A D-Bus client over a unix socket, made for asking many small questions at once.

Questions are written in one piece and their answers matched by serial number as they come, so that a tree of hundreds
of elements costs one wait and not hundreds.
Source: D-Bus Specification 0.43, "Authentication Protocol".
"""

import os
import select
import socket
import time
from collections.abc import Callable

from .dbus_messages import BusError, Call, Reply, encode_call, message_end, read_reply


class Bus:
    """One connection. Not for several threads at once. Raises on making: `BusError`."""

    def __init__(self, address: str, timeout_s: float = 5.0):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._serial = 0
        self._in = bytearray()
        self._out = bytearray()
        self._waiting: dict[int, Callable[[Reply], None]] = {}
        try:
            self._socket.connect(socket_path(address))
            self._authenticate()
        except OSError as error:
            raise BusError(f"cannot reach the bus at {address!r}: {error}") from error
        self._socket.setblocking(False)
        hello = Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        if self.ask(hello, timeout_s) is None:
            raise BusError(f"the bus at {address!r} does not answer")

    def close(self) -> None:
        self._socket.close()

    def submit(self, call: Call, on_reply: Callable[[Reply], None]) -> int:
        """Queue a call; its answer is given to `on_reply` during a later `pump`. Returns its serial."""
        self._serial += 1
        self._out += encode_call(call, self._serial)
        self._waiting[self._serial] = on_reply
        return self._serial

    def forget(self, serials: "set[int]") -> None:
        """Answers to these calls are no longer wanted."""
        for serial in serials:
            self._waiting.pop(serial, None)

    def pump(self, timeout_s: float) -> None:
        """Send what is queued and take what has come, waiting at most this long for either. Raises: `BusError`."""
        writers = [self._socket] if self._out else []
        readable, writable, _ = select.select([self._socket], writers, [], max(0.0, timeout_s))
        try:
            if writable:
                del self._out[: self._socket.send(self._out)]
            if readable:
                self._receive()
        except OSError as error:
            raise BusError(f"the bus is gone: {error}") from error

    def ask(self, call: Call, timeout_s: float) -> Reply | None:
        """One call and its answer; None when none came in time."""
        answers: list[Reply] = []
        serial = self.submit(call, answers.append)
        deadline = time.monotonic() + timeout_s
        while not answers and time.monotonic() < deadline:
            self.pump(deadline - time.monotonic())
        self.forget({serial})
        return answers[0] if answers else None

    def _authenticate(self) -> None:
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        answer = self._socket.recv(4096)
        if not answer.startswith(b"OK"):
            raise BusError(f"the bus refused: {answer[:80]!r}")
        self._socket.sendall(b"BEGIN\r\n")

    def _receive(self) -> None:
        chunk = self._socket.recv(1 << 20)
        if not chunk:
            raise BusError("the bus closed the connection")
        self._in += chunk
        position = 0
        while (end := message_end(self._in, position)) is not None:
            self._dispatch(bytes(self._in[position:end]))
            position = end
        del self._in[:position]

    def _dispatch(self, message: bytes) -> None:
        answer = read_reply(message, self._waiting)
        if answer is not None:
            serial, reply = answer
            self._waiting.pop(serial)(reply)


def socket_path(address: str) -> str:
    """Path of the first unix socket in a bus address; abstract ones begin with NUL. Raises: `BusError`."""
    for alternative in address.split(";"):
        transport, _, rest = alternative.partition(":")
        keys = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
        if transport == "unix" and "path" in keys:
            return keys["path"]
        if transport == "unix" and "abstract" in keys:
            return "\0" + keys["abstract"]
    raise BusError(f"no unix socket in the bus address {address!r}")
