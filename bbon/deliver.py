"""From a desktop to this host: changed files into the run folder, and the winner's to where the user wants them.

Paths and contents come from a guest and may be hostile. Only names that stay below the target folder are written, only
as new regular files, never through a symbolic link and never over another file of the user's.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bbon.changes import inside_home, is_folder, is_noise
from bbon.quoting import one_line
from bbon.types import Delivered
from vm_pool.errors import GuestError
from vm_pool.machine import Machine
from vm_pool.types import FileChange

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_TOTAL_BYTES = 1024 * 1024 * 1024
MAX_FILES = 2_000
_NAME_BYTES = 255
_PATH_BYTES = 2_000
ELSEWHERE = "_outside_home"
"""Folder in `--out` for the winner's files that lie outside the desktop user's home."""


class UnsafePath(ValueError):
    """A path from a guest that must not become a path on this host."""


def safe_parts(path: str) -> tuple[str, ...]:
    """The components of an absolute guest path, fit to be joined below a folder here.

    Raises: `UnsafePath`.
    """
    if not path.startswith("/") or "\0" in path or _bytes(path) > _PATH_BYTES:
        raise UnsafePath(f"{one_line(path)!r} is not a path that can be copied")
    parts = PurePosixPath(path).parts[1:]
    if not parts or any(part in ("", ".", "..") or _bytes(part) > _NAME_BYTES for part in parts):
        raise UnsafePath(f"{one_line(path)!r} does not stay below its folder")
    return parts


def _bytes(name: str) -> int:
    try:
        return len(os.fsencode(name))
    except UnicodeEncodeError as error:
        raise UnsafePath(f"{one_line(name)!r} cannot be a file name here") from error


def wanted(files: Iterable[FileChange]) -> list[FileChange]:
    """The changes that are a result, folders included: not caches and settings that programs write by themselves."""
    return [change for change in files if not is_noise(change.path)][:MAX_FILES]


async def export(
    machine: Machine, files: Iterable[FileChange], folder: Path, *, max_file_bytes: int = MAX_FILE_BYTES
) -> None:
    """Copy a rollout's changed regular files and new folders to `folder`, afresh; what cannot be copied is logged.

    Raises: errors of the machine other than `GuestError`.
    """
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    left = MAX_TOTAL_BYTES
    for change in wanted(files):
        if change.kind == "deleted":
            continue
        try:
            left -= await _fetch(machine, change, folder, limit=min(max_file_bytes, left))
        except (UnsafePath, GuestError, OSError) as error:
            log.warning("%s was not exported: %s", one_line(change.path), error)


async def _fetch(machine: Machine, change: FileChange, folder: Path, *, limit: int) -> int:
    """Copy one file or make one folder; returns the bytes copied."""
    target = folder.joinpath(*safe_parts(change.path))
    if is_folder(change):
        await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
        return 0
    data = await machine.read(change.path, max_bytes=limit)
    await asyncio.to_thread(write_new, target, data)
    return len(data)


def write_new(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a whole regular file that must not be there yet, not through a symbolic link. Raises: `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:  # the disk is full: a part of a file would pass for the file
        target.unlink(missing_ok=True)
        raise


def deliver(files: Iterable[FileChange], exported: Path, out: Path | None) -> tuple[Delivered, ...]:
    """Hand over the winner's changes. Blocks.

    Files of the home directory get the same relative path below `out`, others lie below `out/_outside_home`. A file
    that is there already with other content is kept; the new content then stays in the run folder, which is reported.
    """
    return tuple(_one(change, exported, out) for change in wanted(files))


def shortfall(delivered: Iterable[Delivered]) -> str | None:
    """What is not where it was asked for, in one line; None: all is."""
    noted = [item for item in delivered if item.note]
    if not noted:
        return None
    return f"not delivered: {len(noted)} of the winner's files; {one_line(noted[0].path)}: {noted[0].note}"


def _one(change: FileChange, exported: Path, out: Path | None) -> Delivered:
    if change.kind == "deleted":
        return Delivered(path=change.path, kind=change.kind, host_path=None)
    try:
        source = exported.joinpath(*safe_parts(change.path))
    except UnsafePath:
        return _missing(change, "its name is not safe on this host")
    if not (source.is_dir() if is_folder(change) else source.is_file()):
        return _missing(change, "its content could not be copied from the desktop; run.log says why")
    place, note = (source, "") if out is None else _copy(change, source, out)
    size = 0 if is_folder(change) else source.stat().st_size
    return Delivered(path=change.path, kind=change.kind, host_path=str(place), bytes=size, note=note)


def _missing(change: FileChange, note: str) -> Delivered:
    return Delivered(path=change.path, kind=change.kind, host_path=None, note=note)


def _copy(change: FileChange, source: Path, out: Path) -> tuple[Path, str]:
    """Where the content is now, and why it is not below `out`, if it is not."""
    inside = inside_home(change.path)
    parts = (ELSEWHERE, *safe_parts(change.path)) if inside is None else safe_parts(f"/{inside}")
    target = out.joinpath(*parts)
    if not _stays_below(target.parent, out):
        return source, f"{target} leads out of {out} through a link; the file is only in the run folder"
    try:
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            write_new(target, source.read_bytes(), mode=_host_mode(change))
    except FileExistsError:
        if source.is_file() and _holds(target, source.read_bytes()):
            return target, ""
        return source, f"{target} is there already with other content and was kept; move it and copy this one"
    except OSError as error:
        return source, f"{target} cannot be written: {error.strerror}"
    return target, ""


def _host_mode(change: FileChange) -> int:
    """The desktop's permissions, with which a script stays a program and a secret private, and no others' writing."""
    return 0o644 if change.mode is None else change.mode & 0o755 | 0o600


def _stays_below(folder: Path, out: Path) -> bool:
    try:
        return folder.resolve().is_relative_to(out.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def _holds(target: Path, data: bytes) -> bool:
    return target.is_file() and not target.is_symlink() and target.read_bytes() == data
