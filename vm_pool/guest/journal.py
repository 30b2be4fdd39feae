"""What changed in the user's files: scans, compares with the last scan, and answers with net changes since a cursor.

A scan reads directories only; contents are read when size, time or inode differ from what was seen before.
What programs write for themselves is left out, see `guest.noise`. Directories end in a slash.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from .errors import Refused
from .journal_answer import Change, Entry, answer
from .noise import is_noise

TEXT_LIMIT = 16 * 1024
HASH_LIMIT = 64 * 1024 * 1024
_ALL_TEXT_LIMIT = 16 * 1024 * 1024
"""Bytes of text that are kept in memory so that `text_before` can be told."""
_MAX_FILES = 200_000
_KEPT_STEPS = 50_000


class _Seen(NamedTuple):
    """What tells without reading whether a file is still the same."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    mode: int


class Root(NamedTuple):
    """A watched directory, and the path under which its files are reported."""

    directory: str
    prefix: str

    @classmethod
    def parse(cls, argument: str) -> "Root":
        """`DIR`, or `DIR=PREFIX` where the same files are known under another path."""
        directory, _, prefix = argument.partition("=")
        return cls(directory.rstrip("/") or "/", (prefix or directory).rstrip("/"))


class Step(NamedTuple):
    number: int
    path: str
    before: Entry | None
    after: Entry | None


class Journal:
    """Watches roots since the machine's first start. Cursors belong to one start: those of another are refused.

    `stock` is the file that keeps what there was at the first start, for a machine that is started again from its
    disk; without it, or when it holds nonsense, changes are counted from this start.
    """

    def __init__(self, roots: list[Root], stock: Path | None = None):
        self._roots = roots
        self._stock = stock
        self._epoch = uuid.uuid4().hex[:12]
        self._entries: dict[str, Entry] = {}
        self._seen: dict[str, _Seen] = {}
        self._text_bytes = 0
        self._origin: dict[str, Entry | None] = {}
        """For each path that ever changed: what it was at the start."""
        self._steps: list[Step] = []
        self._number = 0
        self._lock = threading.Lock()
        self._started = threading.Event()

    def start(self) -> None:
        """Take stock, or compare with the stock that was taken at the machine's first start."""
        with self._lock:
            remembered = _read_stock(self._stock)
            self._entries = remembered or {}
            self._scan()
            if remembered is None:
                self._steps.clear()
                self._origin.clear()
                _write_stock(self._stock, self._entries)
        self._started.set()

    @property
    def started(self) -> bool:
        return self._started.is_set()

    def changes(self, since: str | None) -> dict[str, Any]:
        """The fields of `vm_pool.types.FileChanges`, net since a cursor; None: since the start.

        Raises: `Refused` when the cursor is unknown or too old.
        """
        self._started.wait()
        with self._lock:
            first = self._step_of(since)
            self._scan()
            before = dict(self._origin) if since is None else self._before(first)
            changed: list[Change] = [(path, old, self._entries.get(path)) for path, old in sorted(before.items())]
            return answer(f"{self._epoch}:{self._number}", changed)

    def _step_of(self, since: str | None) -> int:
        if since is None:
            return 0
        epoch, _, digits = since.partition(":")
        if epoch != self._epoch or not digits.isdecimal() or int(digits) > self._number:
            raise Refused(f"{since[:80]!r} is no cursor of this server; ask without one", kind="bad_cursor")
        oldest = self._steps[0].number if self._steps else self._number + 1
        if int(digits) + 1 < oldest and int(digits) < self._number:
            raise Refused(f"the cursor {since!r} is too old; ask without one", kind="bad_cursor")
        return int(digits)

    def _before(self, number: int) -> dict[str, Entry | None]:
        """For each path that changed after a step: what it was at that step."""
        before: dict[str, Entry | None] = {}
        for step in self._steps:
            if step.number > number:
                before.setdefault(step.path, step.before)
        return before

    def _scan(self) -> None:
        found: set[str] = set()
        for root in self._roots:
            self._scan_directory(root, found)
        for path in self._entries.keys() - found:
            self._record(path, None)

    def _scan_directory(self, root: Root, found: set[str]) -> None:
        pending = [""]
        while pending and len(found) < _MAX_FILES:
            relative = pending.pop()
            for name, info in _listing(f"{root.directory}/{relative}"):
                below = f"{relative}/{name}" if relative else name
                if is_noise(root.prefix, below):
                    continue
                if stat.S_ISDIR(info.st_mode):
                    if not self._is_other_root(f"{root.directory}/{below}"):
                        pending.append(below)
                        self._see(f"{root.directory}/{below}", f"{root.prefix}/{below}/", info, found)
                elif stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
                    self._see(f"{root.directory}/{below}", f"{root.prefix}/{below}", info, found)

    def _is_other_root(self, directory: str) -> bool:
        return any(directory == root.directory for root in self._roots)

    def _see(self, real: str, path: str, info: os.stat_result, found: set[str]) -> None:
        found.add(path)
        is_directory = stat.S_ISDIR(info.st_mode)
        # The times of a directory say that something in it changed, which is reported for itself.
        times = (0, 0) if is_directory else (info.st_mtime_ns, info.st_ctime_ns)
        seen = _Seen(0 if is_directory else info.st_size, *times, info.st_ino, info.st_mode)
        if self._seen.get(path) == seen:
            return
        self._seen[path] = seen
        entry = self._read(real, info)
        if entry.differs(self._entries.get(path)):
            self._record(path, entry)

    def _read(self, real: str, info: os.stat_result) -> Entry:
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISDIR(info.st_mode):
            return Entry(None, mode, None, None)
        try:
            if stat.S_ISLNK(info.st_mode):
                return Entry(info.st_size, mode, hashlib.sha256(os.fsencode(Path(real).readlink())).hexdigest(), None)
            return self._read_file(real, info.st_size, mode)
        except OSError:
            return Entry(info.st_size, mode, None, None)  # unreadable or gone meanwhile: size and mode are all there is

    def _read_file(self, real: str, size: int, mode: int) -> Entry:
        if size > HASH_LIMIT:
            return Entry(size, mode, None, None)
        data = Path(real).read_bytes()
        text = _text(data) if self._text_bytes < _ALL_TEXT_LIMIT else None
        self._text_bytes += len(data) if text is not None else 0
        return Entry(len(data), mode, hashlib.sha256(data).hexdigest(), text)

    def _record(self, path: str, entry: Entry | None) -> None:
        before = self._entries.get(path)
        self._number += 1
        self._steps.append(Step(self._number, path, before, entry))
        self._origin.setdefault(path, before)
        if entry is None:
            del self._entries[path]
            self._seen.pop(path, None)
        else:
            self._entries[path] = entry
        if len(self._steps) > _KEPT_STEPS:
            del self._steps[: _KEPT_STEPS // 10]


def _read_stock(path: Path | None) -> dict[str, Entry] | None:
    """None when there is none yet, or none that can be used."""
    if path is None or not path.exists():
        return None
    try:
        return {name: Entry(*fields) for name, fields in json.loads(path.read_text("ascii")).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        sys.stderr.write(f"journal: {path} is of no use, changes are counted from now: {error}\n")
        return None


def _write_stock(path: Path | None, entries: dict[str, Entry]) -> None:
    """Whole or not at all; a full disk costs the memory of the first start, not the machine."""
    if path is None:
        return
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(entries), "ascii")
        partial.replace(path)
    except OSError as error:
        sys.stderr.write(f"journal: {path} cannot be written: {error}\n")
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _listing(directory: str) -> list[tuple[str, os.stat_result]]:
    """Names and metadata of a directory's entries, links not followed; what vanishes meanwhile is left out."""
    listing: list[tuple[str, os.stat_result]] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    listing.append((entry.name, entry.stat(follow_symlinks=False)))
                except OSError:
                    continue
    except OSError:
        return listing  # unreadable or gone: there is nothing to report below it
    return listing


def _text(data: bytes) -> str | None:
    if len(data) > TEXT_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
