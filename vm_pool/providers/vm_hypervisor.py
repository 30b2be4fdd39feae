"""The libvirt that starts virtual machines, whichever it is. Everything here blocks."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from vm_pool.errors import ConfigError, HostUnfit, MachineLost
from vm_pool.providers.vm_connection import Choice, check_allowed
from vm_pool.providers.vm_daemon import DaemonLink, why_no_files_pass
from vm_pool.providers.vm_domain import Label
from vm_pool.providers.vm_embedded import Embedded
from vm_pool.providers.vm_handle import Vm
from vm_pool.providers.vm_library import libvirt, one_line, run_event_loop
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import QemuUser, this_user

_POLL_S = 0.003
_END_S = 10.0


class Described(Protocol):
    """A virtual machine as libvirt is told of it."""

    @property
    def name(self) -> str: ...

    @property
    def as_we(self) -> bool: ...

    @property
    def reads(self) -> Sequence[Path]: ...

    @property
    def writes(self) -> Sequence[Path]: ...

    def xml(self, labels: Sequence[Label] = ()) -> str: ...


class Link(Protocol):
    """A way to a libvirt of this host."""

    user: QemuUser
    """As whom QEMU runs there."""
    labels: tuple[Label, ...]

    @property
    def words(self) -> str:
        """For people."""
        ...

    @property
    def lasts(self) -> bool:
        """Whether it stays open until this process ends."""
        ...

    def open(self) -> Any: ...

    def pid_of(self, name: str) -> int: ...


class Hypervisor:
    """A libvirt that all who ask for it in this process share. See `shared`."""

    _all: "dict[Choice, Hypervisor]" = {}  # noqa: RUF012  # one for the process
    _lock = threading.Lock()

    @classmethod
    def shared(cls, places: VmPlaces, choice: Choice) -> "Hypervisor":
        """The one there is, else a new one; each call needs a `close`.

        Raises: `HostUnfit`, `ConfigError` when this user or this process cannot have that one.
        """
        check_allowed(choice, uid=os.geteuid())
        with cls._lock:
            if choice not in cls._all:
                if cls._all and "embed" in {choice.kind, *(other.kind for other in cls._all)}:
                    raise ConfigError(
                        "libvirt inside a process knows no daemons, and this process uses both; keep to one of them:"
                        f" {', '.join(sorted({choice.kind, *(other.kind for other in cls._all)}))}"
                    )
                cls._all[choice] = cls(choice, places)
            cls._all[choice].users += 1
            return cls._all[choice]

    def __init__(self, choice: Choice, places: VmPlaces):
        run_event_loop()
        self._choice = choice
        self._link: Link = Embedded(places) if choice.kind == "embed" else DaemonLink(choice, places)
        self.users = 0
        """How many have it and have not closed it."""
        self._started: set[str] = set()
        self._connection: Any = self._link.open()
        self._opening = threading.Lock()

    @property
    def user(self) -> QemuUser:
        """As whom QEMU runs."""
        return self._link.user

    @property
    def words(self) -> str:
        """Which libvirt it is."""
        return self._link.words

    def why_nothing_moves(self) -> str | None:
        """What keeps the state of all its machines from being saved and loaded; None when nothing does."""
        return None if self._link.lasts else why_no_files_pass(self.words, self._connection.getLibVersion())

    def close(self) -> None:
        """All machines of the one who closes must have been ended; the last one waits until libvirt knows."""
        with Hypervisor._lock:
            self.users -= 1
            if self.users:
                return
            self._await_none_left()
            if not self._link.lasts:
                del Hypervisor._all[self._choice]
                self._connection.close()

    def _await_none_left(self) -> None:
        """libvirt takes up to two seconds to be done with a machine that has ended."""
        deadline = time.monotonic() + _END_S
        while self._alive() & self._started and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _alive(self) -> set[str]:
        """None when no daemon answers any more."""
        try:
            return {domain.name() for domain in self._connection.listAllDomains()}
        except libvirt.libvirtError:
            return set()

    def start(self, domain: Described) -> "Vm":
        """Start a machine that stands still. Its files become those of QEMU's user.

        Raises: `MachineLost` with QEMU's own complaint, `HostUnfit` when its user cannot get at a file.
        """
        connection = self._connection_now()
        user = this_user() if domain.as_we else self.user
        labels = [Label("dac", user.label()) if label.model == "dac" else label for label in self._link.labels]
        user.give(domain.writes)
        try:
            handle = connection.createXML(domain.xml(labels), libvirt.VIR_DOMAIN_START_PAUSED)
        except libvirt.libvirtError as error:
            reason = user.barred_from(domain.reads) or user.barred_from(domain.writes, "rw")
            if reason:
                raise HostUnfit(reason) from error
            raise MachineLost(f"{domain.name} did not start: {one_line(error)}") from error
        self._started.add(domain.name)
        return Vm(domain.name, handle, self._link.pid_of(domain.name), user, self._found_again)

    def _found_again(self, name: str, stale: Any) -> Any | None:
        """A machine at a daemon that was started again; None when it was there all the time, or does not know it."""
        if stale.connect().isAlive():
            return None
        try:
            return self._connection_now().lookupByName(name)
        except (libvirt.libvirtError, HostUnfit):
            return None

    def _connection_now(self) -> Any:
        """Opened again when its daemon died."""
        with self._opening:
            if not self._connection.isAlive():
                self._connection = self._link.open()
            return self._connection
