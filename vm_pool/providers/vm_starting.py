"""Starting virtual machines: on an image's disk, on saved state, or as another one that was started ahead."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from vm_pool.boot_report import explained
from vm_pool.egress import Exits
from vm_pool.local_state import DiskState, write_state
from vm_pool.network import parse_network
from vm_pool.provider import Explains, Spec
from vm_pool.providers import keeping, vm_disk, vm_saving, vm_screen
from vm_pool.providers.machines import Machines
from vm_pool.providers.vm_ground import Ground, describe
from vm_pool.providers.vm_places import VmFolder, VmPlaces
from vm_pool.providers.vm_running import Running, channel_of, client_of, fresh_identity
from vm_pool.providers.vm_use import HypervisorUse
from vm_pool.relaunch import relaunch
from vm_pool.shield import shielded


class Patience(NamedTuple):
    """For how many seconds a machine may start."""

    boot_s: float
    fork_s: float


class Starts:
    """Of one provider's machines, which `explains` tells of when they fail."""

    def __init__(
        self,
        places: VmPlaces,
        machines: Machines[Running],
        hypervisor: HypervisorUse,
        exits: Exits,
        explains: Explains,
        patience: Patience,
    ) -> None:
        self._places = places
        self._machines = machines
        self._hypervisor = hypervisor
        self._exits = exits
        self._explains = explains
        self._patience = patience
        # A fork computes all the time until it is there: more at once than processors only delay the first.
        self._places_to_fork = asyncio.Semaphore(os.cpu_count() or 1)

    async def boot(self, state: DiskState, ground: Ground) -> Running:
        """On a fresh disk over the image's."""
        return await self._start_new(state, ground, saved=None)

    async def fork(self, state: DiskState, ground: Ground, saved: VmFolder) -> Running:
        """On a copy of what was saved."""
        async with self._places_to_fork:
            return await self._start_new(state, ground, saved=saved)

    async def restart(self, folder: VmFolder, kept: DiskState, ground: Ground) -> Running:
        """Go on with a kept machine. When that fails it stays kept."""
        with keeping.ours_if_it_starts(folder.path, kept) as state:
            async with self._machines.restarting(state.id):
                running = await self._start(folder, state, ground, saved=folder)
        await asyncio.to_thread(vm_disk.forget_memory, folder)
        return running

    async def start_again(self, spare: Running, spec: Spec) -> None:
        """Let a machine that stands still go on as a new one, which hears who it is."""
        now = datetime.now(UTC)
        new = {"spec": spec, "labels": spec.labels, "created": now, "expires": now + timedelta(seconds=spec.ttl_s)}
        spare.state = spare.state.model_copy(update=new)
        identity = fresh_identity(spare.state)
        spare.machine = client_of(spare.state, spare.folder, identity, self._explains.name)
        write_state(spare.folder.path, spare.state)
        await spare.channel.open_again(identity)
        await asyncio.to_thread(spare.vm.resume)
        await spare.ready(self._patience.fork_s)
        self._let_out(spare)

    async def set_aside(self, running: Running) -> None:
        """Let a machine stand still until `start_again`."""
        await running.machine.aclose()
        await self._exits.close(running.state.id)
        await asyncio.to_thread(running.vm.pause)

    async def _start_new(self, state: DiskState, ground: Ground, *, saved: VmFolder | None) -> Running:
        folder = self._places.machine(state.id)
        async with self._machines.making(state.id):
            await shielded(asyncio.to_thread(vm_disk.make, folder, state, ground.image.disk, saved))
            return await self._start(folder, state, ground, saved=saved)

    async def _start(self, folder: VmFolder, state: DiskState, ground: Ground, *, saved: VmFolder | None) -> Running:
        cold = saved is None or vm_saving.way_of(saved) == "boot"
        running = await self._make(folder, state, ground, saved=None if cold else saved)
        patience_s = self._patience.boot_s if cold else self._patience.fork_s
        async with explained(self._explains, state.id):
            await running.ready(patience_s)
            self._let_out(running)
            if cold:  # a slow machine's programs are as slow as its start
                await relaunch(running.machine, state.programs, limit_s=patience_s, windows_s=patience_s)
        return running

    async def _make(self, folder: VmFolder, state: DiskState, ground: Ground, *, saved: VmFolder | None) -> Running:
        """One that runs and may not answer yet. `saved`: what it goes on from; None: it starts cold."""
        hypervisor = await self._hypervisor.begin()
        memory = vm_saving.memory_for(saved, state.spec.memory_mib)
        domain = describe(folder, state, ground, memory, incoming=saved is not None)
        if saved is None:
            await shielded(asyncio.to_thread(vm_screen.make, domain.screen, state.spec.width, state.spec.height))
        vm = await shielded(asyncio.to_thread(hypervisor.start, domain))
        identity = fresh_identity(state)
        machine = client_of(state, folder, identity, self._explains.name)
        running = Running(machine, vm, channel_of(state, folder, domain.port), folder, state)
        self._machines.add(running)
        if saved is not None:
            await shielded(asyncio.to_thread(vm_saving.load, vm, saved))
        await running.channel.open(identity)
        await asyncio.to_thread(vm.resume)
        return running

    def _let_out(self, running: Running) -> None:
        network = parse_network(running.state.spec.network)
        self._exits.open(running.state.id, network, running.folder.egress, running.folder.egress_log)
