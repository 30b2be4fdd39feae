"""Archives as the kernel unpacks them at its start (`newc`), made without tools and with the same bytes each time.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath

_FOLDER = 0o040755
_FILE = 0o100000
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """A regular file."""

    data: bytes
    mode: int = 0o644
    """Permission bits."""


def archive(files: Mapping[str, Entry]) -> bytes:
    """Files by their path without a leading slash, owned by root; the folders above them are added."""
    numbers = count(1)
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    parts = [_member(folder, _FOLDER, b"", next(numbers)) for folder in sorted(folders)]
    parts += [_member(name, _FILE | files[name].mode, files[name].data, next(numbers)) for name in sorted(files)]
    return b"".join([*parts, _member(_TRAILER, 0, b"", 0)])


def _member(name: str, mode: int, data: bytes, number: int) -> bytes:
    path = name.encode() + b"\0"
    links = 2 if mode == _FOLDER else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(head + path) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
