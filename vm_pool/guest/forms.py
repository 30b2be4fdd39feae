"""Bodies of HTML forms: `application/x-www-form-urlencoded` and `multipart/form-data`."""

import re
from urllib.parse import parse_qsl

from .errors import Refused
from .http_wire import Request

_NAME = re.compile(rb'[; ]name="([^"]*)"')


def form_fields(request: Request) -> dict[str, bytes]:
    """Fields by name; of an uploaded file, its content. Raises: `Refused` when the body is neither kind of form."""
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(request.body.decode("utf-8", errors="replace"), keep_blank_values=True)
        return {name: value.encode() for name, value in pairs}
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith("multipart/form-data") or boundary is None:
        raise Refused("the body must be a form")
    return _multipart(request.body, b"--" + boundary[1].encode("latin-1"))


def text_field(fields: dict[str, bytes], name: str) -> str:
    """Raises: `Refused` when the field is missing or empty."""
    if not fields.get(name):
        raise Refused(f"{name} is required")
    return fields[name].decode("utf-8", errors="replace")


def _multipart(body: bytes, delimiter: bytes) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    # What stands before the first delimiter and after the last one is no part.
    for part in (b"\r\n" + body).split(b"\r\n" + delimiter)[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            fields[name[1].decode("utf-8", errors="replace")] = content
    return fields
