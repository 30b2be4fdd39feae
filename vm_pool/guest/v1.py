"""The routes under `/v1/`: typed, with request ids, several observations in one round trip.

Every route takes and gives JSON, except `frame`, `read` (raw answer) and `write` (raw request).
"""

import base64
import binascii
from typing import Any

from . import files
from .batches import BadBatch, check_batch
from .dbus_messages import BusError
from .desktop import Desktop
from .errors import Refused
from .http_wire import Request, Response, json_response
from .routing import Routes

VERSION = 1
_PARTS = ("tree", "windows", "clipboard", "files")
_MAX_TIMEOUT_S = 24 * 3600.0
_DEFAULT_OUTPUT = 256 * 1024
_MAX_OUTPUT = 64 * 1024 * 1024


def ready(desktop: Desktop, _: Request) -> Response:
    waiting_for = desktop.not_ready()
    size = {"width": desktop.screen.width, "height": desktop.screen.height}
    return json_response({"ready": not waiting_for, "waiting_for": waiting_for, **size}, 503 if waiting_for else 200)


def info(desktop: Desktop, _: Request) -> Response:
    return json_response(
        {
            "version": VERSION,
            "platform": "linux",
            "width": desktop.screen.width,
            "height": desktop.screen.height,
            "user": desktop.config.user,
            "home": desktop.home,
            "capabilities": ["v1", "tree", "journal", "clipboard", "settle"],
        }
    )


def frame(desktop: Desktop, _: Request) -> Response:
    size = {"X-Width": str(desktop.screen.width), "X-Height": str(desktop.screen.height)}
    return Response(desktop.screen.bgrx(), content_type="application/x-bgrx", headers=size)


def look(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    parts = body.get("parts", [])
    if not isinstance(parts, list) or any(part not in _PARTS for part in parts):
        raise Refused(f"parts must be a list of {', '.join(_PARTS)}")
    seen: dict[str, Any] = {"pointer": desktop.inputs.pointer()}
    if "windows" in parts:
        seen["windows"] = desktop.windows.list()
    if "clipboard" in parts:
        seen["clipboard"] = desktop.clipboard.get()
    if "files" in parts:
        seen["files"] = desktop.journal.changes(_cursor(body))
    if "tree" in parts:
        seen["tree"] = _tree_or_none(desktop)
    return json_response(seen)


def perform(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    request_id = _string(body, "request_id")
    try:
        events = check_batch(body.get("events"), width=desktop.screen.width, height=desktop.screen.height)
    except BadBatch as error:
        raise Refused(str(error), kind="bad_event") from error
    receipt, repeated = desktop.performed.do(request_id, lambda: desktop.inputs.perform(events))
    return json_response({"request_id": request_id, "repeated": repeated, **receipt})


def release(desktop: Desktop, _: Request) -> Response:
    desktop.inputs.release_all()
    return json_response({})


def settle(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    quiet_ms = _number(body, "quiet_ms", 150, high=60_000)
    timeout_ms = _number(body, "timeout_ms", 3000, high=600_000)
    return json_response(desktop.settler.settle(quiet_ms / 1000, timeout_ms / 1000))


def run(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    options: dict[str, Any] = {
        "timeout_s": _number(body, "timeout_s", 120.0, high=_MAX_TIMEOUT_S),
        "output_limit": int(_number(body, "output_limit", _DEFAULT_OUTPUT, high=_MAX_OUTPUT)),
        "stdin": _base64(body, "stdin"),
        "cwd": _directory(desktop, body),
        "env": _environment(body),
    }
    argv = _argv(body)
    completed, _ = desktop.completed.do(_string(body, "request_id"), lambda: desktop.processes.run(argv, **options))
    return json_response(completed)


def launch(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    argv, cwd = _argv(body), _directory(desktop, body)
    started = desktop.started.do(_string(body, "request_id"), lambda: desktop.processes.launch(argv, cwd=cwd))
    return json_response({"pid": started.answer})


def launched(desktop: Desktop, _: Request) -> Response:
    return json_response({"launched": desktop.processes.launched})


def read(desktop: Desktop, request: Request) -> Response:
    limit = request.query.get("max_bytes")
    if limit is not None and not limit.isdecimal():
        raise Refused("max_bytes must be a whole number")
    path = files.absolute(request.query.get("path", ""), desktop.home)
    return Response(files.read(path, None if limit is None else int(limit)))


def write(desktop: Desktop, request: Request) -> Response:
    mode = request.query.get("mode", "644")
    if not mode or set(mode) - set("01234567") or int(mode, 8) > 0o7777:
        raise Refused("mode must be octal permission bits, e.g. 644")
    files.write(files.absolute(request.query.get("path", ""), desktop.home), request.body, int(mode, 8))
    return json_response({"bytes": len(request.body)})


def windows(desktop: Desktop, _: Request) -> Response:
    return json_response({"windows": desktop.windows.list()})


def tree(desktop: Desktop, _: Request) -> Response:
    found = _tree_or_none(desktop)
    if found is None:
        raise Refused("the accessibility bus does not answer", status=503, kind="no_tree")
    return json_response(found)


def clipboard_text(desktop: Desktop, _: Request) -> Response:
    return json_response({"text": desktop.clipboard.get()})


def set_clipboard(desktop: Desktop, request: Request) -> Response:
    text = request.json().get("text")
    if not isinstance(text, str):
        raise Refused("text must be a string")
    desktop.clipboard.set(text)
    return json_response({})


def file_changes(desktop: Desktop, request: Request) -> Response:
    return json_response(desktop.journal.changes(request.query.get("since")))


ROUTES: Routes = {
    ("GET", "/v1/ready"): ready,
    ("GET", "/v1/info"): info,
    ("GET", "/v1/frame"): frame,
    ("POST", "/v1/look"): look,
    ("POST", "/v1/input"): perform,
    ("POST", "/v1/release"): release,
    ("POST", "/v1/settle"): settle,
    ("POST", "/v1/run"): run,
    ("POST", "/v1/launch"): launch,
    ("GET", "/v1/launched"): launched,
    ("GET", "/v1/read"): read,
    ("PUT", "/v1/write"): write,
    ("GET", "/v1/windows"): windows,
    ("GET", "/v1/tree"): tree,
    ("GET", "/v1/clipboard"): clipboard_text,
    ("POST", "/v1/clipboard"): set_clipboard,
    ("GET", "/v1/files"): file_changes,
}


def _tree_or_none(desktop: Desktop) -> dict[str, Any] | None:
    """None when the accessibility bus is away; the next call connects again."""
    try:
        return desktop.accessibility.tree()
    except BusError:
        return None


def _cursor(body: dict[str, Any]) -> str | None:
    cursor = body.get("files_since")
    if cursor is not None and not isinstance(cursor, str):
        raise Refused("files_since must be a cursor")
    return cursor


def _string(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise Refused(f"{name} must be a string of 1 to 200 characters")
    return value


def _number(body: dict[str, Any], name: str, default: float, *, high: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
        raise Refused(f"{name} must be a number from 0 to {high}")
    return value


def _argv(body: dict[str, Any]) -> list[str]:
    argv = body.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise Refused("argv must be a list of at least one string, without NUL characters")
    return argv


def _base64(body: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(body.get(name) or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Refused(f"{name} must be base64") from error


def _directory(desktop: Desktop, body: dict[str, Any]) -> str | None:
    cwd = body.get("cwd")
    if cwd is None:
        return None
    if not isinstance(cwd, str):
        raise Refused("cwd must be a path")
    return files.absolute(cwd, desktop.home)


def _environment(body: dict[str, Any]) -> dict[str, str]:
    env = body.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) and "\0" not in value for value in env.values()):
        raise Refused("env must be an object of strings")
    return env
