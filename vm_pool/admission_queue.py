"""Whose turn it is at the gate of a host: processes start machines in the order in which they came to it.

Each process stands in it once, with a ticket: a file whose name is its time, locked by its holder, so that the ticket
of a process that ended is nobody's. One that stands still keeps its ticket and is passed by.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

STALLED_S = 2.0
"""A holder that has not looked for so long is passed by."""
_LETS_PASS = b"passes"


class Ticket:
    """A place in the queue in a folder."""

    def __init__(self, path: Path, fd: int):
        self._path = path
        self._fd = fd

    def is_next(self) -> bool:
        """Whether nobody stands before it who could go; also says that its own holder is awake."""
        os.utime(self._fd)
        for path in sorted(self._path.parent.iterdir()):
            if path == self._path:
                return True
            if _waits(path):
                return False
        return True

    def let_others_pass(self) -> None:
        """From now on those behind need not wait for it."""
        os.pwrite(self._fd, _LETS_PASS, 0)


@contextmanager
def ticket(folder: Path) -> Generator[Ticket]:
    """Stand in the queue as long as the block lasts."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(3)}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Ticket(path, fd)
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _waits(path: Path) -> bool:
    """Whether those behind a ticket must wait for it. One whose holder has ended is removed."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            seen = os.fstat(fd)
            if _is_held(fd):
                return time.time() - seen.st_mtime < STALLED_S and os.pread(fd, len(_LETS_PASS), 0) != _LETS_PASS
            if time.time() - seen.st_mtime > STALLED_S:  # else it may have been made just now
                path.unlink(missing_ok=True)
        finally:
            os.close(fd)
    return False


def _is_held(fd: int) -> bool:
    """Shared, so that two who look do not take each other for the holder."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
