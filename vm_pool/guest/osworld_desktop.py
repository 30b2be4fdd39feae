"""OSWorld's routes about windows, the accessibility tree, the wallpaper and recordings."""

import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from . import files
from .dbus_messages import BusError
from .desktop import Desktop
from .errors import Refused, not_found
from .forms import form_fields, text_field
from .http_wire import Request, Response, json_response, text_response
from .routing import Routes

_OPEN_S = 300.0
_RECORDING = "/tmp/agent-s3-recording.mp4"  # noqa: S108 - the guest has one user
_RECORDING_START_S = 30.0
_RECORDING_END_S = 15.0
_GSETTINGS = ("org.gnome.desktop.background", "picture-uri")
_COMMAND_S = 10.0


def accessibility(desktop: Desktop, _: Request) -> Response:
    from .accessibility_xml import tree_xml  # the XML parser takes 20 ms to import, and only OSWorld's client asks

    return json_response({"AT": tree_xml(_tree(desktop)["root"])})


def terminal(desktop: Desktop, _: Request) -> Response:
    """Text of the terminal in the active window; null when there is none."""
    for node in _walk(_tree(desktop)["root"]):
        if node["role"] == "frame" and "active" in node.get("states", ()):
            texts = [below["text"] for below in _walk(node) if below["role"] == "terminal" and "text" in below]
            if texts:
                return json_response({"output": texts[0].rstrip(), "status": "success"})
    return json_response({"output": None, "status": "success"})


def window_size(desktop: Desktop, request: Request) -> Response:
    name = text_field(form_fields(request), "app_class_name")
    for window in reversed(desktop.windows.list()):
        if window["app"].lower() == name.lower():
            return json_response({"width": window["box"]["width"], "height": window["box"]["height"]})
    raise not_found(f"no window of class {name!r}")


def activate_window(desktop: Desktop, request: Request) -> Response:
    _wmctrl(desktop, request.json(), "a")
    return text_response("Window activated successfully")


def close_window(desktop: Desktop, request: Request) -> Response:
    _wmctrl(desktop, request.json(), "c")
    return text_response("Window closed successfully.")


def open_file(desktop: Desktop, request: Request) -> Response:
    """Open a file with its program, or start a program on the PATH, and wait until a window shows its name."""
    path = request.json().get("path")
    if not isinstance(path, str) or not path:
        raise Refused("path is required")
    target = Path(files.absolute(path, desktop.home))
    is_program = shutil.which(path, path=desktop.processes.env["PATH"]) is not None
    if not target.exists() and not is_program:
        raise not_found(f"File not found: {path}")
    desktop.processes.launch(["xdg-open", str(target)] if target.exists() else [path])
    deadline = time.monotonic() + _OPEN_S
    while time.monotonic() < deadline:
        for window in desktop.windows.list():
            if target.stem.lower() in window["title"].lower():
                desktop.processes.run(["wmctrl", "-i", "-a", window["id"]], timeout_s=_COMMAND_S, output_limit=1024)
                return text_response("File opened and window activated successfully")
        time.sleep(0.1)
    raise Refused(f"no window of {path!r} within {_OPEN_S:g} seconds", status=500, kind="timed_out")


def wallpaper(desktop: Desktop, _: Request) -> Response:
    said = _command(desktop, ["gsettings", "get", *_GSETTINGS])
    path = unquote(urlsplit(said["stdout"].strip().strip("'")).path)
    if said["returncode"] or not path:
        raise not_found("no wallpaper is set")
    return Response(files.read(path, None), content_type="image/png")


def change_wallpaper(desktop: Desktop, request: Request) -> Response:
    path = request.json().get("path")
    if not isinstance(path, str) or not path:
        raise Refused("path is required")
    target = Path(files.absolute(path, desktop.home))
    if not target.exists():
        raise not_found(f"File not found: {path}")
    done = _command(desktop, ["gsettings", "set", *_GSETTINGS, target.as_uri()])
    if done["returncode"]:
        raise Refused(f"Failed to change wallpaper: {done['stderr'].strip()}", status=500, kind="broken")
    return text_response("Wallpaper changed successfully")


class Recorder:
    """At most one recording of the screen at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, desktop: Desktop, _: Request) -> Response:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise Refused("Recording is already in progress.")
            size = f"{desktop.screen.width}x{desktop.screen.height}"
            argv = ["ffmpeg", "-y", "-loglevel", "error", "-f", "x11grab", "-draw_mouse", "1", "-framerate", "30"]
            argv += ["-video_size", size, "-i", desktop.processes.env["DISPLAY"], "-c:v", "libx264", _RECORDING]
            null = subprocess.DEVNULL
            Path(_RECORDING).unlink(missing_ok=True)
            try:
                self._process = desktop.processes.spawn(argv, stdin=null, stdout=null, stderr=null)
            except Refused as refused:
                raise Refused(str(refused), status=500, kind="broken") from refused
            self._await_first_frame(self._process)
        return json_response({"status": "success", "message": "Started recording successfully."})

    def _await_first_frame(self, process: "subprocess.Popen[bytes]") -> None:
        """A recorder that is told to end before it has a frame leaves no film."""
        film = Path(_RECORDING)
        deadline = time.monotonic() + _RECORDING_START_S
        while not (film.exists() and film.stat().st_size):
            if process.poll() is not None:
                raise Refused(f"the recorder ended at once, with {process.returncode}", status=500, kind="broken")
            if time.monotonic() >= deadline:
                process.kill()
                reason = f"the recorder took no frame within {_RECORDING_START_S:g} seconds"
                raise Refused(reason, status=500, kind="timed_out")
            time.sleep(0.05)

    def end(self, _desktop: Desktop, _: Request) -> Response:
        with self._lock:
            if self._process is None:
                raise Refused("No recording in progress to stop.")
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_RECORDING_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process = None
        headers = {"Content-Disposition": 'attachment; filename="recording.mp4"'}
        return Response(files.read(_RECORDING, None), content_type="video/mp4", headers=headers)


_RECORDER = Recorder()

ROUTES: Routes = {
    ("GET", "/accessibility"): accessibility,
    ("GET", "/terminal"): terminal,
    ("POST", "/window_size"): window_size,
    ("POST", "/wallpaper"): wallpaper,
    ("POST", "/setup/change_wallpaper"): change_wallpaper,
    ("POST", "/setup/open_file"): open_file,
    ("POST", "/setup/activate_window"): activate_window,
    ("POST", "/setup/close_window"): close_window,
    ("POST", "/start_recording"): _RECORDER.start,
    ("POST", "/end_recording"): _RECORDER.end,
}


def _tree(desktop: Desktop) -> dict[str, Any]:
    try:
        return desktop.accessibility.tree()
    except BusError as error:
        raise Refused(f"no accessibility tree: {error}", status=500, kind="no_tree") from error


def _walk(node: dict[str, Any]) -> Any:
    yield node
    for child in node.get("children", ()):
        yield from _walk(child)


def _wmctrl(desktop: Desktop, body: dict[str, Any], what: str) -> None:
    """As upstream, the exit code is not looked at: a window that is not there is no error."""
    name = body.get("window_name")
    if not isinstance(name, str) or not name:
        raise Refused("window_name is required")
    flags = ("x" if body.get("by_class") else "") + ("F" if body.get("strict") else "")
    _command(desktop, ["wmctrl", f"-{flags}{what}", name])


def _command(desktop: Desktop, argv: list[str]) -> dict[str, Any]:
    return desktop.processes.run(argv, timeout_s=_COMMAND_S, output_limit=65536)
