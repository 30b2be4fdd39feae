"""Measures copies of a desktop's disk, made as snapshots and forks make them, and as they would be without reflinks."""

import os
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pool_speed.samples import summarise
from vm_pool.disk import delete_tree
from vm_pool.local_state import Places, make_folder_for_machine
from vm_pool.providers.sandbox_disk import Blocks, copy_upper
from vm_pool.reflink import shared_bytes

_NAME = "file"


def measure(
    places: Places, *, mib: int = 256, copies: int = 5, on_note: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """`{"provider", "image", "metrics", "ratios", "shares_blocks"}` for a disk of one file of `mib` MiB. Blocks.

    Times in ms until the copy is on the disk. Ratios are of the same run. Raises: `OSError`, `HostUnfit`.
    """
    places.make()
    with _disk_of(places, mib) as upper:
        on_note(f"copying {mib} MiB {copies} times with shared blocks, and without")
        shared = [_copied(upper, "shared") for _ in range(copies)]
        whole = [_copied(upper, "own") for _ in range(copies)]
    times = {"disk_copy_ms": [ms for ms, _ in shared], "disk_copy_without_reflinks_ms": [ms for ms, _ in whole]}
    metrics = {name: summarise(values) for name, values in times.items()}
    slower = metrics["disk_copy_without_reflinks_ms"]["p50"] / metrics["disk_copy_ms"]["p50"]
    return {
        "provider": f"{_file_system(places.machines)} at {places.machines}",
        "image": f"a disk of {mib} MiB",
        "metrics": metrics,
        "ratios": {"without_reflinks_over_with": slower},
        "shares_blocks": all(there for _, there in shared),
    }


@contextmanager
def _disk_of(places: Places, mib: int) -> Generator[Path]:
    with tempfile.TemporaryDirectory(dir=places.machines, prefix="bench-disk-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        make_folder_for_machine(folder / "upper", 0o755)
        (folder / "upper" / _NAME).write_bytes(os.urandom(mib * 2**20))
        (folder / "upper" / _NAME).chmod(0o644)
        os.sync()
        yield folder / "upper"


def _copied(upper: Path, blocks: Blocks) -> tuple[float, bool]:
    """How long a copy takes in ms, until it is on the disk; and whether it shares blocks with the original."""
    target = upper.with_name("copy")
    begin = time.perf_counter()
    copy_upper(upper, target, blocks=blocks)
    with (target / _NAME).open("rb") as file:
        os.fsync(file.fileno())
    took = (time.perf_counter() - begin) * 1000
    shares = shared_bytes(target / _NAME) > 0
    delete_tree(target)
    return took, shares


def _file_system(folder: Path) -> str:
    """The kind of file system that holds a folder, by the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(words[1]), words[2]) for words in mounts if folder.is_relative_to(words[1])]
    return max(above)[1]
