"""A pool of machines: bounded leases and starts, renewed while the pool lives; spares, replacement of the lost."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self

from vm_pool.admission import HostAdmission
from vm_pool.errors import ConfigError, MachineError, MachineLost, PoolClosed, VMPoolError
from vm_pool.lease_book import Lease, LeaseBook
from vm_pool.lease_keeper import Held, LeaseKeeper, Source, source_name
from vm_pool.machine import Machine
from vm_pool.pool_journal import Notes, PoolJournal
from vm_pool.pool_starts import Asked, Starts
from vm_pool.provider import Prepares, Provider, Snapshot
from vm_pool.shield import shielded

__all__ = ["Lease", "Pool", "Source"]

LEASE_S = 60.0
_HEALTH_S = 5.0
_OF_THE_RUN = frozenset({"run"})
"""Labels that a lease shares with the spares that wait for the next ones."""


class Pool:
    """Machines of one provider, lent out and stopped when they come back.

    `concurrency` bounds how many are lent at once, `starts` how many start at once (None: four per
    CPU, since a start mostly waits). Both queues are first come, first served. `admission` bounds the starts of all
    processes on this host together (None: a fresh `HostAdmission`); machines that take none of its memory pass by it.

    `spares`: so many machines of each source that was lent wait for the next leases, started in the background.
    `lease_s`: leases are renewed while the event loop runs; after so long without that, `pool gc` of another process
    may take the machines. `journal` and `book` None: in the state folder, where `pool logs` and `pool ls` read them.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        concurrency: int,
        starts: int | None = None,
        spares: int = 0,
        lease_s: float = LEASE_S,
        admission: HostAdmission | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        journal: PoolJournal | None = None,
        book: LeaseBook | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; a pool lends at least one machine")
        if spares < 0 or lease_s <= 0:
            raise ValueError(f"spares is {spares} and lease_s {lease_s}; neither may be negative, and a lease lasts")
        self.provider = provider
        self._places = asyncio.Semaphore(concurrency)
        self._clock = clock
        self._notes = Notes(journal or PoolJournal(), provider.name, clock)
        self._starts = Starts(
            provider,
            at_once=starts,
            admission=admission or HostAdmission(),
            notes=self._notes,
            clock=clock,
            check_open=self._check_open,
        )
        self._keeper = LeaseKeeper(
            provider,
            lease_s=lease_s,
            clock=clock,
            book=book or LeaseBook(),
            notes=self._notes,
            on_end=self._forget_spare,
        )
        self._spares = spares
        self._stack = AsyncExitStack()
        self._open = False
        self._loans: dict[str, Held] = {}
        self._idle: list[Held] = []
        self._filling: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.provider.session())
        await self._stack.enter_async_context(self._keeper)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        filling = list(self._filling.values())
        for task in filling:
            task.cancel()
        try:
            await asyncio.gather(*filling, return_exceptions=True)
            idle, self._idle = self._idle, []
            for held in idle:
                await self._stop(held)
        finally:
            await self._stack.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def lease(
        self, source: Source, *, labels: Mapping[str, str] | None = None, keep_disk: bool = False
    ) -> AsyncGenerator[Machine]:
        """Lend a machine; it, or what `replace` put in its place, is stopped when the block is left.

        Waits while all places are taken. `labels` are added to the specification's own. `keep_disk` leaves what the
        provider's `revive` needs. When the source's `ttl_s` is over the machine is stopped, and using it raises
        `MachineLost`, which says so. Raises: `PoolClosed`; what the provider raises when no machine can be started.
        """
        asked = _asked(source, labels or {})
        async with self._lent(asked, lambda: self._take(asked), keep_disk=keep_disk) as machine:
            yield machine

    @asynccontextmanager
    async def lease_again(
        self, machine_id: str, source: Source, *, labels: Mapping[str, str] | None = None, keep_disk: bool = False
    ) -> AsyncGenerator[Machine]:
        """Lend a machine that was kept, or that a dead process left behind, as `lease` lends a new one.

        Its time begins anew. `source` is what it was started from, and what `replace` starts another one of.
        Raises: `PoolClosed`, `ConfigError` when this pool lends it already; what the provider's `revive` raises.
        """
        if machine_id in self._loans:
            raise ConfigError(f"{machine_id} is lent already; end that lease first")
        asked = _asked(source, labels or {})
        reviving = partial(self._starts.revive, machine_id, asked)
        async with self._lent(asked, reviving, keep_disk=keep_disk) as machine:
            yield machine

    @asynccontextmanager
    async def _lent(
        self, asked: Asked, take: Callable[[], Awaitable[Held]], *, keep_disk: bool
    ) -> AsyncGenerator[Machine]:
        """A lease from its being asked for to its end."""
        self._check_open()
        self._notes.add("asked", *asked.known)
        async with self._places:
            held = await self._lend(asked, take)
            try:
                yield held.machine
            except MachineLost as error:
                self._notes.add("lost", *held.known, machine=held.machine.info.machine_id, reason=str(error))
                raise
            finally:
                del self._loans[held.machine.info.machine_id]
                await shielded(self._stop(held, keep_disk=keep_disk))

    async def replace(self, machine: Machine) -> Machine:
        """Stop a lent machine, lost or not, and lend another of the same source for the rest of its time.

        Raises: `MachineLost` when it is not lent by this pool, or its time is over; what the provider raises when none
        can be started.
        """
        self._check_open()
        held = self._loans.get(machine.info.machine_id)
        if held is None:
            raise MachineLost(f"{machine.info.machine_id} is not lent by this pool, so it cannot be replaced")
        if self._clock() >= held.deadline:
            raise MachineLost(held.ended or f"{machine.info.machine_id}: the time of its lease is over")
        await self.provider.stop(machine)
        fresh = await self._take(Asked(held.source, held.request, held.labels))
        lost, found = machine.info.machine_id, fresh.machine.info.machine_id
        self._notes.add("replaced", *held.known, machine=lost, reason=f"by {found}")
        del self._loans[lost]
        for one in (held, fresh):
            self._keeper.leave(one)
        held.machine, held.since, held.ended = fresh.machine, fresh.since, None
        self._loans[found] = held
        self._keeper.enter(held)
        return held.machine

    def relet(self, machine: Machine, *, labels: Mapping[str, str], seconds: float) -> datetime:
        """Give a lent machine further labels and a time that begins now; returns when that is over.

        Raises: `MachineLost` when it is not lent by this pool, or was ended.
        """
        held = self._loans.get(machine.info.machine_id)
        if held is None or held.ended is not None:
            raise MachineLost((held and held.ended) or f"{machine.info.machine_id} is not lent by this pool")
        held.labels = {**held.labels, **labels}
        held.deadline = self._clock() + timedelta(seconds=seconds)
        self._keeper.enter(held)
        return held.deadline

    async def warm(self, source: Source, count: int) -> None:
        """Start machines ahead, so that the next leases of an equal source begin at once; labels are added later.

        Raises: what the provider raises when one cannot be started.
        """
        self._check_open()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._add_spare(source, {}))

    def spares(self, source: Source) -> int:
        """How many machines wait for leases of this source."""
        prepared = self._starts.prepared(source) if isinstance(source, Snapshot) else 0
        return prepared + sum(held.source == source for held in self._idle)

    async def healthy(self, machine: Machine, *, timeout_s: float = _HEALTH_S) -> bool:
        """Whether a machine still answers."""
        try:
            async with asyncio.timeout(timeout_s):
                await machine.look(frozenset())
        except (MachineError, TimeoutError):
            return False
        return True

    def leases(self) -> list[Lease]:
        """Machines that are lent now."""
        return [
            Lease(
                machine_id=machine_id,
                provider=held.machine.info.provider,
                image=held.machine.info.image,
                labels=held.labels,
                since=held.since,
                deadline=held.deadline,
            )
            for machine_id, held in self._loans.items()
        ]

    async def _lend(self, asked: Asked, take: Callable[[], Awaitable[Held]]) -> Held:
        try:
            held = await take()
        except VMPoolError as error:
            self._notes.add("refused", *asked.known, reason=str(error))
            raise
        held.spare, held.labels, held.request, held.since = False, asked.labels, asked.request, self._clock()
        self._loans[held.machine.info.machine_id] = held
        self._keeper.enter(held)
        self._notes.add("lent", *held.known, machine=held.machine.info.machine_id)
        self._refill(asked.source, {key: asked.labels[key] for key in _OF_THE_RUN & asked.labels.keys()})
        return held

    async def _take(self, asked: Asked) -> Held:
        """A spare that answers, else a new machine."""
        while held := self._pop_spare(asked.source):
            try:
                if await self.healthy(held.machine):
                    return held
            except BaseException:
                await shielded(self._stop(held))
                raise
            await self._stop(held)
        return await self._starts.start(asked)

    def _refill(self, source: Source, labels: Mapping[str, str]) -> None:
        """Begin to bring the spares of a source to their number, unless that is under way."""
        key = source.model_dump_json()
        if self._spares and key not in self._filling:
            task = self._filling[key] = asyncio.create_task(self._fill(source, labels), name="spares")
            task.add_done_callback(lambda _: self._filling.pop(key, None))

    async def _fill(self, source: Source, labels: Mapping[str, str]) -> None:
        """One after the other, so that leases are not kept waiting. What cannot be had now the next lease asks for."""
        try:
            while self._open and self.spares(source) < self._spares:
                await self._add_spare(source, labels)
        except (VMPoolError, OSError) as error:
            self._notes.add("refused", "", source_name(source), {}, reason=f"no spare: {error}")

    async def _add_spare(self, source: Source, labels: Mapping[str, str]) -> None:
        if isinstance(source, Snapshot) and isinstance(self.provider, Prepares):
            await self._starts.prepare(source, self.provider)
            return
        held = await self._starts.start(_asked(source, labels))
        held.spare = True
        self._idle.append(held)
        self._keeper.enter(held)
        self._notes.add("spare", *held.known, machine=held.machine.info.machine_id)

    def _pop_spare(self, source: Source) -> Held | None:
        for held in self._idle:
            if held.source == source:
                self._idle.remove(held)
                return held
        return None

    def _forget_spare(self, held: Held) -> None:
        if held in self._idle:
            self._idle.remove(held)

    async def _stop(self, held: Held, *, keep_disk: bool = False) -> None:
        """Its lease is kept while it is being stopped."""
        try:
            await self.provider.stop(held.machine, keep_disk=keep_disk)
        finally:
            self._keeper.leave(held)
        machine_id = held.machine.info.machine_id
        kept = "its disk is kept" if keep_disk else None
        self._notes.add("stopped", *held.known, machine=machine_id, reason=kept)

    def _check_open(self) -> None:
        if not self._open:
            raise PoolClosed("this pool is not open; use it inside `async with Pool(...)`")


def _asked(source: Source, labels: Mapping[str, str]) -> Asked:
    return Asked(source, f"q-{secrets.token_hex(4)}", labels)
