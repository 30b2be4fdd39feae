"""As whom QEMU runs, and what of this host it may open for that: the one place where files change hands.

Started by root, QEMU gets a uid of its own, so that a program that breaks out of it is not root here. That uid is not
the sandboxes', whose programs it could trace and stop; nor libvirt's account, which owns the disks of other machines.
"""

import os
import stat
import subprocess
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

OWN_UID = 60_974
"""Started by root, QEMU runs as this uid, which owns nothing else."""
_TRY_S = 10.0
_KVM = Path("/dev/kvm")
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP


class QemuUser(NamedTuple):
    """A user and group of this host."""

    uid: int
    gid: int

    @property
    def differs(self) -> bool:
        """Whether it is another than the one who runs us."""
        return self.uid != os.geteuid()

    def label(self) -> str:
        """In libvirt's words: numbers, for which there need be no account."""
        return f"+{self.uid}:+{self.gid}"

    def run(self, command: Sequence[str], *, timeout_s: float) -> "subprocess.CompletedProcess[bytes]":
        """Run something as this user. Raises: `OSError`, `subprocess.TimeoutExpired`."""
        run = partial(subprocess.run, command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
        return run(user=self.uid, group=self.gid, extra_groups=()) if self.differs else run()

    def give(self, files: Iterable[Path]) -> None:
        """Let it write these files and nobody else but root read them; those that are not there are made, empty.

        The folders around them stay ours, so that it can put nothing in their place; it may pass through.
        """
        if not self.differs:
            return
        for path in files:
            _let_pass(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.fchown(fd, self.uid, self.gid)
                os.fchmod(fd, 0o600)
            finally:
                os.close(fd)

    def may(self, path: Path, modes: str) -> bool:
        """Tried as that user. `modes`: letters of "rwx". Blocks."""
        if not self.differs:
            return os.access(path, sum({"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[mode] for mode in modes))
        words = [word for mode in modes for word in (f"-{mode}", str(path), "-a")][:-1]
        return self.run(["test", *words], timeout_s=_TRY_S).returncode == 0

    def barred_from(self, files: Iterable[Path], modes: str = "r") -> str | None:
        """Which of these it cannot use and what keeps it off, in one line with what mends it; None: none. Blocks."""
        for path in files:
            if path.exists() and not self.may(path, modes):
                bar = next((one for one in reversed(path.parents) if not self.may(one, "x")), None)
                if bar:
                    return f"QEMU, as uid {self.uid}, cannot pass {bar} on its way to {path}; run: chmod o+x {bar}"
                mend = f"chown {self.uid} {path}" if "w" in modes else f"chgrp {self.gid} {path} && chmod g+r {path}"
                return f"QEMU, as uid {self.uid}, may not open {path}; run: {mend}"
        return None


def this_user() -> QemuUser:
    """Who runs us."""
    return QemuUser(os.geteuid(), os.getegid())


def own_user() -> QemuUser:
    """As whom QEMU runs when we start it: whoever runs us, or what root has for it.

    Its group is that of /dev/kvm where this lets its group in, since a uid without an account is in one group only.
    """
    if os.geteuid() != 0:
        return this_user()
    return QemuUser(OWN_UID, _group_of(_KVM) or OWN_UID)


def _let_pass(folder: Path) -> None:
    """Through a folder of ours, and not look around in it."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | 0o011)


def _group_of(device: Path) -> int:
    """The group that may use a device; 0 when there is none but root's."""
    try:
        found = device.stat()
    except OSError:
        return 0
    return found.st_gid if found.st_mode & _GROUP_MAY == _GROUP_MAY else 0
