"""Copies that share blocks, where the file system has them."""

import os
from pathlib import Path

import pytest

from vm_pool.reflink import clone, copy_data, shared_bytes


def test_a_clone_is_equal_and_as_private_or_it_is_said_that_there_is_none(tmp_path):
    source, target = tmp_path / "disk", tmp_path / "copy"
    source.write_bytes(os.urandom(1 << 20))
    source.chmod(0o600)
    if clone(source, target):
        assert target.read_bytes() == source.read_bytes()
        assert shared_bytes(target) == 1 << 20
    else:
        assert target.read_bytes() == b""
    assert target.stat().st_mode & 0o777 == 0o600


def test_on_a_file_system_without_shared_blocks_there_is_no_clone(tmp_path):
    memory = Path("/dev/shm")
    source, target = tmp_path / "disk", memory / f"clone-{os.getpid()}"
    source.write_bytes(b"x" * 4096)
    try:
        assert not clone(source, target)
    finally:
        target.unlink()


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        clone(tmp_path / "source", tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_copy_has_the_bytes_and_the_holes(tmp_path):
    source, target = tmp_path / "disk", tmp_path / "copy"
    with source.open("wb") as file:
        for place in (0, 3 << 20, 9 << 20):
            file.seek(place)
            file.write(os.urandom(70_000))
        file.truncate(20 << 20)
    target.write_bytes(b"of old")
    copy_data(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks < (1 << 20) // 512


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_small_files_are_copied_as_well(tmp_path, size):
    source, target = tmp_path / "disk", tmp_path / "copy"
    source.write_bytes(os.urandom(size))
    target.touch()
    copy_data(source, target)
    assert target.read_bytes() == source.read_bytes()
