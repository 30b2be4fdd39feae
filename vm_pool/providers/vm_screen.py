"""The screen of a virtual machine as a file that this host can read while the machine draws on it.

The guest's X server keeps its picture in a file. Here that file lies on a small ext4 in memory which guest and host
share, mounted without a cache in between (DAX), in blocks that follow each other. So a frame costs a read of a file,
whatever the guest is busy with. The guest may write anything there: it is read within bounds, and checked as a picture.
"""

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from vm_pool.errors import HostUnfit
from vm_pool.framebuffer import FRAMEBUFFER_NAME
from vm_pool.types import Frozen

_BLOCK = 4096
_HEADER_ROOM = 2 * _BLOCK
"""For the header of the picture and its colour map, which take 3232 bytes."""
_FILE_SYSTEM_ROOM = 1 << 20
_ALIGNMENT = 2 << 20
"""Of shared memory in the guest. Source: the kernel's Documentation/mm/memory-model.rst, "ZONE_DEVICE"."""
_NOTE = struct.Struct("<8sQ")
"""In the first kilobyte, which ext4 leaves to boot loaders: a mark, and where the picture begins."""
_MARK = b"agent-s3"
_FILLED = b"\xff" * _BLOCK
# What would put something between the blocks of a file is switched off, and the guest's user owns the folder.
_MKFS = ["-q", "-F", "-b", str(_BLOCK), "-O", "none,extent", "-I", "256", "-N", "16", "-m", "0"]
_OWNED_BY_USER = ["-E", "root_owner=1000:1000"]


class SharedScreen(Frozen):
    """Memory of a machine that its host sees too."""

    file: Path
    size: int
    """Bytes."""


def shared_screen(file: Path, width: int, height: int) -> SharedScreen:
    """What a machine with a screen of so many pixels has."""
    size = _picture_bytes(width, height) + _FILE_SYSTEM_ROOM
    return SharedScreen(file=file, size=-(-size // _ALIGNMENT) * _ALIGNMENT)


def make(screen: SharedScreen, width: int, height: int) -> None:
    """Write it for a machine that boots. Raises: `HostUnfit` without mkfs.ext4, `OSError`."""
    make_blank(screen)
    with tempfile.TemporaryDirectory(dir=screen.file.parent) as folder:
        picture = Path(folder, FRAMEBUFFER_NAME)
        picture.write_bytes(_FILLED * (_picture_bytes(width, height) // _BLOCK))
        picture.chmod(0o666)  # in the guest the folder around it is its user's alone
        _make_file_system(screen.file, Path(folder))
    start = _start_of_filled(screen.file.read_bytes(), _picture_bytes(width, height))
    with screen.file.open("r+b") as file:
        file.write(_NOTE.pack(_MARK, start))


def make_blank(screen: SharedScreen) -> None:
    """An empty file of that size, for a machine that gets its memory from elsewhere."""
    with screen.file.open("wb") as file:
        screen.file.chmod(0o600)
        file.truncate(screen.size)


def picture_start(file: Path) -> int:
    """Where the picture begins, in bytes; 0, where none can be, when the guest has overwritten the note of it."""
    with file.open("rb") as opened:
        note = opened.read(_NOTE.size)
        mark, start = _NOTE.unpack(note) if len(note) == _NOTE.size else (b"", 0)
        return start if mark == _MARK and start < os.fstat(opened.fileno()).st_size else 0


def _picture_bytes(width: int, height: int) -> int:
    """Whole blocks."""
    return -(-(width * height * 4 + _HEADER_ROOM) // _BLOCK) * _BLOCK


def _make_file_system(file: Path, content: Path) -> None:
    mkfs = shutil.which("mkfs.ext4") or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")
    if mkfs is None:
        raise HostUnfit("mkfs.ext4 is missing; run: sudo apt-get install -y e2fsprogs")
    command = [mkfs, *_MKFS, *_OWNED_BY_USER, "-d", str(content), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"mkfs.ext4 failed: {done.stderr.strip().splitlines()[-1:]}")


def _start_of_filled(data: bytes, length: int) -> int:
    """Raises: `OSError` when the file's blocks do not follow each other."""
    start = data.find(_FILLED)
    if start < 0 or start % _BLOCK or data.count(_FILLED, start, start + length) * _BLOCK != length:
        raise OSError("mkfs.ext4 did not put the picture into one piece")
    return start
