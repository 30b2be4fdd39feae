"""Files of the machine, read and written whole."""

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

from .errors import Refused, not_found

TEMPORARY_PREFIX = ".agent-s3-"
"""Names of files that are being written; the journal does not report them."""
MOST_BYTES = 1 << 30
"""Of one file, when nobody says otherwise: its content is in memory before it is sent."""
_PIECE = 1 << 20


def absolute(path: str, home: str) -> str:
    """`~`, `~/x` and relative paths as absolute ones, relative to the home directory. Raises: `Refused`."""
    if not path or "\0" in path:
        raise Refused("a path must be given, without NUL characters")
    if path == "~" or path.startswith("~/"):
        path = home + path[1:]
    return str(Path(home) / path)


def read(path: str, max_bytes: int | None) -> bytes:
    """Content of a regular file. Raises: `Refused`, also when it is larger than `max_bytes` (None: `MOST_BYTES`)."""
    limit = MOST_BYTES if max_bytes is None else max_bytes
    try:
        # Without O_NONBLOCK opening a FIFO would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_found(f"no file {path!r}") from error
    except OSError as error:
        raise Refused(f"cannot read {path!r}: {error.strerror}") from error
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise Refused(f"cannot read {path!r}: not a regular file")
    with os.fdopen(fd, "rb") as file:
        # Files of /proc say that they are empty, and others may grow meanwhile: so what comes is counted as well.
        data = b"" if info.st_size > limit else _up_to(file, limit + 1)
    if max(info.st_size, len(data)) > limit:
        raise Refused(f"{path!r} is larger than {limit} bytes", status=413, kind="too_large")
    return data


def _up_to(file: BinaryIO, most: int) -> bytes:
    """In pieces: asked for a gigabyte at once, a file object takes memory for all of it first."""
    data = bytearray()
    while len(data) < most and (piece := file.read(min(_PIECE, most - len(data)))):
        data += piece
    return bytes(data)


def write(path: str, data: bytes, mode: int) -> None:
    """Create or replace a file in one step, making parent directories. Raises: `Refused`."""
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise Refused(f"cannot write {path!r}: it is a directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, data, mode)
    except OSError as error:
        raise Refused(f"cannot write {path!r}: {error.strerror}") from error


def _replace(target: Path, data: bytes, mode: int) -> None:
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{time.monotonic_ns()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
