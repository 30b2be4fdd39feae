"""The disks of sandbox machines: a fresh one from an image, a copy of one, and the guest server's compiled code."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from vm_pool.disk import delete_tree, drop_live_traces
from vm_pool.errors import HostUnfit
from vm_pool.guest_code import USER
from vm_pool.local_state import (
    DiskState,
    MachineFolder,
    Places,
    machine_uid,
    make_folder_for_machine,
    make_passage,
    write_state,
)
from vm_pool.providers.sandbox_launch import as_machine_uid
from vm_pool.reflink import shared_bytes

Blocks = Literal["shared", "own"]
"""Whether a copy's blocks on disk may be those of its original until one of them is changed."""
_COPIES = 3
"""How often a disk is copied before files that are replaced meanwhile are taken for an error."""


def make_disk(folder: MachineFolder, state: DiskState, rootfs: Path, copy_of: Path | None) -> None:
    """The disk part: a fresh upper directory with the user's home, or a copy of a saved one."""
    make_passage(folder.disk)
    write_state(folder.disk, state)
    for place in (folder.work, folder.merged, folder.journal):
        make_folder_for_machine(place, 0o755)
    if copy_of:
        copy_upper(copy_of, folder.upper)
    else:
        _fresh_upper(folder.upper, rootfs)


def renew_disk(folder: MachineFolder, state: DiskState) -> None:
    """Ready a kept disk for another start; overlayfs wants a work directory without another mount's remains."""
    delete_tree(folder.work)
    make_folder_for_machine(folder.work, 0o755)
    drop_live_traces(folder.upper)
    write_state(folder.disk, state)


def save_disk(upper: Path, target: Path, state: DiskState) -> None:
    """Copy a machine's upper directory into a new folder; the machine should stand still meanwhile."""
    make_passage(target)
    write_state(target, state)
    copy_upper(upper, target / "upper")
    drop_live_traces(target / "upper")


def copy_upper(source: Path, target: Path, *, blocks: Blocks = "shared") -> None:
    """Copy an upper directory with modes, extended attributes and whiteouts; shares blocks where the file system can.

    That takes a file system with reflinks, as XFS and Btrfs have, and Linux 5.18; `blocks="own"` copies them anyway.

    Its machine may be running. The copy is made as the machine's uid in a place that has nothing else of this host:
    programs that swap folders for links meanwhile get no file from outside into it. All in it belongs to that uid,
    which may also read what is locked. Raises: `OSError`; files that vanish meanwhile are left out.
    """
    trouble: list[str] = []
    for _ in range(_COPIES):
        make_folder_for_machine(target, 0o755)
        copying = subprocess.run(
            copy_command(source, target, blocks),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        trouble = [line for line in copying.stderr.splitlines() if "No such file or directory" not in line]
        if copying.returncode == 0 or not trouble:
            return
        delete_tree(target)
        if not any("was replaced while being copied" in line for line in trouble):
            break
    raise OSError(f"copying {source} failed: {trouble[0]}")


def copy_command(source: Path, target: Path, blocks: Blocks = "shared") -> list[str]:
    """The whole command line, outermost first."""
    reflink = "auto" if blocks == "shared" else "never"
    programs = [word for place in ("/usr", "/bin", "/lib", "/lib64") for word in ("--ro-bind-try", place, place)]
    return [
        *as_machine_uid(),
        *("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--"),
        *("bwrap", *programs, "--ro-bind", str(source), "/from", "--bind", str(target), "/to", "--proc", "/proc"),
        *("--unshare-pid", "--unshare-net", "--die-with-parent", "--new-session", "--chdir", "/", "--"),
        *("cp", "--recursive", "--no-dereference", "--preserve=mode,timestamps,links,xattr", f"--reflink={reflink}"),
        *("/from/.", "/to"),
    ]


def copies_share_blocks(places: Places) -> bool:
    """Whether they do in the folders that hold the machines, as a copy of a small disk shows. Raises: `OSError`."""
    with tempfile.TemporaryDirectory(dir=places.machines, prefix="probe-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        make_folder_for_machine(folder / "upper", 0o755)
        (folder / "upper" / "file").write_bytes(os.urandom(2**16))
        copy_upper(folder / "upper", folder / "copy")
        return shared_bytes(folder / "copy" / "file") > 0


def check_reachable(rootfs: Path) -> None:
    """Raises: `HostUnfit` when the uid that machines run as cannot get at the image."""
    if os.geteuid() != 0:
        return
    for parent in (rootfs, *rootfs.parents):
        if not parent.stat().st_mode & 0o001:
            raise HostUnfit(
                f"machines run as an unprivileged user, which cannot enter {parent}; run: chmod o+x {parent}"
                " (or choose other directories by AGENT_S3_CACHE and AGENT_S3_STATE)"
            )


def _fresh_upper(upper: Path, rootfs: Path) -> None:
    """Directories that must be writable exist here from the start.

    overlayfs cannot copy up a directory whose owner the machine's user namespace does not map; and directories that
    are only here, like all of the home directory, can be renamed, which overlayfs refuses for those from below.
    """
    uid = machine_uid()
    make_folder_for_machine(upper, 0o755)
    for name, mode in (("home", 0o755), ("tmp", 0o1777), ("var", 0o755), ("var/tmp", 0o1777)):
        make_folder_for_machine(upper / name, mode)
    home = upper / "home" / USER
    shutil.copytree(rootfs / "etc/skel", home, symlinks=True)
    if os.geteuid() == 0:
        for directory, _, files in os.walk(home):
            for path in (directory, *(f"{directory}/{name}" for name in files)):
                os.lchown(path, uid, uid)
