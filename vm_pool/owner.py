"""Which process a machine belongs to, told from later processes with the same id."""

import os
from pathlib import Path

from vm_pool.types import Frozen


class Owner(Frozen):
    """A process, told from a later one with the same id."""

    pid: int
    started: int
    """Clock ticks after boot, field 22 of /proc/PID/stat."""
    boot_id: str

    @property
    def alive(self) -> bool:
        return process_started(self.pid) == self.started and boot_id() == self.boot_id


def this_process() -> Owner:
    started = process_started(os.getpid())
    assert started is not None
    return Owner(pid=os.getpid(), started=started, boot_id=boot_id())


def process_started(pid: int) -> int | None:
    """Start time in clock ticks after boot; None when there is no such process or only its unreaped remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
