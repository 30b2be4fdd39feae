"""What the `libvirt` provider keeps on disk.

<state>/libvirt/machines/<id>/   state.json  disk.qcow2 (over the image's)  console (what the machine said at its start)
                                 port-*, guest.sock (control)  screen         ram, device (when it is kept for `revive`)
                                 egress.sock, network.log (when it may reach out)
               /snapshots/<id>/  state.json  disk.qcow2  ram  device  screen
               /guests/<sha>/    initrd: an image's drivers and the guest server's code

On tmpfs, of all state folders of a user:
<runtime>/<pid>-*/               libvirt's own files, one folder for each process that uses it; removed at its end
         /cache/                 what libvirt found out about this host's QEMU
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vm_pool.errors import ConfigError
from vm_pool.local_state import (
    EGRESS_SOCKET,
    LONGEST_SOCKET_PATH,
    check_ours,
    default_places,
    folders_in,
    libvirt_folder,
)
from vm_pool.owner import process_started
from vm_pool.providers.vm_user import own_user

INSTALL = "sudo apt-get install -y libvirt-daemon libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils"
"""What mends a host that lacks something of QEMU or libvirt."""


@dataclass(frozen=True)
class VmFolder:
    """Names all files of one machine or snapshot."""

    path: Path

    @property
    def disk(self) -> Path:
        return self.path / "disk.qcow2"

    @property
    def ram(self) -> Path:
        """Memory as a file that forks map for themselves."""
        return self.path / "ram"

    @property
    def device(self) -> Path:
        """State of everything but memory and disk."""
        return self.path / "device"

    @property
    def moved(self) -> Path:
        """Memory and devices as they come out of a running machine; gone when `ram` and `device` are made of it."""
        return self.path / "moved"

    @property
    def screen(self) -> Path:
        """Memory that the machine shares with this host, with the picture on its screen."""
        return self.path / "screen"

    @property
    def console(self) -> Path:
        return self.path / "console"

    def port(self, start: str) -> Path:
        """QEMU's end of the control channel, of one start of the machine."""
        return self.path / f"port-{start}"

    @property
    def socket(self) -> Path:
        """The guest server, as clients reach it."""
        return self.path / "guest.sock"

    @property
    def egress(self) -> Path:
        """Where tunnels out of the machine begin."""
        return self.path / EGRESS_SOCKET

    @property
    def egress_log(self) -> Path:
        """Names of hosts that the machine asked for."""
        return self.path / "network.log"


@dataclass(frozen=True)
class VmPlaces:
    """Where this user's virtual machines live."""

    root: Path

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def guests(self) -> Path:
        return self.root / "guests"

    @property
    def hosts(self) -> Path:
        return libvirt_folder()

    @property
    def cache(self) -> Path:
        return self.hosts / "cache"

    def machine(self, machine_id: str) -> VmFolder:
        return VmFolder(self.machines / machine_id)

    def snapshot(self, snapshot_id: str) -> VmFolder:
        return VmFolder(self.snapshots / snapshot_id)

    def make(self) -> None:
        """Raises: `ConfigError` when sockets below would have too long a path, `HostUnfit` as `check_ours`."""
        if len(str(self.machine("m-0123456789").egress)) > LONGEST_SOCKET_PATH:
            raise ConfigError(f"{self.root} is too long for the sockets in it; set AGENT_S3_STATE to a shorter folder")
        longest = self.hosts / "1234567-ab/lib/qemu/domain-99999-m-0123456789-abcd/monitor.sock"
        if len(str(longest)) > LONGEST_SOCKET_PATH:
            raise ConfigError(
                f"{self.hosts} is too long for the sockets in it; set XDG_RUNTIME_DIR to a shorter folder"
            )
        for folder in (self.root, self.machines, self.snapshots, self.guests, self.hosts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_ours(self.hosts)
        if own_user().differs:
            for folder in (self.root, self.machines, self.snapshots, self.guests, self.hosts):
                folder.chmod(0o711)  # QEMU may pass through but not look around
        self.cache.mkdir(mode=0o700, exist_ok=True)

    def domains(self) -> frozenset[str]:
        """Names of those whose machines lie here. Processes with other state folders note theirs in the same place."""
        found: set[str] = set()
        for path in self.hosts.glob("*/run/qemu/*.xml"):
            with suppress(FileNotFoundError):
                if os.fsencode(self.root) in path.read_bytes():
                    found.add(path.stem)
        return frozenset(found)

    def sweep_hosts(self) -> None:
        """Remove libvirt's files of processes that have ended."""
        for folder in self.dead_hosts():
            shutil.rmtree(folder, ignore_errors=True)

    def dead_hosts(self) -> list[Path]:
        """libvirt's files of processes that have ended."""
        folders = [(folder, folder.name.lstrip(".").partition("-")[0]) for folder in folders_in(self.hosts)]
        return [folder for folder, pid in folders if pid.isdecimal() and process_started(int(pid)) is None]


def default_vm_places() -> VmPlaces:
    """Beside the sandboxes: in `AGENT_S3_STATE`, else where this user's state lies."""
    return VmPlaces(default_places().state.parent / "libvirt")
