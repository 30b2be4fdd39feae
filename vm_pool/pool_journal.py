"""What happened to which machine when, on disk: one JSON object a line, appended by all pools of this user on a host.

A line is written by one call in append mode, so that processes do not mix theirs and a kill leaves whole lines. There
is no lock that a hung process could hold. A full disk loses lines and nothing else.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from vm_pool.boot_report import BootReport
from vm_pool.local_state import pool_folder
from vm_pool.types import Frozen

log = logging.getLogger(__name__)
LIMIT_BYTES = 8 << 20
"""A journal that is longer becomes the older one of two, in place of the one before."""
_REASON_LIMIT = 2000

What = Literal[
    "asked",  # a lease was asked for
    "admitted",  # it had its turn at the gate; ms: how long it waited
    "ready",  # its machine takes input; ms: how long it took to start
    "failed",  # a start did not end in a machine; with a report where there is one
    "refused",  # the lease was not given
    "lent",  # somebody has it
    "spare",  # a machine waits to be lent
    "lost",  # it was found to be gone
    "replaced",  # another was lent in its place
    "expired",  # its time was over and its pool stopped it
    "taken",  # its holder did not renew its lease and `pool gc` took it
    "stopped",
    "collected",  # by `pool gc`
]


class Event(Frozen):
    """One line."""

    schema_version: Literal[1] = 1
    at: datetime
    what: What
    provider: str
    request: str = ""
    """What belongs to one lease, also before it has a machine; "" when there was none."""
    machine: str | None = None
    """None: not started yet. Of collected snapshots and builds their id."""
    source: str = ""
    """The image or the snapshot that it was started from."""
    pid: int = Field(default_factory=os.getpid)
    """Of the process that says so."""
    labels: Mapping[str, str] = {}
    ms: float | None = None
    """How long it took, in milliseconds."""
    reason: str | None = None
    report: BootReport | None = None


class PoolJournal:
    """`path` None is in the state folder of this user. Writing never raises and never waits."""

    def __init__(self, path: Path | None = None, *, limit_bytes: int = LIMIT_BYTES):
        self.path = path or pool_folder() / "journal.jsonl"
        self._limit = limit_bytes
        self._mute = False

    @property
    def older(self) -> Path:
        return self.path.with_suffix(".1.jsonl")

    def add(self, event: Event) -> None:
        """Append; what cannot be written is said once in the log and lost."""
        if event.reason and len(event.reason) > _REASON_LIMIT:
            event = event.model_copy(update={"reason": event.reason[:_REASON_LIMIT] + "..."})
        line = event.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if not self._mute:
                log.warning("the journal %s cannot be written: %s", self.path, error)
            self._mute = True
        else:
            self._mute = False

    def events(self, machine: str | None = None) -> list[Event]:
        """All there are, oldest first; of one machine: what happened to it and to the lease it was started for."""
        found = list(self._read())
        return found if machine is None else of_machine(found, machine)

    def follow(self) -> Generator[list[Event]]:
        """At each step what came since the last one; at first all there is."""
        place, offset = -1, 0
        yield list(_events(self.older))
        while True:
            came: list[Event] = []
            try:
                with self.path.open("rb") as file:
                    if os.fstat(file.fileno()).st_ino != place:
                        came += self._rest_of(place, offset)
                        place, offset = os.fstat(file.fileno()).st_ino, 0
                    file.seek(offset)
                    whole = file.read().rpartition(b"\n")[0] + b"\n"
                    offset += len(whole) if whole.strip() else 0
                    came += _parsed(whole.splitlines())
            except FileNotFoundError:
                pass  # nothing has happened yet
            yield came

    def _rest_of(self, place: int, offset: int) -> list[Event]:
        """What was appended to a journal that became the older one meanwhile."""
        with contextlib.suppress(FileNotFoundError), self.older.open("rb") as file:
            if os.fstat(file.fileno()).st_ino == place:
                file.seek(offset)
                return list(_parsed(file.read().splitlines()))
        return []

    def _read(self) -> Iterator[Event]:
        yield from _events(self.older)
        yield from _events(self.path)

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # somebody's line was cut short by a full disk
            written = os.write(fd, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
            if size + written > self._limit:
                self._turn_over(fd)
        finally:
            os.close(fd)

    def _turn_over(self, fd: int) -> None:
        """By one process only; the others write on to what is the older journal by then."""
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.stat().st_ino == os.fstat(fd).st_ino:
                self.path.replace(self.older)


class Notes:
    """What one pool writes into a journal."""

    def __init__(self, journal: PoolJournal, provider: str, clock: Callable[[], datetime]):
        self._journal = journal
        self._provider = provider
        self._clock = clock

    def add(self, what: What, request: str, source: str, labels: Mapping[str, str], **more: Any) -> None:
        """`more`: further fields of `Event`."""
        given: dict[str, Any] = {"what": what, "request": request, "source": source, "labels": labels, **more}
        self._journal.add(Event(at=self._clock(), provider=self._provider, **given))


def of_machine(events: Iterable[Event], machine: str) -> list[Event]:
    """What happened to a machine, and to the leases that it was started for or lent to."""
    events = list(events)
    requests = {event.request for event in events if event.machine == machine and event.request}
    return [
        event for event in events if event.machine == machine or (event.machine is None and event.request in requests)
    ]


def _events(path: Path) -> Iterator[Event]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        yield from _parsed(file)


def _parsed(lines: Iterable[bytes]) -> Iterator[Event]:
    """Lines that are cut short or of a later version are left out."""
    for line in lines:
        with contextlib.suppress(ValidationError):
            yield Event.model_validate_json(line)
