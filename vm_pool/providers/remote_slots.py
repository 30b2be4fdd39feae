"""Which guests are lent, noted on disk, so that two runs on this host never lend the same one. It blocks briefly."""

import fcntl
import hashlib
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from vm_pool.errors import HostUnfit, MachineLost
from vm_pool.host_files import replace_text
from vm_pool.local_state import default_places
from vm_pool.owner import Owner, this_process
from vm_pool.provider import Stray
from vm_pool.types import Frozen


class Note(Frozen):
    """One loan of a guest."""

    url: str
    machine_id: str
    owner: Owner | None
    """None: nobody uses it; it is kept for `revive` until it expires."""
    created: datetime
    expires: datetime
    labels: Mapping[str, str] = {}

    def holds(self, now: datetime) -> bool:
        """Whether others must leave the guest alone."""
        return self.owner.alive if self.owner else now < self.expires


class Slots:
    """The guests of one provider; `folder` None is in the state folder of this user."""

    def __init__(self, urls: Sequence[str], folder: Path | None = None):
        self._urls = list(dict.fromkeys(urls))
        self._folder = folder or default_places().state.parent / "remote"

    def __len__(self) -> int:
        return len(self._urls)

    def take(self, labels: Mapping[str, str], ttl_s: int) -> Note | None:
        """Lend the guest that was used longest ago; None when all are lent."""
        now = datetime.now(UTC)
        with self._locked():
            for url in self._urls:
                known = self._read(url)
                if known is not None and known.holds(now):
                    continue
                machine_id = f"r-{_key(url)[:6]}-{secrets.token_hex(3)}"
                expires = now + timedelta(seconds=ttl_s)
                note = Note(
                    url=url, machine_id=machine_id, owner=this_process(), created=now, expires=expires, labels=labels
                )
                self._write(note)
                self._put_last(url)
                return note
        return None

    def take_again(self, machine_id: str) -> Note:
        """Lend the guest of an earlier loan. Raises: `MachineLost` when it is lent to others or unknown."""
        with self._locked():
            note = next((one for one in self.notes() if one.machine_id == machine_id), None)
            if note is None or note.url not in self._urls:
                raise MachineLost(f"{machine_id} is no machine of these guests any more")
            if note.owner is not None and note.owner.alive and note.owner != this_process():
                raise MachineLost(f"{machine_id} belongs to the running process {note.owner.pid}")
            again = note.model_copy(update={"owner": this_process()})
            self._write(again)
            return again

    def keep(self, note: Note) -> None:
        """Nobody uses it now, and only `take_again` may have it until it expires."""
        with self._locked():
            self._write(note.model_copy(update={"owner": None}))

    def give_back(self, machine_id: str) -> None:
        """Idempotent."""
        with self._locked():
            for note in self.notes():
                if note.machine_id == machine_id:
                    self._path(note.url).unlink(missing_ok=True)

    def notes(self) -> list[Note]:
        """All loans that are noted, of whatever provider of this user; damaged notes are none."""
        found: list[Note] = []
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValidationError):
                found.append(Note.model_validate_json(path.read_bytes()))
        return found

    def strays(self) -> list[Stray]:
        return [
            Stray(
                kind="machine",
                id=note.machine_id,
                owner_pid=note.owner.pid if note.owner else None,
                owner_alive=note.owner is not None and note.owner.alive,
                created=note.created,
                expires=note.expires,
                labels=note.labels,
                path=str(self._path(note.url)),
            )
            for note in self.notes()
        ]

    @contextmanager
    def _locked(self) -> Generator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise HostUnfit(f"cannot note which guests are lent: {error}; choose another AGENT_S3_STATE") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self, url: str) -> Note | None:
        with suppress(OSError, ValidationError):
            return Note.model_validate_json(self._path(url).read_bytes())
        return None

    def _write(self, note: Note) -> None:
        replace_text(self._path(note.url), note.model_dump_json())

    def _path(self, url: str) -> Path:
        return self._folder / f"{_key(url)}.json"

    def _put_last(self, url: str) -> None:
        """So that a guest that does not answer is not the first to be tried again."""
        self._urls.remove(url)
        self._urls.append(url)


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
