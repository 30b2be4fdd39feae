"""Files that a guest owns are read without trust, and ours are written whole."""

import os
import stat
from pathlib import Path

import pytest

from vm_pool.host_files import end_of, replace_text, start_of


def test_of_a_long_file_its_start_and_its_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first" + bytes(1 << 20) + b"last")
    assert (start_of(path, 5), end_of(path, 4)) == (b"first", b"last")
    assert end_of(path, 1 << 30) == path.read_bytes()


def test_a_link_leads_nowhere_and_a_folder_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of this host")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    before = open_descriptors()
    for name in ("link", "folder", "missing"):
        assert (start_of(tmp_path / name, 9), end_of(tmp_path / name, 9)) == (b"", b"")
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("somebody_writes", [False, True])
def test_a_pipe_keeps_nobody_waiting(tmp_path: Path, somebody_writes: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK) if somebody_writes else -1
    try:
        assert (start_of(path, 9), end_of(path, 9)) == (b"", b"")
    finally:
        os.close(reader)
        if somebody_writes:
            os.close(writer)


def test_a_file_is_put_in_place_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
