"""Files that share their blocks on disk, as copies do on file systems with reflinks."""

import errno
import fcntl
import os
import struct
from pathlib import Path

_FIEMAP, _SYNC, _LAST, _SHARED = 0xC020660B, 0x1, 0x1, 0x2000
"""`FS_IOC_FIEMAP`, `FIEMAP_FLAG_SYNC`, `FIEMAP_EXTENT_LAST` and `FIEMAP_EXTENT_SHARED`. Source: linux/fiemap.h."""
_HEAD, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_CLONE = 0x40049409
"""`FICLONE`. Source: linux/fs.h."""
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
