"""OSWorld's own routes: commands, files and facts about the screen, in upstream's request and answer shapes.

Known differences: upstream's bugs are not repeated (a good `/run_bash_script` answers 200, a window that is not found
is a 404), and commands are killed with all their children. Source: OSWorld, `desktop_env/server/main.py`.
"""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import files, osworld_desktop
from .desktop import Desktop
from .errors import Refused, not_found
from .forms import form_fields, text_field
from .http_wire import Request, Response, json_response, text_response
from .routing import Routes

_EXECUTE_S = 120.0
_PYTHON_S = 30.0
_BASH_S = 100.0
_OUTPUT = 16 * 1024 * 1024
_DOWNLOAD_TRIES = 3
_DOWNLOAD_S = 300.0
_LISTING_DEPTH = 50


def execute(desktop: Desktop, request: Request) -> Response:
    return json_response(_executed(desktop, request.json()))


def execute_with_verification(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    answer = _executed(desktop, body)
    wanted = body.get("verification") or {}
    limit, interval = float(body.get("max_wait_time", 10)), max(0.05, float(body.get("check_interval", 1)))
    started = time.monotonic()
    while not _verified(desktop, wanted):
        if time.monotonic() - started >= limit:
            failed = {**answer, "status": "verification_failed", "verification": "failed", "wait_time": limit}
            return json_response(failed, 500)
        time.sleep(interval)
    waited = round(time.monotonic() - started, 3)
    return json_response({**answer, "verification": "passed", "wait_time": waited})


def run_python(desktop: Desktop, request: Request) -> Response:
    code = request.json().get("code")
    if not isinstance(code, str) or not code:
        raise Refused("code is required")
    done = _run(desktop, [sys.executable or "/usr/bin/python3", "-"], _PYTHON_S, stdin=code.encode())
    ok = done["returncode"] == 0
    answer = {
        "status": "success" if ok else "error",
        "message": done["stdout"] if ok else done["stderr"],
        "need_more": False,
        "output": done["stdout"],
        "error": done["stderr"],
        "return_code": done["returncode"],
    }
    return json_response(answer, 200 if ok else 500)


def run_bash_script(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    script = body.get("script")
    if not isinstance(script, str) or not script:
        raise Refused("script is required")
    cwd = files.absolute(body["working_dir"], desktop.home) if body.get("working_dir") else None
    timeout_s = float(body.get("timeout", _BASH_S))
    done = _run(desktop, ["bash", "-s"], timeout_s, stdin=script.encode(), cwd=cwd, merge_stderr=True)
    ok = done["returncode"] == 0
    answer = {"output": done["stdout"], "error": "", "returncode": done["returncode"]}
    return json_response({"status": "success" if ok else "error", **answer})


def launch(desktop: Desktop, request: Request) -> Response:
    argv = _command(desktop, request.json())
    with _as_failure():
        desktop.processes.launch(argv)
    return text_response(f"{' '.join(argv)} launched successfully")


def screenshot(desktop: Desktop, _: Request) -> Response:
    return Response(desktop.screen.png(), content_type="image/png")


def screen_size(desktop: Desktop, _: Request) -> Response:
    return json_response({"width": desktop.screen.width, "height": desktop.screen.height})


def platform(_desktop: Desktop, _: Request) -> Response:
    return text_response("Linux")


def cursor_position(desktop: Desktop, _: Request) -> Response:
    return json_response(desktop.inputs.pointer())


def desktop_path(desktop: Desktop, _: Request) -> Response:
    path = Path(desktop.home) / "Desktop"
    if not path.is_dir():
        raise not_found("Desktop path not found")
    return json_response({"desktop_path": str(path)})


def list_directory(desktop: Desktop, request: Request) -> Response:
    path = request.json().get("path")
    if not isinstance(path, str) or not path:
        raise Refused("path is required")
    directory = Path(files.absolute(path, desktop.home))
    if not directory.is_dir():
        raise Refused(f"{path!r} is no directory")
    return json_response({"directory_tree": _listing(directory, _LISTING_DEPTH)})


def get_file(desktop: Desktop, request: Request) -> Response:
    path = _expanded(desktop, text_field(form_fields(request), "file_path"))
    try:
        with _as_failure():
            data = files.read(path, None)
    except Refused as refused:
        if refused.kind != "not_found":
            raise
        return json_response({"error": "File not found"}, 404)
    name = Path(path).name.encode("ascii", errors="replace").decode().replace('"', "_")
    return Response(data, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def upload(desktop: Desktop, request: Request) -> Response:
    fields = form_fields(request)
    if "file_data" not in fields:
        raise Refused("file_data is required")
    path = _expanded(desktop, text_field(fields, "file_path"))
    with _as_failure():
        files.write(path, fields["file_data"], 0o644)
    return text_response(f"File Uploaded: {len(fields['file_data'])} bytes")


def download_file(desktop: Desktop, request: Request) -> Response:
    body = request.json()
    if not body.get("url") or not body.get("path"):
        raise Refused("url and path are required")
    path = _expanded(desktop, str(body["path"]))
    data = _download(str(body["url"]))
    with _as_failure():
        files.write(path, data, 0o644)
    return text_response("File downloaded successfully")


ROUTES: Routes = {
    **{("POST", prefix + "/execute"): execute for prefix in ("", "/setup")},
    **{("POST", prefix + "/execute_with_verification"): execute_with_verification for prefix in ("", "/setup")},
    ("POST", "/run_python"): run_python,
    ("POST", "/run_bash_script"): run_bash_script,
    ("POST", "/setup/launch"): launch,
    ("GET", "/screenshot"): screenshot,
    ("POST", "/screen_size"): screen_size,
    ("GET", "/platform"): platform,
    ("GET", "/cursor_position"): cursor_position,
    ("POST", "/desktop_path"): desktop_path,
    ("POST", "/list_directory"): list_directory,
    ("POST", "/file"): get_file,
    ("POST", "/setup/upload"): upload,
    ("POST", "/setup/download_file"): download_file,
    **osworld_desktop.ROUTES,
}


def _executed(desktop: Desktop, body: dict[str, Any]) -> dict[str, Any]:
    done = _run(desktop, _command(desktop, body), _EXECUTE_S)
    answer = {"status": "success", "output": done["stdout"], "error": done["stderr"]}
    return {**answer, "returncode": done["returncode"]}


@contextlib.contextmanager
def _as_failure() -> Iterator[None]:
    """Upstream answers 500 when it could not do what a well-formed request asked for."""
    try:
        yield
    except Refused as refused:
        raise Refused(str(refused), status=500, kind=refused.kind) from refused


def _run(desktop: Desktop, argv: list[str], timeout_s: float, **options: Any) -> dict[str, Any]:
    with _as_failure():
        done = desktop.processes.run(argv, timeout_s=timeout_s, output_limit=_OUTPUT, **options)
    if done["timed_out"]:
        raise Refused(f"Command '{argv[0]}' timed out after {timeout_s:g} seconds", status=500, kind="timed_out")
    return done


def _command(desktop: Desktop, body: dict[str, Any]) -> list[str]:
    """An argument list as `subprocess` would make it of `command` and `shell`. Raises: `Refused`."""
    command = body.get("command")
    if isinstance(command, list) and command and all(isinstance(word, str) for word in command):
        words = command
    elif isinstance(command, str) and command:
        words = [command] if body.get("shell") else _split(command)
    else:
        raise Refused("command must be a string or a list of strings", status=500)
    words = [desktop.home + word[1:] if word.startswith("~/") else word for word in words]
    return ["/bin/sh", "-c", *words] if body.get("shell") else words


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise Refused(f"cannot split the command: {error}", status=500) from error


def _verified(desktop: Desktop, wanted: dict[str, Any]) -> bool:
    title = wanted.get("window_exists")
    if title and not any(str(title) in window["title"] for window in desktop.windows.list()):
        return False
    command = wanted.get("command_success")
    if not command:
        return True
    argv = ["/bin/sh", "-c", command if isinstance(command, str) else shlex.join(map(str, command))]
    return desktop.processes.run(argv, timeout_s=5.0, output_limit=1024)["returncode"] == 0


def _listing(directory: Path, depth: int) -> dict[str, Any]:
    children: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):  # a directory that cannot be read is listed as empty
        for entry in sorted(directory.iterdir()):
            if depth and entry.is_dir() and not entry.is_symlink():
                children.append(_listing(entry, depth - 1))
            else:
                children.append({"type": "file", "name": entry.name})
    return {"type": "directory", "name": directory.name, "children": children}


def _expanded(desktop: Desktop, path: str) -> str:
    return files.absolute(os.path.expandvars(path), desktop.home)


def _download(url: str) -> bytes:
    import urllib.error  # pulls in ssl and http.client, 80 ms, for a route that a machine without network never serves
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise Refused(f"cannot download {url!r}: only http and https")
    reason = ""
    for _ in range(_DOWNLOAD_TRIES):
        try:
            with urllib.request.urlopen(url, timeout=_DOWNLOAD_S) as response:  # noqa: S310 - the scheme is checked
                data = response.read()
            length = response.headers.get("Content-Length")
            if length is None or int(length) == len(data):
                return data
            reason = f"{len(data)} of {length} bytes came"
        except (urllib.error.URLError, OSError) as error:
            reason = str(error)
    raise Refused(f"Failed to download {url}: {reason}", status=500, kind="broken")
