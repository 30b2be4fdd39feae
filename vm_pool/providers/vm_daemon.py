"""A libvirt daemon of this host: the user's, the system's, or one of our own that disturbs neither.

One that we did not start is never stopped, and its settings are never changed. Ours is started by root where none
answers. It has its own folders in the place of the system's /etc/libvirt and the like, in a mount namespace that
nobody else is in, so that it starts none of the host's machines and networks, and the host's own daemon can start
beside it. It listens on one socket that root alone may use. It ends by itself soon after its last machine and client.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from vm_pool.errors import HostUnfit
from vm_pool.host_files import end_of
from vm_pool.providers.vm_connection import Choice
from vm_pool.providers.vm_domain import Label
from vm_pool.providers.vm_embedded import AS_ROOT, SETTINGS
from vm_pool.providers.vm_library import libvirt, one_line
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import QemuUser, own_user

INSTALL_DAEMON = "sudo apt-get install -y libvirt-daemon-system"
_FOLDERS = {"etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "log": "/var/log/libvirt"}
_RUN = "/run/libvirt"
_MOUNT = 'while [ "$1" != -- ]; do mkdir -p "$2" && mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'
_CONF = """\
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_PASSES_FILES = 8_002_000
"""Version 8.2.0. Source: libvirt's documentation of virDomainQemuMonitorCommandWithFiles."""
_IDLE_S = 30
_START_S = 30.0
_LAST_BYTES = 2000


class DaemonLink:
    """A link to a daemon; `open` again after it died leads to the same one."""

    lasts = False

    def __init__(self, choice: Choice, places: VmPlaces) -> None:
        self._choice = choice
        self.own = OwnDaemon(places.hosts / "daemon") if choice.kind == "system" and choice.uri is None else None
        """The one that may be started; None: none."""
        self._address: str | None = None
        self.user = own_user()
        self.labels: tuple[Label, ...] = ()

    @property
    def words(self) -> str:
        return f"the libvirt daemon at {self._address or self._choice.address}"

    def open(self) -> Any:
        """Blocks. Raises: `HostUnfit` with what starts one."""
        connection = self._opened()
        self._learn(connection)
        return connection

    def open_if_there(self) -> Any | None:
        """None where no daemon answers; none is started. Blocks."""
        if self._choice.kind == "session" and not _session_socket().exists():
            return None  # libvirt would start one
        for address in self._addresses():
            with suppress(libvirt.libvirtError):
                return libvirt.open(address)
        return None

    def pid_of(self, name: str) -> int:
        """Of a machine's QEMU. Raises: `HostUnfit` when there is no such process."""
        mark = f"guest={name},".encode()
        for path in Path("/proc").iterdir():
            with suppress(OSError):
                if path.name.isdecimal() and mark in (path / "cmdline").read_bytes():
                    return int(path.name)
        raise HostUnfit(f"{self.words} started {name} where its process cannot be seen; use: embed")

    def _addresses(self) -> list[str]:
        """Where to look for it, first what was found before."""
        if self._address:
            return [self._address]
        return [self._choice.address, *([self.own.address] if self.own else [])]

    def _opened(self) -> Any:
        complaint = ""
        for address in self._addresses():
            try:
                connection = libvirt.open(address)
            except libvirt.libvirtError as error:
                complaint = complaint or one_line(error)
                continue
            self._address = address
            return connection
        if self.own and self._address in (None, self.own.address):
            connection = self.own.started()
            self._address = self.own.address
            return connection
        raise HostUnfit(f"no libvirt daemon answers at {self._choice.address}: {complaint}; run: {self._mend()}")

    def _mend(self) -> str:
        if self._choice.kind == "session":
            return f"{INSTALL_DAEMON}  (libvirt starts a session's daemon itself), or use: embed"
        return "sudo systemctl start libvirtd, or use: embed"

    def _learn(self, connection: Any) -> None:
        """As whom this daemon runs QEMU, and what else confines it there."""
        drivers = base_labels(connection.getCapabilities())
        ours = self.own is not None and self._address == self.own.address
        self.user = own_user() if ours or "dac" not in drivers else _user_of(drivers["dac"])
        # Others than that for users know nothing of our memory files, and would keep QEMU from them.
        exempted = tuple(Label(model, None) for model in drivers if model != "dac")
        self.labels = (*((Label("dac", self.user.label()),) if "dac" in drivers else ()), *exempted)


def _user_of(label: str) -> QemuUser:
    """Of libvirt's words for one, as `QemuUser.label` makes them."""
    uid, gid = (int(part.lstrip("+")) for part in label.split(":"))
    return QemuUser(uid, gid)


def why_no_files_pass(words: str, version: int) -> str | None:
    """Why a daemon of that version takes no open files for QEMU, which is how state is saved; None when it does."""
    return None if version >= _PASSES_FILES else f"{words} is older than 8.2 and hands no open files to QEMU"


def base_labels(capabilities: str) -> dict[str, str]:
    """Security driver -> what it gives machines by default, "" when it makes that up, from a host's capabilities."""
    host = Xml.fromstring(capabilities).find("host")  # noqa: S314  # a daemon of this host wrote it
    models = host.findall("secmodel") if host is not None else []
    return {
        model.findtext("model", ""): next((one.text or "" for one in model.findall("baselabel")), "")
        for model in models
        if model.findtext("model", "") not in ("", "none")
    }


def _session_socket() -> Path:
    """Where an ordinary user's daemon listens. Source: libvirt, src/rpc/virnetsocket.c."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(runtime) if runtime else Path.home() / ".cache") / "libvirt/libvirt-sock"


class OwnDaemon:
    """The daemon that root starts by hand, with all its files in one folder; there is one on a host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    def started(self) -> Any:
        """A connection to it, started if need be. Blocks. Raises: `HostUnfit` with its last words."""
        self.start()
        try:
            return libvirt.open(self.address)
        except libvirt.libvirtError as error:
            words = f"{one_line(error)}; its log ends: {self._last_words()!r}"
            raise HostUnfit(f"libvirtd does not answer: {words}; run: {INSTALL_DAEMON}, or use: embed") from error

    def start(self) -> None:
        """Start it, unless it answers by now. Blocks. Raises: `HostUnfit` with its last words."""
        program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is None:
            raise HostUnfit(f"there is no libvirtd; run: {INSTALL_DAEMON}, or use: embed")
        with self._alone():
            if not self._answers():
                self._make_folders()
                self._spawn(program)

    @contextmanager
    def _alone(self) -> Generator[None]:
        self.folder.mkdir(mode=0o711, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_folders(self) -> None:
        # Only what QEMU reads by its path is below "lib".
        for name, mode in {**dict.fromkeys(_FOLDERS, 0o700), "lib": 0o711, "run": 0o711}.items():
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        (self.folder / "etc/libvirtd.conf").write_text(_CONF)
        (self.folder / "etc/qemu.conf").write_text(SETTINGS + AS_ROOT)

    def _spawn(self, program: str) -> None:
        """Returns when it listens."""
        binds = [word for name, place in {**_FOLDERS, "run": _RUN}.items() for word in (f"{self.folder}/{name}", place)]
        command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", _MOUNT, "mount", *binds, "--", program]
        command += ["--daemon", "--timeout", str(_IDLE_S), "--pid-file", str(self.pid_file)]
        try:
            done = subprocess.run(
                [*command, "--config", "/etc/libvirt/libvirtd.conf"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                timeout=_START_S,
            )
        except subprocess.TimeoutExpired as error:
            raise HostUnfit(f"libvirtd did not start within {_START_S:g} s; use: embed") from error
        if done.returncode != 0:
            words = done.stderr[-_LAST_BYTES:].decode(errors="replace") or self._last_words()
            raise HostUnfit(f"libvirtd does not start: {' '.join(words.split())}; use: embed")

    def _last_words(self) -> str:
        """The end of its log, of which it may have written nothing."""
        return " ".join(end_of(self.folder / "log/libvirtd.log", _LAST_BYTES).decode(errors="replace").split())

    def _answers(self) -> bool:
        try:
            libvirt.open(self.address).close()
        except libvirt.libvirtError:
            return False
        return True
