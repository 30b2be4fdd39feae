"""What the providers of this host keep on disk, and who owns it.

<state>/machines/<id>/   state.json  journal/ (what files there were at the first start)
                         and of a sandbox: upper/ work/ merged/ (overlay)  log;  survives the run when the disk is kept
<state>/snapshots/<id>/  state.json  and of a sandbox: upper/
<state>/guests/<sha>/    the guest server's code, compiled for an image's Python
<runtime>/<id>/          ctl/ (socket, token, launched.json)  frames/        on tmpfs, gone with the machine
                         and of a container: filter
                         disk, a link to the machine's folder: runs with other state folders share <runtime>
"""

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.host_files import replace_text
from vm_pool.owner import Owner, this_process
from vm_pool.provider import Spec
from vm_pool.relaunch import Programs
from vm_pool.types import Frozen

ROOT_STATE = Path("/var/lib/agent-s3")
HOST_UID = 60_973
"""As root, machines run as this uid and gid, which own nothing else, so that root never backs a guest."""
STATE_FILE = "state.json"
SOCKET_NAME, TOKEN_NAME = "guest.sock", "token"
EGRESS_SOCKET = "egress.sock"
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107."""


class DiskState(Frozen):
    """`state.json` of a machine or a snapshot."""

    schema_version: Literal[1] = 1
    kind: Literal["machine", "snapshot"]
    id: str
    owner: Owner | None
    """The run that uses it; None for a disk that was kept on purpose."""
    image_id: str
    spec: Spec
    created: datetime
    expires: datetime
    labels: Mapping[str, str] = {}
    programs: Programs = Programs()


@dataclass(frozen=True)
class MachineFolder:
    """Names all files of one machine."""

    disk: Path
    runtime: Path

    @property
    def upper(self) -> Path:
        return self.disk / "upper"

    @property
    def work(self) -> Path:
        return self.disk / "work"

    @property
    def merged(self) -> Path:
        return self.disk / "merged"

    @property
    def log(self) -> Path:
        return self.disk / "log"

    @property
    def journal(self) -> Path:
        """What the guest's journal of files keeps between starts; not in the overlay, so that no fork inherits it."""
        return self.disk / "journal"

    @property
    def ctl(self) -> Path:
        return self.runtime / "ctl"

    @property
    def frames(self) -> Path:
        return self.runtime / "frames"

    @property
    def egress(self) -> Path:
        """Where tunnels out of the machine begin."""
        return self.ctl / EGRESS_SOCKET

    @property
    def egress_log(self) -> Path:
        """Names of hosts that the machine asked for."""
        return self.disk / "network.log"

    @property
    def disk_link(self) -> Path:
        return self.runtime / "disk"

    @property
    def socket(self) -> Path:
        return self.ctl / SOCKET_NAME

    @property
    def machine_id(self) -> Path:
        """What programs inside see as /etc/machine-id."""
        return self.runtime / "machine-id"

    @property
    def call_filter(self) -> Path:
        """The system call filter that a container's guest server puts on itself."""
        return self.runtime / "filter"

    @property
    def token(self) -> Path:
        return self.ctl / TOKEN_NAME

    @property
    def launched(self) -> Path:
        """Command lines that the guest started; written by the guest, so not to be believed."""
        return self.ctl / "launched.json"


@dataclass(frozen=True)
class Places:
    """Where this user's machines of one provider live."""

    state: Path
    runtime: Path

    @property
    def machines(self) -> Path:
        return self.state / "machines"

    @property
    def snapshots(self) -> Path:
        return self.state / "snapshots"

    @property
    def guests(self) -> Path:
        return self.state / "guests"

    def runtimes(self) -> list[Path]:
        """Runtime folders of machines whose disks are here, of those that were cut short before they said whose, and of
        those whose state folder as a whole is gone.
        """
        return [folder for folder in folders_in(self.runtime) if self._owns(folder)]

    def _owns(self, runtime: Path) -> bool:
        with contextlib.suppress(OSError):
            home = MachineFolder(self.machines, runtime).disk_link.readlink().parent
            return home == self.machines or not home.exists()
        return True

    def machine_folders(self) -> dict[str, Path]:
        """By machine id: the disk's, or the runtime's where the disk is gone."""
        return {path.name: path for path in [*self.runtimes(), *folders_in(self.machines)]}

    def machine(self, machine_id: str) -> MachineFolder:
        return MachineFolder(self.machines / machine_id, self.runtime / machine_id)

    def snapshot(self, snapshot_id: str) -> Path:
        return self.snapshots / snapshot_id

    def make(self) -> None:
        """Raises: `HostUnfit` when another user has taken the runtime folder, `ConfigError` for unusable paths."""
        check_overlay_path(self.state)
        # Others may pass through but not look around: machines run as a uid of their own when we are root.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder in (self.state, self.machines, self.snapshots, self.guests, self.runtime):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        check_ours(self.runtime)


def default_places(provider: str = "sandbox") -> Places:
    """Of a provider, with sockets on tmpfs.

    `AGENT_S3_STATE`, else /var/lib/agent-s3 for root and ~/.local/state/agent-s3 for others.
    """
    uid = os.geteuid()
    configured = os.environ.get("AGENT_S3_STATE")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    state = Path(configured) if configured else ROOT_STATE if uid == 0 else Path(home) / "agent-s3"
    suffix = "" if provider == "sandbox" else f"-{provider}"
    return Places(state.absolute() / provider, _runtime_base() / f"agent-s3-{uid}{suffix}")


def check_ours(folder: Path) -> None:
    """In a place that is open to all, another user may have made it first. Raises: `HostUnfit`."""
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise HostUnfit(f"{folder} belongs to somebody else; remove it: sudo rm -r {folder}")


def libvirt_folder() -> Path:
    """Of this user on tmpfs: what libvirt keeps while processes use it, whatever their state folders are."""
    return _runtime_base() / f"agent-s3-{os.geteuid()}-vm"


def pool_folder() -> Path:
    """What the pools of this user keep: journal, leases, last screens."""
    return default_places().state.parent / "pool"


def machine_uid() -> int:
    """The host uid and gid that machines run as."""
    return HOST_UID if os.geteuid() == 0 else os.geteuid()


def make_folder_for_machine(folder: Path, mode: int) -> None:
    """A directory that the machine's uid owns."""
    folder.mkdir(mode=mode)
    folder.chmod(mode)
    if os.geteuid() == 0:
        os.chown(folder, HOST_UID, HOST_UID)


def make_passage(folder: Path) -> None:
    """A directory of ours that the machine's uid may pass through and nobody else may enter."""
    folder.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        os.chown(folder, 0, HOST_UID)
        folder.chmod(0o710)


def folders_in(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(5)}"


def check_overlay_path(path: Path) -> None:
    """Raises: `ConfigError` when a path cannot be written into overlayfs mount options."""
    if any(char in str(path) for char in ",:\\"):
        raise ConfigError(
            f"{str(path)!r} holds a comma, colon or backslash, which overlayfs cannot take; choose another"
        )


def state_of_new(machine_id: str, spec: Spec, image_id: str) -> DiskState:
    now = datetime.now(UTC)
    return DiskState(
        kind="machine",
        id=machine_id,
        owner=this_process(),
        image_id=image_id,
        spec=spec,
        created=now,
        expires=now + timedelta(seconds=spec.ttl_s),
        labels=spec.labels,
    )


def write_state(folder: Path, state: DiskState) -> None:
    """Atomically, and readable by this user alone."""
    replace_text(folder / STATE_FILE, state.model_dump_json(indent=1))


def read_state(folder: Path) -> DiskState | None:
    """None when there is none or it is damaged: a machine cut short while it was made."""
    with contextlib.suppress(OSError, ValidationError):
        return DiskState.model_validate_json((folder / STATE_FILE).read_bytes())
    return None


def _runtime_base() -> Path:
    """A tmpfs for sockets and framebuffers: shared memory, or the user's runtime directory."""
    shared = Path("/dev/shm")  # noqa: S108  # entered by way of a folder that is ours alone
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
