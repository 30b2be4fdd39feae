"""What a program in a machine asks of the proxy: the head of an HTTP request. Pure; nothing in it is believed."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from vm_pool.network import plain_name

LONGEST_HEAD = 32768
_DROPPED = (b"proxy-", b"connection:", b"keep-alive:", b"upgrade:", b"te:", b"host:", b"expect:")
"""What is between a client and its proxy alone, and what the proxy says itself."""
_LINE_ENDS_TO_SOME = (b"\n", b"\r", b"\0")
_PORTS = frozenset({80, 443})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class BadRequest(ValueError):
    """It cannot be done, whoever asks: with the status that says so."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """One request."""

    name: str
    """Of the host, as `plain_name` gives it."""
    port: int
    head: bytes
    """What goes to the server; empty: a tunnel is asked for, and bytes follow."""
    body_bytes: int


def parse_request(head: bytes) -> Asked:
    """`head` ends in an empty line. Raises: `BadRequest`."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    if any(byte in line for line in lines for byte in _LINE_ENDS_TO_SOME):
        raise BadRequest(400, "a line of the head is malformed")
    words = lines[0].decode("latin-1").split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400, "this is no HTTP request")
    method, target, _ = words
    if method == "CONNECT":
        name, port = _place(target, 0)
        return Asked(name, port, b"", 0)
    if method not in _METHODS:
        raise BadRequest(405, f"the method {method[:20]!r} is not known")
    return _plain(method, target, lines[1:])


def _plain(method: str, target: str, headers: list[bytes]) -> Asked:
    """A request to a server without TLS. One per connection, so that no second one goes where the first one went."""
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise BadRequest(400, "this is no URL") from error
    if parts.scheme != "http" or parts.username is not None:
        raise BadRequest(400, "only http:// URLs can be asked for; https goes by CONNECT")
    name, port = _place(parts.netloc, 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = f"[{name}]" if ":" in name else name
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}" if port == 80 else f"Host: {host}:{port}"]
    kept = [line for line in headers if not line.lower().startswith(_DROPPED)]
    start = "\r\n".join(lines).encode("latin-1", "replace")
    return Asked(name, port, b"\r\n".join([start, *kept, b"Connection: close", b"", b""]), _body_bytes(headers))


def _body_bytes(headers: list[bytes]) -> int:
    if any(line[:1] in (b" ", b"\t") or b":" not in line for line in headers):
        raise BadRequest(400, "a header is malformed")
    pairs = [tuple(part.strip() for part in line.split(b":", 1)) for line in headers]
    if any(name.lower() == b"transfer-encoding" for name, _ in pairs):
        raise BadRequest(411, "the length of the body must be said")
    lengths = {value for name, value in pairs if name.lower() == b"content-length"}
    if len(lengths) > 1 or not all(value.isdigit() and len(value) < 19 for value in lengths):
        raise BadRequest(400, "the length of the body is said wrongly")
    return int(lengths.pop()) if lengths else 0


def _place(text: str, usual: int) -> tuple[str, int]:
    name, colon, digits = text.rpartition(":")
    if not colon or "]" in digits:
        name, digits = text, str(usual)
    try:
        plain = plain_name(name)
    except ValueError as error:
        raise BadRequest(400, "this names no host") from error
    port = int(digits) if digits.isdecimal() and len(digits) < 6 else 0
    if port not in _PORTS:
        raise BadRequest(403, "only the ports 80 and 443 can be reached")
    return plain, port
