"""Files of this host as machines and crashes leave them: read without trust, written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO


def open_untrusted(path: Path) -> IO[bytes]:
    """A file in a folder that a guest, or another user, owns: it is no link, and a pipe there keeps nobody waiting.

    Raises: `OSError`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.fdopen(fd, "rb")
    except OSError:  # a folder
        os.close(fd)
        raise


def start_of(path: Path, most: int) -> bytes:
    """The first bytes of such a file, which may be of any size; none when it cannot be read."""
    with contextlib.suppress(OSError), open_untrusted(path) as file:
        return file.read(most) or b""  # None: a pipe, with nothing in it so far
    return b""


def end_of(path: Path, most: int) -> bytes:
    """The last bytes of such a file; none when it cannot be read."""
    with contextlib.suppress(OSError), open_untrusted(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)
    return b""


def replace_text(path: Path, text: str) -> None:
    """Put a file in place whole, for this user alone to read. Its name begins with a dot while it is written.

    Raises: `OSError`.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
