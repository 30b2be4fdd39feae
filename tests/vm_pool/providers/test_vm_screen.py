"""The memory that a virtual machine shares with its host: a file system with the picture's file in one piece."""

import struct
import subprocess

import pytest

from vm_pool.framebuffer import FRAMEBUFFER_NAME, BadFramebuffer, Framebuffer
from vm_pool.providers import vm_screen

SIZES = [(640, 480), (1920, 1080), (3840, 2160)]


def made(folder, width, height):
    screen = vm_screen.shared_screen(folder / "screen", width, height)
    vm_screen.make(screen, width, height)
    return screen


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_lies_in_one_piece_where_the_note_says(tmp_path, width, height):
    screen = made(tmp_path, width, height)
    data, start = screen.file.read_bytes(), vm_screen.picture_start(screen.file)
    picture = data[start : start + width * height * 4 + 4096]
    assert len(data) == screen.size
    assert set(picture) == {0xFF}
    assert _content(screen.file, FRAMEBUFFER_NAME).startswith(picture)


def _content(file, name):
    """As the file system's own tool reads it."""
    command = ["/usr/sbin/debugfs", "-R", f"cat {name}", str(file)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_the_guests_kernel_can_map_it_and_nobody_else_may_read_it(tmp_path):
    screen = made(tmp_path, 1366, 768)
    assert screen.size % (2 << 20) == 0
    assert screen.file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["screen"]


@pytest.mark.parametrize(
    "note",
    [b"", b"agent-s3", b"nonsense" + bytes(8), struct.pack("<8sQ", b"agent-s3", 2**64 - 1)],
)
def test_a_note_that_the_guest_has_overwritten_leads_nowhere(tmp_path, note):
    file = tmp_path / "screen"
    file.write_bytes(note)
    assert vm_screen.picture_start(file) == 0
    framebuffer = Framebuffer(file, 8, 4, start=vm_screen.picture_start(file))
    with pytest.raises(BadFramebuffer):
        framebuffer.grab()
    framebuffer.close()


def test_an_empty_one_has_the_same_size_and_no_picture(tmp_path):
    screen = made(tmp_path, 800, 600)
    size = screen.file.stat().st_size
    vm_screen.make_blank(screen)
    assert screen.file.stat().st_size == size == screen.size
    assert vm_screen.picture_start(screen.file) == 0
