"""A small HTTP/1.1 server over a unix or a loopback TCP socket: keep-alive, one thread per connection.

The standard library's `http.server` costs 120 ms to import and parses headers as e-mail; a desktop is ready in 200 ms.
Who may not ask is refused before his body is read, and a request that has begun must be whole in time.
"""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import Refused

_MAX_LINE = 65536
_MAX_HEADERS = 100
MAX_BODY = 1 << 30
MOST_CONNECTIONS = 256
"""Each has a thread."""
_HEAD_S = 30.0
_TRANSFER_S = 900.0
"""For a body, and for an answer; a gigabyte in that time is 10 Mbit/s."""
_MOST_REFUSED = 1 << 20
"""Bytes of a refused body that are still taken, so that its sender gets to read why."""
_REFUSED_S = 2.0
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object. Raises: `Refused`."""
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise Refused(f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refused("the body must be a JSON object")
        return value


@dataclass(frozen=True)
class Response:
    body: bytes
    status: int = 200
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


def json_response(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value, separators=(",", ":")).encode(), status, "application/json")


def text_response(text: str, status: int = 200) -> Response:
    return Response(text.encode(), status, "text/html; charset=utf-8")


_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
Handler = Callable[[Request], Response]
Gate = Callable[[Request], "Response | None"]
"""Gets a request without its body, and gives the answer to one that may not go on."""


class _Malformed(Exception):
    """What came is not HTTP; the connection is dropped."""


class _Incoming(io.RawIOBase):
    """What a client sends. `deadline`, of `time.monotonic()`; None: he may be silent for ever."""

    def __init__(self, connection: socket.socket):
        super().__init__()
        self._connection = connection
        self.deadline: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises: `TimeoutError` when the time is over, however much still comes."""
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Server:
    """Serves until `close`, and closes its listener then.

    `handler` and `gate` must not raise; `on_idle` is called when the last connection has gone.
    `head_s`: seconds from the first byte of a request to the end of its headers. `most`: connections at once.
    """

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        on_idle: Callable[[], None],
        *,
        gate: Gate = lambda _: None,
        head_s: float = _HEAD_S,
        most: int = MOST_CONNECTIONS,
    ):
        self._listener = listener
        self._handler = handler
        self._on_idle = on_idle
        self._gate = gate
        self._head_s = head_s
        self._most = most
        self._open = 0
        self._closed = threading.Event()
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        return self._open

    def serve(self) -> None:
        """Accept connections until `close`; one too many is closed at once."""
        # Closed by this thread alone: its number might belong to another socket by the time `accept` gets to it.
        with self._listener:
            while not self._closed.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    # Shut down, or out of file descriptors, which passes.
                    self._closed.wait(_PAUSE_S)
                    continue
                self._serve_one(connection)

    def close(self) -> None:
        """Make `serve` return, which closes the listener."""
        self._closed.set()
        with contextlib.suppress(OSError):  # closed by now
            self._listener.shutdown(socket.SHUT_RDWR)

    def _serve_one(self, connection: socket.socket) -> None:
        if self._open >= self._most:
            connection.close()
            return
        self._count(1)
        try:
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
        except RuntimeError:  # a program here has used up all processes, which passes
            connection.close()
            self._count(-1)

    def _count(self, change: int) -> int:
        with self._lock:
            self._open += change
            return self._open

    def _converse(self, connection: socket.socket) -> None:
        try:
            incoming = _Incoming(connection)
            with connection, io.BufferedReader(incoming, _MAX_LINE) as stream:
                while self._one_request(connection, incoming, stream):
                    pass
        except (OSError, _Malformed):
            return  # The client went away, was too slow or does not speak HTTP: nobody is left to answer.
        finally:
            if self._count(-1) == 0:
                self._on_idle()

    def _one_request(self, connection: socket.socket, incoming: _Incoming, stream: io.BufferedReader) -> bool:
        """Whether another may follow."""
        incoming.deadline = None
        if not stream.peek(1):
            return False
        incoming.deadline = time.monotonic() + self._head_s
        head = _read_head(stream)
        if head is None:
            return False
        if (refusal := self._gate(head)) is not None:
            _refuse(connection, incoming, stream, refusal)
            return False
        incoming.deadline = time.monotonic() + _TRANSFER_S
        if head.headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = replace(head, body=_read_body(stream, head.headers))
        answer = self._handler(request)
        connection.settimeout(_TRANSFER_S)
        _send(connection, answer)
        return request.headers.get("connection", "").lower() != "close"


def listen_unix(path: str) -> socket.socket:
    """A listening socket that only its owner may connect to; a stale one at the same path is replaced."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    Path(path).chmod(0o600)
    listener.listen(64)
    return listener


def listen_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, int(port)), backlog=64)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _read_head(stream: io.BufferedReader) -> Request | None:
    """A request as far as its headers; None for an empty line, after which nothing more is read."""
    line = stream.readline(_MAX_LINE)
    if not line.strip():
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Malformed
    headers = _read_headers(stream)
    try:
        target = urlsplit(parts[1])
        query = dict(parse_qsl(target.query, keep_blank_values=True))
    except ValueError as error:  # half an IPv6 address, too many fields
        raise _Malformed from error
    return Request(parts[0], unquote(target.path), query, headers, b"")


def _refuse(connection: socket.socket, incoming: _Incoming, stream: io.BufferedReader, refusal: Response) -> None:
    """Answer and hang up; a connection that is closed on bytes that nobody read loses the answer with them."""
    incoming.deadline = time.monotonic() + _REFUSED_S
    connection.settimeout(_REFUSED_S)
    _send(connection, replace(refusal, headers={**refusal.headers, "Connection": "close"}))
    connection.shutdown(socket.SHUT_WR)
    left = _MOST_REFUSED
    with contextlib.suppress(TimeoutError):
        while left > 0 and (piece := stream.read1(_MAX_LINE)):
            left -= len(piece)


def _read_headers(stream: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_MAX_LINE).strip()
        if not line:
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise _Malformed


def _read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _read_chunks(stream)
    length = _size(headers.get("content-length", "0"), base=10)
    return _read_exactly(stream, length)


def _read_chunks(stream: BinaryIO) -> bytes:
    body = bytearray()
    while size := _size(stream.readline(_MAX_LINE).split(b";")[0].decode("latin-1"), base=16):
        if len(body) + size > MAX_BODY:
            raise _Malformed
        body += _read_exactly(stream, size)
        stream.readline(_MAX_LINE)
    _read_headers(stream)
    return bytes(body)


def _size(digits: str, *, base: int) -> int:
    try:
        size = int(digits, base)
    except ValueError as error:
        raise _Malformed from error
    if not 0 <= size <= MAX_BODY:
        raise _Malformed
    return size


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    body = stream.read(length)
    if len(body) != length:
        raise _Malformed
    return body


def _send(connection: socket.socket, response: Response) -> None:
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Error')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        "\r\n",
    ]
    head = "\r\n".join(lines).encode("latin-1")
    if len(response.body) < _MAX_LINE:
        connection.sendall(head + response.body)
    else:
        connection.sendall(head)
        connection.sendall(response.body)
