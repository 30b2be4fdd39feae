"""One started virtual machine as this host sees it. Everything here blocks."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vm_pool.errors import MachineLost
from vm_pool.host_processes import has_ended, kill
from vm_pool.providers.vm_library import libvirt, libvirt_qemu, one_line
from vm_pool.providers.vm_user import QemuUser

_MOVE_S = 120.0
_POLL_S = 0.003
_UNLIMITED = 1 << 40
FindAgain = Callable[[str, Any], Any | None]
"""A machine's handle by its name and its stale handle; None when that is as good as any."""


class Vm:
    """One started machine as the host sees it."""

    def __init__(self, name: str, handle: Any, pid: int, user: QemuUser, find_again: FindAgain):
        self.name = name
        self.pid = pid
        self._user = user
        self._find_again = find_again
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
        self._user.give([target])
        self._ask("screendump", {"filename": str(target)})

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Have its tablet and keyboard say something, in the words of QEMU's `InputEvent`."""
        self._ask("input-send-event", {"events": list(events)})

    def end(self) -> None:
        """Kill it and wait until it is gone; idempotent. Raises: `TimeoutError` when it stays."""
        if self._fd < 0:
            return
        kill(self._fd)
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
        self._checked(lambda handle: libvirt_qemu.qemuMonitorCommandWithFiles(handle, command, [fd], 0))

    def _ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments or {}})
        answer = json.loads(self._checked(lambda handle: libvirt_qemu.qemuMonitorCommand(handle, text, 0)))
        if "error" in answer:
            raise MachineLost(f"{self.name}: QEMU refused {command}: {answer['error'].get('desc')}")
        return answer["return"]

    def _checked(self, call: Callable[[Any], Any]) -> Any:
        """Once more where the daemon was started again meanwhile: the machine went on."""
        try:
            try:
                return call(self._handle)
            except libvirt.libvirtError:
                again = self._find_again(self.name, self._handle)
                if again is None:
                    raise
                self._handle = again
                return call(again)
        except libvirt.libvirtError as error:
            raise MachineLost(f"{self.name}: {one_line(error)}") from error
