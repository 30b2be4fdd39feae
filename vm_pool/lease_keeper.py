"""Keeps the leases of one pool: renews them while its event loop runs, and ends those whose time is over."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from vm_pool.errors import VMPoolError
from vm_pool.lease_book import LeaseBook, LeaseNote
from vm_pool.machine import Losable, Machine
from vm_pool.owner import this_process
from vm_pool.pool_journal import Notes, What
from vm_pool.provider import Provider, Snapshot, Spec
from vm_pool.shield import shielded

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 12

Source = Spec | Snapshot
"""What a machine is started from: a specification, or saved state to fork."""


@dataclass(eq=False)
class Held:
    """A machine that this pool started and has not stopped."""

    source: Source
    machine: Machine
    request: str
    """What the journal calls the lease."""
    labels: Mapping[str, str]
    since: datetime
    deadline: datetime
    spare: bool = False
    """True: nobody has it yet."""
    ended: str | None = None
    """Why it was ended before it came back; None: it was not."""
    note: LeaseNote | None = field(default=None, repr=False)
    """As it stands in the book; None where that could not be written."""

    @property
    def known(self) -> tuple[str, str, Mapping[str, str]]:
        """What the journal says of all that happens to it: request, source, labels."""
        return self.request, source_name(self.source), self.labels


class LeaseKeeper:
    """Used as a context manager it beats `BEATS_PER_LEASE` times in `lease_s`."""

    def __init__(
        self,
        provider: Provider,
        *,
        lease_s: float,
        clock: Callable[[], datetime],
        book: LeaseBook,
        notes: Notes,
        on_end: Callable[[Held], None],
    ):
        self._provider = provider
        self._lease_s = lease_s
        self._clock = clock
        self._book = book
        self._notes = notes
        self._on_end = on_end
        self._held: list[Held] = []
        self._beating: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat(), name="lease-keeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._beating is not None:
            self._beating.cancel()
            with suppress(asyncio.CancelledError):
                await self._beating
        await asyncio.gather(*self._endings)

    def enter(self, held: Held) -> None:
        """From now on it is renewed; also what has changed of one that is kept already."""
        if held not in self._held:
            self._held.append(held)
        note = LeaseNote(
            provider=self._provider.name,
            machine_id=held.machine.info.machine_id,
            image=held.machine.info.image,
            owner=this_process(),
            labels=held.labels,
            since=held.since,
            deadline=held.deadline,
            lease_s=self._lease_s,
            spare=held.spare,
        )
        try:
            self._book.enter(note)
            self._book.renew(note, self._clock())
        except OSError as error:
            log.warning("the lease of %s could not be noted: %s", note.machine_id, error)
            return
        held.note = note

    def leave(self, held: Held) -> None:
        """Idempotent."""
        with suppress(ValueError):
            self._held.remove(held)
        if held.note is not None:
            with suppress(OSError):
                self._book.leave(held.note)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / BEATS_PER_LEASE)
            for held in list(self._held):
                if what := self._lost(held):
                    ending = asyncio.create_task(self._end(held, *what))
                    self._endings.add(ending)
                    ending.add_done_callback(self._endings.discard)

    def _lost(self, held: Held) -> tuple[What, str] | None:
        """Why a machine is to be stopped now; None: it goes on, and its lease was renewed."""
        machine_id, now = held.machine.info.machine_id, self._clock()
        if held.ended is not None:
            return None
        if now >= held.deadline:
            lasted = (held.deadline - held.since).total_seconds()
            return "expired", f"{machine_id} was stopped: its time of {lasted:g} s is over; ask for a longer `ttl_s`"
        try:
            if held.note is None or self._book.renew(held.note, now):
                return None
        except OSError as error:
            log.warning("the lease of %s could not be renewed: %s", machine_id, error)
            return None
        silence = f"this process did not renew its lease for {self._lease_s:g} s"
        return "taken", f"{machine_id} was taken away: {silence}, and `pool gc` collected it"

    async def _end(self, held: Held, what: What, reason: str) -> None:
        held.ended = reason
        machine = held.machine
        if isinstance(machine, Losable):
            machine.lose(reason)
        self._notes.add(what, *held.known, machine=machine.info.machine_id, reason=reason)
        self.leave(held)
        self._on_end(held)
        try:
            await shielded(self._provider.stop(machine))
        except (VMPoolError, OSError) as error:
            log.warning("%s could not be stopped: %s", machine.info.machine_id, error)


def deadline_of(source: Source, since: datetime) -> datetime:
    return since + timedelta(seconds=source.ttl_s)


def source_name(source: Source) -> str:
    """The image's or the snapshot's."""
    return source.snapshot_id if isinstance(source, Snapshot) else source.image
