"""Trees on disk: measured, copied and deleted, also when a machine left odd modes, whiteouts or sockets in them."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SPECIAL_LEFTOVERS = ("SingletonLock", "SingletonCookie", "SingletonSocket")
"""Links by which Chromium knows a running browser; in a fork they name a process that is not there."""


def tree_bytes(root: Path) -> int:
    """Bytes that a tree takes on disk, hard links counted once; what cannot be read counts nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, files in os.walk(root):
        for name in files:
            facts = os.lstat(os.path.join(directory, name))  # noqa: PTH118  # a hundred thousand Paths are slow
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_blocks * 512
    return total


def delete_tree(folder: Path) -> None:
    """Delete a tree by way of a hidden name, so that a half-deleted one is never taken for whole; idempotent."""
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.deleting")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    if os.geteuid() != 0:
        _open_up(doomed)
    shutil.rmtree(doomed)


def copy_tree(source: Path, target: Path) -> None:
    """Copy with owners, modes, extended attributes and whiteouts; shares blocks where the file system can.

    Raises: `OSError` when anything but a file that vanished meanwhile could not be copied.
    """
    command = ["cp", "--archive", "--reflink=auto", "--no-target-directory", "--", str(source), str(target)]
    process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    trouble = [line for line in process.stderr.splitlines() if "No such file or directory" not in line]
    if process.returncode != 0 and trouble:
        raise OSError(f"copying {source} failed: {trouble[0]}")


def drop_live_traces(upper: Path) -> None:
    """Remove from a copied machine disk what only running programs need: sockets, display and browser locks."""
    for path in _below(upper):
        facts = path.lstat()
        display_lock = path.name.startswith(".X") and path.name.endswith("-lock") and path.parent == upper / "tmp"
        if stat.S_ISSOCK(facts.st_mode) or display_lock or path.name in _SPECIAL_LEFTOVERS:
            path.unlink()


def _below(root: Path) -> Iterator[Path]:
    for directory, _, files in os.walk(root):
        yield from (Path(directory, name) for name in files)


def _open_up(folder: Path) -> None:
    """Give ourselves the run of directories whose modes lock even their owner out (overlay's `work/work` is 000)."""
    folder.chmod(0o700)
    for directory, subdirectories, _ in os.walk(folder):
        for name in subdirectories:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o700)
