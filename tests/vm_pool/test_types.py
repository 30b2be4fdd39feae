"""Pictures from guests."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from vm_pool.types import Frame


def png_that_claims(width: int, height: int) -> bytes:
    """A hundred bytes: the header of a picture of that size and no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_a_picture_file_becomes_a_frame(format_name):
    buffer = io.BytesIO()
    Image.new("RGBA", (30, 20), (1, 2, 3, 255)).save(buffer, format_name, lossless=True)
    frame = Frame.from_image_file(buffer.getvalue(), taken_at=1.0)
    assert (frame.width, frame.height) == (30, 20)
    assert (frame.pixels == np.array([1, 2, 3])).all()


@pytest.mark.parametrize("side", [9_000, 20_000, 100_000])
def test_a_small_file_with_an_enormous_picture_is_refused(side):
    with pytest.raises(ValueError, match=r"larger than any screen|exceeds limit"):
        Frame.from_image_file(png_that_claims(side, side), taken_at=1.0)


def test_what_is_no_picture_is_refused():
    with pytest.raises(UnidentifiedImageError):
        Frame.from_image_file(b"GIF89a", taken_at=1.0)
