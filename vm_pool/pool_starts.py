"""Starting the machines of a pool: a bounded number at once, as the host admits them, and once more when one fails."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime
from typing import NamedTuple

from vm_pool.admission import HostAdmission
from vm_pool.boot_report import summed_up
from vm_pool.errors import BootTimeout, MachineLost
from vm_pool.lease_keeper import Held, Source, deadline_of, source_name
from vm_pool.machine import Machine
from vm_pool.pool_journal import Notes
from vm_pool.provider import Prepares, Provider, Snapshot

_ATTEMPTS = 2
_PER_CPU = 4


class Asked(NamedTuple):
    """What somebody wants a machine of."""

    source: Source
    request: str
    """What the journal calls it."""
    labels: Mapping[str, str]

    @property
    def known(self) -> tuple[str, str, Mapping[str, str]]:
        """What the journal says of all that comes of it: request, source, labels."""
        return self.request, source_name(self.source), self.labels


class Starts:
    """`at_once` None: four per CPU, since a start mostly waits. `check_open` raises when no more are wanted."""

    def __init__(
        self,
        provider: Provider,
        *,
        at_once: int | None,
        admission: HostAdmission,
        notes: Notes,
        clock: Callable[[], datetime],
        check_open: Callable[[], None],
    ) -> None:
        self._provider = provider
        self._places = asyncio.Semaphore(at_once or _PER_CPU * (os.cpu_count() or 1))
        self._admission = admission
        self._notes = notes
        self._clock = clock
        self._check_open = check_open
        self._prepared: Counter[str] = Counter()

    async def start(self, asked: Asked) -> Held:
        """A start that timed out or broke off is tried once more. What is raised in the end says how it went."""
        begun = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._once(asked, lambda: self._started(asked))
            except (BootTimeout, MachineLost) as error:
                error.report = summed_up(error.report, attempts=attempt, elapsed_s=time.monotonic() - begun)
                machine = error.report and error.report.machine_id
                said = {"machine": machine, "reason": str(error), "report": error.report}
                self._notes.add("failed", *asked.known, **said)
                if attempt == _ATTEMPTS:
                    raise
                self._check_open()
        raise AssertionError("the last attempt ends in one or the other")

    async def revive(self, machine_id: str, asked: Asked) -> Held:
        """The machine of that id, which was kept or left behind. Raises: as the provider's `revive`."""
        return await self._once(asked, lambda: self._provider.revive(machine_id))

    async def prepare(self, snapshot: Snapshot, provider: Prepares) -> None:
        """Have the provider make its next fork of a snapshot ready."""
        async with self._place():
            await provider.prepare(snapshot, 1)
        self._prepared[snapshot.snapshot_id] += 1

    def prepared(self, snapshot: Snapshot) -> int:
        """How many of the next forks of a snapshot are ready."""
        return self._prepared[snapshot.snapshot_id]

    async def _once(self, asked: Asked, begin: Callable[[], Awaitable[Machine]]) -> Held:
        came = time.monotonic()
        async with self._place():
            begun, since = time.monotonic(), self._clock()
            self._notes.add("admitted", *asked.known, ms=_ms(begun - came))
            machine = await begin()
            took = _ms(time.monotonic() - begun)
        held = Held(asked.source, machine, asked.request, asked.labels, since, deadline_of(asked.source, since))
        self._notes.add("ready", *asked.known, machine=machine.info.machine_id, ms=took)
        return held

    async def _started(self, asked: Asked) -> Machine:
        source, labels = asked.source, asked.labels
        if not isinstance(source, Snapshot):
            return await self._provider.boot(source.model_copy(update={"labels": {**source.labels, **labels}}))
        if self._prepared[source.snapshot_id]:
            self._prepared[source.snapshot_id] -= 1
        return await self._provider.fork(source, labels=labels)

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        async with self._places, self._admitted():
            yield

    def _admitted(self) -> AbstractAsyncContextManager[None]:
        """Machines that take none of this host's memory need not be."""
        birth_mib = self._provider.birth_mib
        return self._admission.start(birth_mib) if birth_mib else nullcontext()


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
