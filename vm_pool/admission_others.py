"""What other users of this host start now: their slots are locked files that all can see in the kernel's list.

They are counted and never believed for more than that: a user's only start waits for nobody else's.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOST_MIB = 4096
"""That one start of somebody else is taken to need."""
_NUMBER_LIMIT = 20


class Starting(NamedTuple):
    """Starts under way and what they will take at birth."""

    machines: int
    mib: int


def starting_elsewhere(folder: Path, locks: Path = Path("/proc/locks")) -> Starting:
    """Of all users but the one whose folder it is; folders are named `<something>-<uid>` and lie side by side."""
    base = folder.name.rpartition("-")[0]
    held = _held_inodes(locks)
    needs = [
        _need(slot)
        for other in folder.parent.glob(f"{base}-*")
        if other != folder and _is_of_its_user(other)
        for slot in _slots(other)
        if _inode(slot) in held
    ]
    return Starting(len(needs), sum(needs))


def _is_of_its_user(folder: Path) -> bool:
    uid = folder.name.rpartition("-")[2]
    with contextlib.suppress(OSError):
        return uid.isdecimal() and folder.lstat().st_uid == int(uid) and not folder.is_symlink()
    return False


def _slots(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in folder.iterdir() if path.name.isdecimal())


def _need(slot: Path) -> int:
    """In MiB; 0 when it does not say."""
    with contextlib.suppress(OSError):
        fd = os.open(slot, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            digits = file.read(_NUMBER_LIMIT)
        return min(int(digits), _MOST_MIB) if digits.isdigit() else 0
    return 0


def _held_inodes(locks: Path) -> set[str]:
    """As `MAJOR:MINOR:INODE`, of files with a `flock` that excludes others; none where the kernel hides them."""
    with contextlib.suppress(OSError):
        lines = (line.split() for line in locks.read_text().splitlines())
        return {words[5] for words in lines if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"]}
    return set()


def _inode(path: Path) -> str:
    with contextlib.suppress(OSError):
        seen = path.lstat()
        return f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    return ""
