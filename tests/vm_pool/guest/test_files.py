"""Files of the guest are read within limits, and within its memory."""

import pytest

from vm_pool.guest import files
from vm_pool.guest.errors import Refused
from vm_pool.guest.files import read


def test_a_limit_that_no_memory_has_room_for_costs_nothing(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(data)
    assert read(str(tmp_path / "file"), 1 << 60) == data


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_file_as_large_as_the_limit_is_read_and_a_larger_one_is_not(tmp_path, size):
    (tmp_path / "file").write_bytes(b"x" * size)
    assert len(read(str(tmp_path / "file"), size)) == size
    (tmp_path / "file").write_bytes(b"x" * (size + 1))
    with pytest.raises(Refused, match=f"larger than {size} bytes"):
        read(str(tmp_path / "file"), size)


def test_a_file_that_is_enormous_is_refused_before_any_of_it_is_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(Refused, match=f"larger than {files.MOST_BYTES} bytes"):
        read(str(tmp_path / "sparse"), None)


def test_a_file_that_says_it_is_empty_is_read_all_the_same():
    assert b"Name:" in read("/proc/self/status", None)
    with pytest.raises(Refused, match="larger than 10 bytes"):
        read("/proc/self/status", 10)
