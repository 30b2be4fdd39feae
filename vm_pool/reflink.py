"""Copies of files: with shared blocks where the file system has reflinks, else of the bytes and not of the holes."""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_FIEMAP, _SYNC, _LAST, _SHARED = 0xC020660B, 0x1, 0x1, 0x2000
"""`FS_IOC_FIEMAP`, `FIEMAP_FLAG_SYNC`, `FIEMAP_EXTENT_LAST` and `FIEMAP_EXTENT_SHARED`. Source: linux/fiemap.h."""
_HEAD, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_CLONE = 0x40049409
"""`FICLONE`. Source: linux/fs.h."""
_PIECE = 1 << 20
_AT_ONCE = 128
_WHOLE = 2**64 - 1
_NOT_HERE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}


def clone(source: Path, target: Path) -> bool:
    """Copy a file by sharing its blocks; False, with an empty target, where the file system cannot.

    Raises: `OSError` when one of them cannot be opened.
    """
    with source.open("rb") as original:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(target, flags, os.fstat(original.fileno()).st_mode & 0o777)
        try:
            fcntl.ioctl(fd, _CLONE, original.fileno())
        except OSError as error:
            if error.errno not in {*_NOT_HERE, errno.EXDEV}:
                raise
            return False
        finally:
            os.close(fd)
    return True


def copy_data(source: Path, target: Path) -> None:
    """Copy a file's bytes and leave its holes. Raises: `OSError`."""
    with source.open("rb") as original, target.open("r+b") as copied:
        read, written, size = original.fileno(), copied.fileno(), os.fstat(original.fileno()).st_size
        os.ftruncate(written, 0)
        os.ftruncate(written, size)
        for start, end in _pieces(read, size):
            while start < end:
                start += _copy_piece(read, written, start, end - start)


def _pieces(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where there is data: from, and up to."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_piece(read: int, written: int, start: int, length: int) -> int:
    """Returns how many bytes were copied, at least one. Raises: `OSError`, also when the file became shorter."""
    copied = os.pwrite(written, os.pread(read, min(length, _PIECE), start), start)
    if copied == 0:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    return copied


def shared_bytes(path: Path) -> int:
    """Bytes of a regular file that lie in blocks which other files have too; 0 where the file system cannot say.

    Raises: `OSError` when the file cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _shared(fd)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return 0
    finally:
        os.close(fd)


def _shared(fd: int) -> int:
    shared, start = 0, 0
    while True:
        asked = bytearray(_HEAD.pack(start, _WHOLE - start, _SYNC, 0, _AT_ONCE, 0) + bytes(_AT_ONCE * _EXTENT.size))
        fcntl.ioctl(fd, _FIEMAP, asked)
        count = _HEAD.unpack_from(asked)[3]
        for number in range(count):
            logical, _, length, _, _, flags, *_ = _EXTENT.unpack_from(asked, _HEAD.size + number * _EXTENT.size)
            shared += length if flags & _SHARED else 0
            if flags & _LAST:
                return shared
            start = logical + length
        if count == 0:
            return shared
