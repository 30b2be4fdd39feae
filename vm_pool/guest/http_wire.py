"""A small HTTP/1.1 server over a unix or a loopback TCP socket: keep-alive, one thread per connection.

The standard library's `http.server` costs 120 ms to import and parses headers as e-mail; a desktop is ready in 200 ms.
"""

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import Refused

_MAX_LINE = 65536
_MAX_HEADERS = 100
MAX_BODY = 1 << 30


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


class _Malformed(Exception):
    """What came is not HTTP; the connection is dropped."""


class Server:
    """Serves until `close`. `handler` must not raise; `on_idle` is called when the last connection has gone."""

    def __init__(self, listener: socket.socket, handler: Handler, on_idle: Callable[[], None]):
        self._listener = listener
        self._handler = handler
        self._on_idle = on_idle
        self._open = 0
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        return self._open

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _count(self, change: int) -> int:
        with self._lock:
            self._open += change
            return self._open

    def _converse(self, connection: socket.socket) -> None:
        self._count(1)
        try:
            with connection, connection.makefile("rb") as stream:
                while (request := _read_request(stream, connection)) is not None:
                    _send(connection, self._handler(request))
                    if request.headers.get("connection", "").lower() == "close":
                        return
        except (OSError, _Malformed):
            return  # The client went away or does not speak HTTP: nobody is left to answer.
        finally:
            if self._count(-1) == 0:
                self._on_idle()


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


def _read_request(stream: BinaryIO, connection: socket.socket) -> Request | None:
    """None when the client has closed the connection."""
    line = stream.readline(_MAX_LINE)
    if not line.strip():
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Malformed
    headers = _read_headers(stream)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    target = urlsplit(parts[1])
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    return Request(parts[0], unquote(target.path), query, headers, _read_body(stream, headers))


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
        body += _read_exactly(stream, size)
        stream.readline(_MAX_LINE)
        if len(body) > MAX_BODY:
            raise _Malformed
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
