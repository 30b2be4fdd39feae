"""The desktop session: X server, buses and window manager, started in order and ended together."""

import contextlib
import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .processes import Processes

HERE = Path(__file__).resolve().parent
AT_SPI_LAUNCHER = Path("/usr/libexec/at-spi-bus-launcher")
_BUSES = ("dbus", "at-spi")
"""They start daemons that outlive their starter, so they share this process's session: CRIU, which saves desktops with
their programs, cannot restore the socket of a session's leader while it remakes an orphan of that session."""
_SUPERVISE_S = 0.25
_RESTARTS = 5
"""How often a service is started again before its end is taken for the end of the session."""


@dataclass(frozen=True)
class SessionConfig:
    width: int
    height: int
    """Screen size in pixels."""
    frames: Path
    """Directory in which Xvfb keeps its framebuffer file; on tmpfs."""
    user: str
    """The desktop's user; when the server is started as root it becomes this user."""
    log_to_stderr: bool = False
    """Where this process's own errors can be read from outside, what services write is to stand there too."""


def become(user: str) -> None:
    """Give up root for good. An ordinary user, or an unknown name in a one-user namespace, stays who he is."""
    if os.geteuid() != 0 or user == "root":
        return
    try:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
    except (KeyError, PermissionError):
        return
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def session_environment(user: str, home: str, runtime: str) -> dict[str, str]:
    """Environment of every program of the session, display aside."""
    return {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/bash",
        "PATH": f"{home}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/games",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TERM": "xterm-256color",
        "XDG_RUNTIME_DIR": runtime,
        "XDG_SESSION_TYPE": "x11",
        "XDG_CURRENT_DESKTOP": "openbox",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
        "GTK_MODULES": "gail:atk-bridge",
        "GTK_A11Y": "atspi",
        "GNOME_ACCESSIBILITY": "1",
        "QT_ACCESSIBILITY": "1",
        "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
        "ACCESSIBILITY_ENABLED": "1",
        "SAL_USE_VCLPLUGIN": "gtk3",
        "GDK_BACKEND": "x11",
        # There is no OpenGL in this X server; without this GTK 4 looks for it first.
        "GSK_RENDERER": "cairo",
        "QT_QPA_PLATFORM": "xcb",
    }


def make_runtime_directory() -> str:
    """`/run/user/UID` where that can be had, else a private directory in /tmp."""
    for path in (Path(f"/run/user/{os.getuid()}"), Path(f"/tmp/runtime-{os.getuid()}")):  # noqa: S108 - guest's own
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        return str(path)
    raise OSError("neither /run/user nor /tmp can be written")


class Session:
    """Services of the desktop. `on_lost` is called once, with the reason, when it cannot go on."""

    def __init__(self, config: SessionConfig, processes: Processes, on_lost: Callable[[str], None]):
        self._config = config
        self._processes = processes
        self._on_lost = on_lost
        self._services: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = {}
        self._restarts: dict[str, int] = {}
        self.log = Path(processes.env["XDG_RUNTIME_DIR"]) / "agent-s3-session.log"

    def start_servers(self) -> None:
        """Start Xvfb and the session bus; returns at once, so that the caller can import while they start."""
        Path("/tmp/.X11-unix").mkdir(mode=0o1777, exist_ok=True)  # noqa: S108 - where X keeps its sockets
        self._display_end, display_fd = os.pipe()
        size = f"{self._config.width}x{self._config.height}x24"
        # No access list: the sockets are in this machine's namespaces, where there is one user.
        xvfb = ["Xvfb", "-displayfd", str(display_fd), "-screen", "0", size, "-fbdir", str(self._config.frames)]
        xvfb += ["-extension", "GLX", "-nolisten", "tcp", "-ac", "-noreset"]
        self._start("Xvfb", xvfb, pass_fds=[display_fd])
        os.close(display_fd)
        address = self._processes.env["DBUS_SESSION_BUS_ADDRESS"]
        self._start("dbus", ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"])

    def start_desktop(self) -> None:
        """Wait for the X server and start what needs it. Raises: `OSError` when it ended instead."""
        with os.fdopen(self._display_end) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise OSError(f"Xvfb did not start: {self._last_words()}")
        self._processes.env["DISPLAY"] = os.environ["DISPLAY"] = f":{number}"
        self._start("openbox", ["openbox", "--sm-disable", "--config-file", str(HERE / "rc.xml")])
        if AT_SPI_LAUNCHER.exists():
            self._start("at-spi", [str(AT_SPI_LAUNCHER), "--launch-immediately"])

    def supervise(self, stop: threading.Event) -> None:
        """Reap children and start ended services again until `stop`; the X server's end is the end at once."""
        threading.Thread(target=self._watch_x_server, args=(stop,), daemon=True).start()
        while not stop.wait(_SUPERVISE_S):
            self._processes.reap()
            for name, (argv, process) in list(self._services.items()):
                if name != "Xvfb" and process.returncode is not None:
                    self._start_again(name, argv)

    def _watch_x_server(self, stop: threading.Event) -> None:
        code = self._services["Xvfb"][1].wait()
        if not stop.is_set():
            self._on_lost(f"Xvfb ended with code {code}; {self._last_words()}")

    def _start_again(self, name: str, argv: list[str]) -> None:
        self._restarts[name] = self._restarts.get(name, 0) + 1
        if self._restarts[name] > _RESTARTS:
            self._on_lost(f"{name} ended {_RESTARTS + 1} times; {self._last_words()}")
        else:
            self._start(name, argv)

    def _last_words(self) -> str:
        if self._config.log_to_stderr:
            return "its log stands above"
        return "the log ends: " + " | ".join(self.log.read_text(errors="replace").splitlines()[-3:])

    def _start(self, name: str, argv: list[str], **options: object) -> None:
        own = name not in _BUSES
        with contextlib.nullcontext(sys.stderr) if self._config.log_to_stderr else self.log.open("ab") as log:
            process = self._processes.spawn(
                argv, own_session=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )
        self._services[name] = (argv, process)


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll a cheap condition every 2 ms; False when the time was over first."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.002)
    return True
