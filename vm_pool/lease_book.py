"""Who has which machine now, on disk, so that other processes see it: one small file for each lease.

The file's time of change is the heartbeat: the holder renews it while its event loop runs, which needs no room on the
disk. A holder that does not, dead or hung, has lost its machines to `pool gc`, which takes the file away; that is how
the holder learns of it, should it wake up.
"""

import contextlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from vm_pool.host_files import replace_text
from vm_pool.local_state import pool_folder
from vm_pool.owner import Owner
from vm_pool.types import Frozen

_CUT_SHORT = timedelta(minutes=2)
"""After this long an unfinished file is not being written any more."""


class Lease(Frozen):
    """One loan of a machine, as `Pool.leases` lists it."""

    machine_id: str
    provider: str
    image: str
    labels: Mapping[str, str] = {}
    since: datetime
    deadline: datetime
    """When its time is over and the pool stops it."""


class LeaseNote(Frozen):
    """One lease, or one machine that waits to be leased."""

    schema_version: Literal[1] = 1
    provider: str
    machine_id: str
    image: str
    owner: Owner
    labels: Mapping[str, str] = {}
    since: datetime
    deadline: datetime
    """When its time is over and its pool stops it."""
    lease_s: float
    """A holder that has not renewed it for so long has lost it."""
    spare: bool = False
    """True: nobody has it yet."""


class Seen(NamedTuple):
    """A lease as others find it."""

    note: LeaseNote
    heartbeat: datetime

    def silent(self, now: datetime) -> bool:
        """Whether its holder lives and has lost it all the same."""
        return self.note.owner.alive and now - self.heartbeat > timedelta(seconds=self.note.lease_s)


class LeaseBook:
    """The leases of this user on this host; `folder` None is in the state folder. Short and blocking.

    Raises from what writes: `OSError`.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or pool_folder() / "leases"

    def enter(self, note: LeaseNote) -> None:
        """Atomically, in place of an earlier note of the same machine by this process."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_text(self._path(note), note.model_dump_json())

    def renew(self, note: LeaseNote, now: datetime) -> bool:
        """False when it was taken away. When the whole folder was, which is no collection, it is entered again."""
        try:
            os.utime(self._path(note), (now.timestamp(), now.timestamp()))
        except FileNotFoundError:
            if self.folder.is_dir():
                return False
            self.enter(note)
        return True

    def leave(self, note: LeaseNote) -> None:
        """Idempotent."""
        self._path(note).unlink(missing_ok=True)

    def take_away(self, provider: str, machine_id: str, pid: int | None) -> None:
        """From a process; idempotent."""
        (self.folder / f"{provider}.{machine_id}.{pid}.json").unlink(missing_ok=True)

    def all(self) -> list[Seen]:
        """Damaged notes are none."""
        found: list[Seen] = []
        for path in sorted(self.folder.glob("[!.]*.json")):
            with contextlib.suppress(OSError, ValidationError):
                beat = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
                found.append(Seen(LeaseNote.model_validate_json(path.read_bytes()), beat))
        return found

    def sweep(self, now: datetime) -> None:
        """Remove the notes of processes that have ended, and what they had not finished writing."""
        for seen in self.all():
            if not seen.note.owner.alive:
                self.leave(seen.note)
        for path in self.folder.glob(".*"):
            with contextlib.suppress(FileNotFoundError):
                if now - datetime.fromtimestamp(path.stat().st_mtime, tz=UTC) > _CUT_SHORT:
                    path.unlink()

    def _path(self, note: LeaseNote) -> Path:
        return self.folder / f"{note.provider}.{note.machine_id}.{note.owner.pid}.json"
