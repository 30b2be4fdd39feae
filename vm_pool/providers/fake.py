"""Machines in this process behind the same Protocols as real ones, for tests and dry runs, ours and those of users.

A machine has a screen of flat colour, a dictionary of files, windows and a tree that the caller sets, and a handful of
commands. Reactions to input and further commands are given as functions; faults are injected with `Script.inject`,
whose table is in `vm_pool.providers.fake_faults`. Nothing here depends on time or chance.
"""

import asyncio
import copy
import itertools
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

from vm_pool.errors import BootTimeout, ConfigError, GuestError, GuestTimeout, MachineLost
from vm_pool.machine import Machine
from vm_pool.provider import CAPABILITIES, Snapshot, Spec, Stray
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_faults import Fault, suffer
from vm_pool.providers.fake_machine import HOME, TOKEN, FakeMachine, fake_info

__all__ = ["HOME", "TOKEN", "FakeMachine", "FakeProvider", "fake_info"]


class FakeProvider:
    """A `vm_pool.provider.Provider` whose machines live in this process.

    `prepare` is called on each freshly booted machine. `machines` holds all that were ever started, newest last.
    """

    name = "fake"
    birth_mib = 0
    capabilities = CAPABILITIES - {"image", "keep_disk"}

    def __init__(
        self,
        *,
        files: Mapping[str, bytes] | None = None,
        script: Script | None = None,
        prepare: Callable[[FakeMachine], None] | None = None,
    ):
        self.script = script or Script()
        self.machines: list[FakeMachine] = []
        self.booted: list[Spec] = []
        """What each boot asked for, oldest first."""
        self.snapshots: dict[str, FakeDesktop] = {}
        self._files = files or {}
        self._prepare = prepare
        self._numbers = itertools.count()
        self._starts: Counter[str] = Counter()
        self._labels: dict[str, Mapping[str, str]] = {}
        self._ttl_s: dict[str, int] = {}
        self._made = datetime.now(UTC)

    async def boot(self, spec: Spec) -> FakeMachine:
        self.booted.append(spec)
        await self._start("boot")
        info = fake_info(f"fake-{next(self._numbers)}", width=spec.width, height=spec.height)
        machine = FakeMachine(info, files=self._files, script=self.script, number=len(self.machines))
        if self._prepare is not None:
            self._prepare(machine)
        return self._started(machine, spec.labels, spec.ttl_s)

    async def snapshot(self, machine: Machine) -> Snapshot:
        source = self._own(machine)
        if source.lost:
            raise MachineLost(f"{source.info.machine_id} is gone")
        snapshot_id = f"fake-snapshot-{next(self._numbers)}"
        self.snapshots[snapshot_id] = copy.deepcopy(source.desktop)
        return Snapshot(
            snapshot_id=snapshot_id,
            provider=self.name,
            image="fake",
            includes_memory=True,
            ttl_s=self._ttl_s.get(source.info.machine_id, Spec().ttl_s),
        )

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> FakeMachine:
        if snapshot.snapshot_id not in self.snapshots:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r}; take one before forking")
        await self._start("fork")
        desktop = copy.deepcopy(self.snapshots[snapshot.snapshot_id])
        height, width = desktop.pixels.shape[:2]
        info = fake_info(f"fake-{next(self._numbers)}", width=int(width), height=int(height))
        machine = FakeMachine(info, script=self.script, desktop=desktop, number=len(self.machines))
        return self._started(machine, labels or {}, snapshot.ttl_s)

    async def revive(self, machine_id: str) -> FakeMachine:
        for machine in self.machines:
            if machine.info.machine_id == machine_id and not machine.lost:
                return machine
        raise MachineLost(f"{machine_id} is gone")

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:  # noqa: ARG002 - there is no disk
        self._own(machine).lose()

    async def drop(self, snapshot: Snapshot) -> None:
        self.snapshots.pop(snapshot.snapshot_id, None)

    async def strays(self) -> list[Stray]:
        return [
            Stray(
                kind="machine",
                id=machine.info.machine_id,
                owner_pid=os.getpid(),
                owner_alive=True,
                created=self._made,
                expires=None,
                labels=self._labels.get(machine.info.machine_id, {}),
                path="",
            )
            for machine in self.machines
            if not machine.lost
        ]

    async def remove(self, stray: Stray) -> None:
        for machine in self.machines:
            if machine.info.machine_id == stray.id:
                machine.lose()

    def session(self) -> AbstractAsyncContextManager[None]:
        return _no_resources()

    async def _start(self, method: Literal["boot", "fork"]) -> None:
        """Starts are counted and break like calls; the number of their machine is the next one."""
        number, in_all = self._starts[method], self._starts.total()
        self._starts[method] += 1
        if self.script.delay_s:
            await asyncio.sleep(self.script.delay_s)
        if self.script.faults[method]:
            raise self.script.faults[method].popleft()
        planned = (p for p in self.script.plan if p.method == method)
        fault = next((p.fault for p in planned if p.hits(method, len(self.machines), number, in_all)), None)
        if fault is not None:
            await self._suffer(fault)

    async def _suffer(self, fault: Fault) -> None:
        try:
            await suffer(fault, "the new machine", act=lambda: None, die=lambda: None)
        except GuestTimeout as error:
            raise BootTimeout(f"the new machine was not ready: {error}") from error

    def _started(self, machine: FakeMachine, labels: Mapping[str, str], ttl_s: int) -> FakeMachine:
        self.machines.append(machine)
        self._ttl_s[machine.info.machine_id] = ttl_s
        self._labels[machine.info.machine_id] = labels
        return machine

    def _own(self, machine: Machine) -> FakeMachine:
        if not isinstance(machine, FakeMachine):
            raise GuestError(f"{machine.info.machine_id} is not a machine of the fake provider")
        return machine


@asynccontextmanager
async def _no_resources() -> AsyncGenerator[None]:
    yield
