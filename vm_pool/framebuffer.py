"""Reads a guest's framebuffer file on the host. The guest can write that file, so nothing in it is believed.

It is read with `pread` and never mapped: a guest that cuts its file short would kill a process that maps it (SIGBUS).
Source of the header: X11 `XWDFile.h`.
"""

import os
import stat
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FRAMEBUFFER_NAME = "Xvfb_screen0"
"""Name that Xvfb gives the file in its `-fbdir` directory."""
_HEADER = struct.Struct(">25I")
_LARGEST_OFFSET = 65536


class BadFramebuffer(ValueError):
    """The file is not the picture of a screen of the expected size."""


class Framebuffer:
    """An open framebuffer file of a screen of known size in pixels, whose picture begins at the byte `start`.

    Raises on making: `OSError`; `BadFramebuffer` when it is no regular file.
    """

    def __init__(self, path: Path, width: int, height: int, *, start: int = 0):
        self._width, self._height, self._start = width, height, start
        # The guest owns the directory: it may have put a symbolic link or a FIFO there.
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise BadFramebuffer(f"{path} is no regular file")

    def grab(self) -> NDArray[np.uint8]:
        """The screen now as height x width x 3 RGB. Raises: `OSError`, `BadFramebuffer`."""
        offset = pixel_offset(os.pread(self._fd, _HEADER.size, self._start), self._width, self._height)
        bgrx = np.empty((self._height, self._width, 4), np.uint8)
        if os.preadv(self._fd, [bgrx.data], self._start + offset) != bgrx.nbytes:
            raise BadFramebuffer("the framebuffer is cut short")
        return rgb_of_bgrx(bgrx)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def pixel_offset(header: bytes, width: int, height: int) -> int:
    """Where the BGRX rows begin, in bytes. Raises: `BadFramebuffer` when the header says anything unexpected."""
    if len(header) < _HEADER.size:
        raise BadFramebuffer("the framebuffer has no header")
    words = _HEADER.unpack(header[: _HEADER.size])
    found = (words[1], words[2], words[4], words[5], words[7], words[11], words[12])
    if found != (7, 2, width, height, 0, 32, 4 * width):
        raise BadFramebuffer(f"the framebuffer is not a {width}x{height} picture with 32 bits a pixel")
    offset = words[0] + 12 * words[19]
    if offset > _LARGEST_OFFSET:
        raise BadFramebuffer("the framebuffer header is too long")
    return offset


def rgb_of_bgrx(bgrx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contiguous RGB; channel by channel, which is seven times faster than a reversed slice."""
    rgb = np.empty((*bgrx.shape[:2], 3), np.uint8)
    for channel in range(3):
        rgb[..., channel] = bgrx[..., 2 - channel]
    return rgb
