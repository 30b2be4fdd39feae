"""The picture on the screen, read from Xvfb's framebuffer file.

The file is an XWD picture: a header of big-endian 32-bit words, a colour map, then rows of BGRX pixels. It is the
server's own memory, so that reading it costs a copy and nothing else; the pointer is drawn in it.
Source: X11 `XWDFile.h`.
"""

import io
import mmap
import struct
from pathlib import Path
from typing import NamedTuple

FRAMEBUFFER_NAME = "Xvfb_screen0"
_HEADER_WORDS = 25
_COLOUR_BYTES = 12


class Layout(NamedTuple):
    """Where the pixels lie in the file, in bytes, and the size of the screen in pixels."""

    offset: int
    stride: int
    width: int
    height: int


def read_layout(header: bytes) -> Layout:
    """Raises: `ValueError` when this is not a 32-bit little-endian XWD picture."""
    if len(header) < 4 * _HEADER_WORDS:
        raise ValueError("framebuffer header is cut short")
    words = struct.unpack(f">{_HEADER_WORDS}I", header[: 4 * _HEADER_WORDS])
    size, version, pixmap_format = words[:3]
    width, height, byte_order = words[4], words[5], words[7]
    bits_per_pixel, stride, colours = words[11], words[12], words[19]
    if (version, pixmap_format, byte_order, bits_per_pixel) != (7, 2, 0, 32):
        raise ValueError("framebuffer is not a 32-bit little-endian XWD picture")
    return Layout(size + colours * _COLOUR_BYTES, stride, width, height)


class Screen:
    """The framebuffer of the running X server. Raises on making: `OSError`, `ValueError`."""

    def __init__(self, frames: Path):
        with (frames / FRAMEBUFFER_NAME).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.layout = read_layout(self._map[: 4 * _HEADER_WORDS])
        self.width, self.height = self.layout.width, self.layout.height
        if self.layout.stride != 4 * self.width:
            raise ValueError("framebuffer rows are padded, which this server does not expect")

    def rows(self, first: int, count: int) -> bytes:
        """BGRX pixels of some rows, copied."""
        start = self.layout.offset + first * self.layout.stride
        return self._map[start : start + count * self.layout.stride]

    def bgrx(self) -> bytes:
        """BGRX pixels of the whole screen, copied."""
        return self.rows(0, self.height)

    def is_black(self) -> bool:
        """Whether nothing has been drawn yet, as far as the middle row tells."""
        row = self.rows(self.height // 2, 1)
        return not any(row[channel::4].strip(b"\0") for channel in range(3))

    def png(self) -> bytes:
        from PIL import Image  # costs 40 ms and 8 MB, and only OSWorld's own client asks for PNG

        picture = Image.frombuffer("RGB", (self.width, self.height), self.bgrx(), "raw", "BGRX", 0, 1)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
