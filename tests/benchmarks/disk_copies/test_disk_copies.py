"""Copies of disks share blocks where the file system can, and are copies all the same."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from benchmarks.disk_copies import measure
from vm_pool.local_state import Places, make_folder_for_machine
from vm_pool.providers.sandbox_disk import copies_share_blocks, copy_upper
from vm_pool.reflink import shared_bytes

pytestmark = pytest.mark.desktop

IMAGE_BYTES, FILE_BYTES = 512 * 2**20, 64 * 2**20


@pytest.fixture(scope="module")
def xfs() -> Generator[Places]:
    """A file system with reflinks, in a file."""
    if shutil.which("mkfs.xfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        pytest.skip("there is no mkfs.xfs; run: sudo apt-get install -y xfsprogs")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as name:
        image, mounted = Path(name) / "image", Path(name) / "xfs"
        mounted.mkdir()
        Path(name).chmod(0o711)
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"XFS cannot be mounted here: {done.stderr.strip()}; run the tests as root, outside containers")
        try:
            yield in_folder(mounted)
        finally:
            subprocess.run(["umount", str(mounted)], check=True)


def in_folder(folder: Path) -> Places:
    folder.chmod(0o711)
    places = Places(folder / "state", Path("/dev/shm") / f"agent-s3-test-{folder.parent.name}-{folder.name}")
    places.make()
    places.runtime.rmdir()
    return places


def disk(places: Places, name: str) -> Path:
    upper = places.machines / name
    make_folder_for_machine(upper, 0o755)
    (upper / "file").write_bytes(os.urandom(FILE_BYTES))
    (upper / "file").chmod(0o644)
    return upper


def used(places: Places) -> int:
    os.sync()
    return shutil.disk_usage(places.machines).used


def test_a_copy_on_a_file_system_with_reflinks_takes_no_room_and_is_a_copy(xfs):
    upper, copy = disk(xfs, "one"), xfs.machines / "two"
    before = used(xfs)
    copy_upper(upper, copy)
    assert used(xfs) - before < FILE_BYTES // 16
    assert shared_bytes(copy / "file") == FILE_BYTES
    with (copy / "file").open("r+b") as file:
        file.write(b"changed")
    assert (copy / "file").read_bytes()[:7] == b"changed" != (upper / "file").read_bytes()[:7]
    assert (copy / "file").read_bytes()[7:] == (upper / "file").read_bytes()[7:]


def test_blocks_are_copied_when_that_is_asked_for(xfs):
    upper, copy = disk(xfs, "three"), xfs.machines / "four"
    before = used(xfs)
    copy_upper(upper, copy, blocks="own")
    assert used(xfs) - before >= FILE_BYTES
    assert shared_bytes(copy / "file") == 0


def test_it_is_tried_out_whether_copies_share_blocks(xfs):
    assert copies_share_blocks(xfs)


def test_where_there_are_no_reflinks_files_are_copied():
    """A tmpfs has none, and does not say where its blocks lie either."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-s3-test-") as name:
        places = in_folder(Path(name))
        assert not copies_share_blocks(places)
        upper, copy = disk(places, "one"), places.machines / "two"
        copy_upper(upper, copy)
        assert (copy / "file").read_bytes() == (upper / "file").read_bytes()


def test_the_benchmark_compares_copies_with_and_without_shared_blocks(xfs):
    report = measure(xfs, mib=32, copies=2)
    assert report["shares_blocks"]
    assert report["provider"].startswith("xfs at ")
    assert set(report["metrics"]) == {"disk_copy_ms", "disk_copy_without_reflinks_ms"}
    assert report["ratios"]["without_reflinks_over_with"] > 0
    assert {path.name for path in xfs.machines.iterdir() if path.name.startswith("bench")} == set()
