"""A pool of machines: bounded leases and starts, health checks, replacement of the lost."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from vm_pool.admission import HostAdmission
from vm_pool.errors import BootTimeout, MachineError, MachineLost, PoolClosed
from vm_pool.machine import Machine
from vm_pool.provider import Provider, Snapshot, Spec
from vm_pool.shield import shielded
from vm_pool.types import Frozen

Source = Spec | Snapshot
"""What a machine is started from: a specification, or saved state to fork."""

_HEALTH_S = 5.0
_START_ATTEMPTS = 2
_STARTS_PER_CPU = 4


class Lease(Frozen):
    """One loan of a machine, as `Pool.leases` lists it."""

    machine_id: str
    provider: str
    image: str
    labels: Mapping[str, str] = {}
    since: datetime


@dataclass
class _Loan:
    """A lease from the inside: its machine changes when it is replaced."""

    source: Source
    labels: Mapping[str, str]
    machine: Machine
    since: datetime


class Pool:
    """Machines of one provider, lent out and stopped when they come back.

    `concurrency` bounds how many are lent at once, `starts` how many start at once (None: four per
    CPU, since a start mostly waits). Both queues are first come, first served. `admission` bounds the starts of all
    processes on this host together (None: a fresh `HostAdmission`); machines that take none of its memory pass by it.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        concurrency: int,
        starts: int | None = None,
        admission: HostAdmission | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; a pool lends at least one machine")
        self.provider = provider
        self._places = asyncio.Semaphore(concurrency)
        self._starts = asyncio.Semaphore(starts or _STARTS_PER_CPU * (os.cpu_count() or 1))
        self._admission = admission or HostAdmission()
        self._clock = clock
        self._stack = AsyncExitStack()
        self._open = False
        self._loans: dict[str, _Loan] = {}
        self._warm: list[tuple[Source, Machine]] = []

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.provider.session())
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        idle, self._warm = self._warm, []
        try:
            for _, machine in idle:
                await self.provider.stop(machine)
        finally:
            await self._stack.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def lease(
        self, source: Source, *, labels: Mapping[str, str] | None = None, keep_disk: bool = False
    ) -> AsyncGenerator[Machine]:
        """Lend a machine; it, or what `replace` put in its place, is stopped when the block is left.

        Waits while all places are taken. `labels` are added to the specification's own. `keep_disk` leaves what the
        provider's `revive` needs. Raises: `PoolClosed`; what the provider raises when no machine can be started.
        """
        self._check_open()
        async with self._places:
            machine = await self._take(source, labels or {})
            loan = _Loan(source, labels or {}, machine, self._clock())
            self._loans[machine.info.machine_id] = loan
            try:
                yield machine
            finally:
                del self._loans[loan.machine.info.machine_id]
                await shielded(self.provider.stop(loan.machine, keep_disk=keep_disk))

    async def replace(self, machine: Machine) -> Machine:
        """Stop a lent machine, lost or not, and lend another of the same source in its place.

        Raises: `MachineLost` when it is not lent by this pool; what the provider raises when none can be started.
        """
        self._check_open()
        loan = self._loans.get(machine.info.machine_id)
        if loan is None:
            raise MachineLost(f"{machine.info.machine_id} is not lent by this pool, so it cannot be replaced")
        await self.provider.stop(machine)
        replacement = await self._take(loan.source, loan.labels)
        del self._loans[machine.info.machine_id]
        loan.machine = replacement
        self._loans[replacement.info.machine_id] = loan
        return replacement

    async def warm(self, source: Source, count: int) -> None:
        """Start machines ahead, so that the next leases of an equal source begin at once; labels are added later."""
        self._check_open()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._start_warm(source))

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
                provider=loan.machine.info.provider,
                image=loan.machine.info.image,
                labels=loan.labels,
                since=loan.since,
            )
            for machine_id, loan in self._loans.items()
        ]

    async def _take(self, source: Source, labels: Mapping[str, str]) -> Machine:
        """A warm machine that answers, else a new one; a start that timed out or broke off is tried once more."""
        while warm := self._pop_warm(source):
            if await self.healthy(warm):
                return warm
            await self.provider.stop(warm)
        for _ in range(_START_ATTEMPTS - 1):
            try:
                return await self._start(source, labels)
            except (BootTimeout, MachineLost):
                self._check_open()
        return await self._start(source, labels)

    async def _start_warm(self, source: Source) -> None:
        self._warm.append((source, await self._start(source, {})))

    async def _start(self, source: Source, labels: Mapping[str, str]) -> Machine:
        async with self._starts, self._admitted():
            if isinstance(source, Snapshot):
                return await self.provider.fork(source, labels=labels)
            return await self.provider.boot(source.model_copy(update={"labels": {**source.labels, **labels}}))

    def _admitted(self) -> AbstractAsyncContextManager[None]:
        birth_mib = self.provider.birth_mib
        return self._admission.start(birth_mib) if birth_mib else nullcontext()

    def _pop_warm(self, source: Source) -> Machine | None:
        for index, (wanted, machine) in enumerate(self._warm):
            if wanted == source:
                del self._warm[index]
                return machine
        return None

    def _check_open(self) -> None:
        if not self._open:
            raise PoolClosed("this pool is not open; use it inside `async with Pool(...)`")
