"""libvirt inside this process: no daemon, no change to this host's own libvirt, all its files in one folder of ours.

Everything here blocks. Source: https://libvirt.org/drvqemu.html#driver-instances ("embed").
"""

import atexit
import importlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from vm_pool.errors import HostUnfit, MachineLost
from vm_pool.providers.vm_disk import end_process, has_ended
from vm_pool.providers.vm_places import INSTALL, VmPlaces


def _import_quietly() -> tuple[Any, Any]:
    """libvirt writes on standard error what is unusual about our machines, unless told not to; errors are raised."""
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
    return importlib.import_module("libvirt"), importlib.import_module("libvirt_qemu")


libvirt, libvirt_qemu = _import_quietly()  # an extra without types

# Nothing of it is shared with other users: QEMU runs as whoever runs us, in its own seccomp filter.
_SETTINGS = """\
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 1
max_queued = 0
"""
_AS_ROOT = 'user = "root"\ngroup = "root"\nswtpm_user = "root"\nswtpm_group = "root"\n'
_MOVE_S = 120.0
_POLL_S = 0.003
_END_S = 10.0
_UNLIMITED = 1 << 40


class Described(Protocol):
    """A virtual machine as libvirt is told of it."""

    @property
    def name(self) -> str: ...

    def xml(self) -> str: ...


class Hypervisor:
    """The libvirt of this process, which has one in its whole life: all that ask for it share it. See `shared`."""

    _one: "Hypervisor | None" = None
    _users = 0
    _one_lock = threading.Lock()

    @classmethod
    def shared(cls, places: VmPlaces) -> "Hypervisor":
        """The one there is, else a new one; each call needs a `close`.

        Raises: `HostUnfit`.
        """
        with cls._one_lock:
            if cls._one is None:
                cls._one = cls(places)
            cls._users += 1
            return cls._one

    def __init__(self, places: VmPlaces):
        _run_event_loop()
        self._root = places.hosts / f"{os.getpid()}-{secrets.token_hex(1)}"
        (self._root / "etc").mkdir(mode=0o700, parents=True)
        (self._root / "etc/qemu.conf").write_text(_SETTINGS + (_AS_ROOT if os.geteuid() == 0 else ""))
        # Finding out what a QEMU can do takes 4 s, so that is kept for the next process.
        (self._root / "cache").symlink_to(places.cache)
        try:
            self._connection: Any = libvirt.open(f"qemu:///embed?root={self._root}")
        except libvirt.libvirtError as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise HostUnfit(f"libvirt does not start here: {error}; run: {INSTALL}") from error
        # Once closed it could not be opened again: libvirt remembers the folder, and takes no other.
        atexit.register(shutil.rmtree, self._root, ignore_errors=True)

    def close(self) -> None:
        """All machines of the one who closes must have been ended; the last one waits until libvirt knows."""
        with Hypervisor._one_lock:
            Hypervisor._users -= 1
            if Hypervisor._users == 0:
                self._await_none_left()

    def _await_none_left(self) -> None:
        """libvirt takes up to two seconds to be done with a machine that has ended."""
        deadline = time.monotonic() + _END_S
        while self._connection.listAllDomains() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def start(self, domain: Described) -> "Vm":
        """Start a machine that stands still. Raises: `MachineLost` with QEMU's own complaint."""
        try:
            handle = self._connection.createXML(domain.xml(), libvirt.VIR_DOMAIN_START_PAUSED)
        except libvirt.libvirtError as error:
            raise MachineLost(f"{domain.name} did not start: {_one_line(error)}") from error
        pid = int((self._root / f"run/qemu/{domain.name}.pid").read_text())
        return Vm(domain.name, handle, pid)


class Vm:
    """One started machine as the host sees it."""

    def __init__(self, name: str, handle: Any, pid: int):
        self.name = name
        self.pid = pid
        self._handle = handle
        self._fd = os.pidfd_open(pid)

    @property
    def ended(self) -> bool:
        return self._fd < 0 or has_ended(self._fd)

    def resume(self) -> None:
        """Let it run, whatever made it stand still."""
        self._ask("cont")

    def pause(self) -> None:
        """Let it stand still, with all that it wrote on its disk in the disk's file."""
        self._ask("stop")

    def why_it_cannot_move(self) -> str | None:
        """What keeps its memory and devices from being saved; None when nothing does."""
        reasons = self._ask("query-migrate").get("blocked-reasons")
        return "; ".join(map(str, reasons)) if reasons else None

    def move_out(self, target: Path, *, without_memory: bool) -> None:
        """Write memory and devices, or devices alone, to a file; the machine stands still from then on."""
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.move_out_to(fd, without_memory=without_memory)
        finally:
            os.close(fd)

    def move_out_to(self, fd: int, *, without_memory: bool) -> None:
        """As `move_out`, to whoever reads what is open there.

        It stands still meanwhile, too: while it runs under software emulation, QEMU 7.2 misses some of the pages that
        it writes to, and one copy in six did not live.
        """
        self._set_up_move(without_memory=without_memory)
        self._ask("migrate-set-parameters", {"max-bandwidth": _UNLIMITED})
        self.pause()
        self._lend(fd)
        self._ask("migrate", {"uri": "fd:state"})
        self._await_move()

    def move_in(self, source: Path, *, without_memory: bool) -> None:
        """Take over what `move_out` wrote; the machine stands still afterwards."""
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.begin_to_move_in(fd, without_memory=without_memory)
        finally:
            os.close(fd)
        self.await_moved_in()

    def begin_to_move_in(self, fd: int, *, without_memory: bool) -> None:
        """Take over what is written there from now on."""
        self._set_up_move(without_memory=without_memory)
        self._lend(fd)
        self._ask("migrate-incoming", {"uri": "fd:state"})

    def await_moved_in(self) -> None:
        deadline = time.monotonic() + _MOVE_S
        while (status := self._ask("query-status")["status"]) == "inmigrate":
            if time.monotonic() >= deadline:
                raise MachineLost(f"{self.name} did not take saved state over within {_MOVE_S:g} s")
            time.sleep(_POLL_S)
        if status not in ("paused", "running", "postmigrate", "prelaunch"):
            raise MachineLost(f"{self.name} is {status!r} after taking saved state over")

    def monitor(self, line: str) -> str:
        """What QEMU's own command line answers."""
        return self._ask("human-monitor-command", {"command-line": line})

    def draw(self, target: Path) -> None:
        """Write what is on its graphics card to a file (PPM)."""
        self._ask("screendump", {"filename": str(target)})

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Have its tablet and keyboard say something, in the words of QEMU's `InputEvent`."""
        self._ask("input-send-event", {"events": list(events)})

    def end(self) -> None:
        """Kill it and wait until it is gone; idempotent. Raises: `TimeoutError` when it stays."""
        if self._fd < 0:
            return
        end_process(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _set_up_move(self, *, without_memory: bool) -> None:
        capability = {"capability": "x-ignore-shared", "state": without_memory}
        self._ask("migrate-set-capabilities", {"capabilities": [capability]})

    def _await_move(self) -> None:
        deadline = time.monotonic() + _MOVE_S
        while time.monotonic() < deadline:
            state = self._ask("query-migrate")
            if state.get("status") == "completed":
                return
            if state.get("status") in ("failed", "cancelled"):
                raise MachineLost(f"{self.name} could not be saved: {state.get('error-desc', state['status'])}")
            time.sleep(_POLL_S)
        raise MachineLost(f"{self.name} was not saved within {_MOVE_S:g} s")

    def _lend(self, fd: int) -> None:
        """Give QEMU an open file under the name `state`: in its sandbox it can start no program to read one."""
        command = json.dumps({"execute": "getfd", "arguments": {"fdname": "state"}})
        self._checked(lambda: libvirt_qemu.qemuMonitorCommandWithFiles(self._handle, command, [fd], 0))

    def _ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments or {}})
        answer = json.loads(self._checked(lambda: libvirt_qemu.qemuMonitorCommand(self._handle, text, 0)))
        if "error" in answer:
            raise MachineLost(f"{self.name}: QEMU refused {command}: {answer['error'].get('desc')}")
        return answer["return"]

    def _checked(self, call: Any) -> Any:
        try:
            return call()
        except libvirt.libvirtError as error:
            raise MachineLost(f"{self.name}: {_one_line(error)}") from error


@cache
def _run_event_loop() -> None:
    """libvirt's own, in a thread that lives as long as this process; without it nobody reads QEMU's answers."""
    libvirt.registerErrorHandler(_keep_quiet, None)
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True, name="libvirt-events").start()


def _keep_quiet(_context: Any, _error: Any) -> None:
    """Errors are raised; nothing needs to print them as well."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
