"""A framebuffer file belongs to the guest, and nothing in it is believed."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.framebuffer import BadFramebuffer, Framebuffer, pixel_offset, rgb_of_bgrx

WIDTH, HEIGHT = 8, 4


def header(**changes: int) -> bytes:
    fields = {"size": 160, "version": 7, "format": 2, "depth": 24, "width": WIDTH, "height": HEIGHT, "offset": 0}
    fields |= {"order": 0, "unit": 32, "bits": 0, "pad": 32, "bpp": 32, "stride": 4 * WIDTH, "class": 4, "r": 0}
    fields |= {"g": 0, "b": 0, "rgb": 8, "entries": 256, "colours": 256, "w": 0, "h": 0, "x": 0, "y": 0, "border": 0}
    return struct.pack(">25I", *{**fields, **changes}.values())


def write(path: Path, head: bytes, pixels: np.ndarray) -> None:
    path.write_bytes(head + b"\0" * (3232 - len(head)) + pixels.tobytes())


@pytest.fixture
def pixels() -> np.ndarray:
    return np.arange(HEIGHT * WIDTH * 4, dtype=np.uint8).reshape(HEIGHT, WIDTH, 4)


def test_a_frame_is_the_pixels_as_rgb(tmp_path, pixels):
    path = tmp_path / "fb"
    write(path, header(), pixels)
    framebuffer = Framebuffer(path, WIDTH, HEIGHT)
    assert np.array_equal(framebuffer.grab(), pixels[:, :, 2::-1])
    framebuffer.close()
    framebuffer.close()


def test_a_picture_may_begin_anywhere_in_a_file(tmp_path, pixels):
    path = tmp_path / "fb"
    write(path, header(), pixels)
    path.write_bytes(b"\xff" * 4096 + path.read_bytes())
    framebuffer = Framebuffer(path, WIDTH, HEIGHT, start=4096)
    assert np.array_equal(framebuffer.grab(), pixels[:, :, 2::-1])
    framebuffer.close()


@pytest.mark.parametrize(
    "changes",
    [{"width": 9}, {"height": 2**31}, {"stride": 4}, {"bpp": 16}, {"order": 1}, {"version": 6}, {"colours": 2**31}],
)
def test_a_header_that_says_anything_unexpected_is_refused(changes):
    with pytest.raises(BadFramebuffer):
        pixel_offset(header(**changes), WIDTH, HEIGHT)


@given(st.binary(max_size=200))
def test_any_header_is_accepted_or_refused(data):
    with suppress(BadFramebuffer):
        assert 0 <= pixel_offset(data, WIDTH, HEIGHT) <= 65536


def test_a_file_that_is_cut_short_while_we_look_is_refused(tmp_path, pixels):
    path = tmp_path / "fb"
    write(path, header(), pixels)
    framebuffer = Framebuffer(path, WIDTH, HEIGHT)
    os.truncate(path, 3300)
    with pytest.raises(BadFramebuffer, match="cut short"):
        framebuffer.grab()
    os.truncate(path, 0)
    with pytest.raises(BadFramebuffer, match="no header"):
        framebuffer.grab()
    framebuffer.close()


def test_links_and_pipes_are_not_followed(tmp_path, pixels):
    write(tmp_path / "fb", header(), pixels)
    (tmp_path / "link").symlink_to(tmp_path / "fb")
    with pytest.raises(OSError, match="symbolic links"):
        Framebuffer(tmp_path / "link", WIDTH, HEIGHT)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadFramebuffer, match="no regular file"):
        Framebuffer(tmp_path / "pipe", WIDTH, HEIGHT)


def test_rgb_is_contiguous():
    rgb = rgb_of_bgrx(np.zeros((2, 3, 4), np.uint8))
    assert rgb.flags.c_contiguous
    assert rgb.shape == (2, 3, 3)
