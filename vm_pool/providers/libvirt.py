"""The `libvirt` provider: virtual machines with a kernel of their own, forked while they run.

A snapshot is memory, devices and disk of a running machine. Forks map the memory copy-on-write, so that they start in
under a second and cost what they change; the machine that was saved stands still for less than that.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal

from vm_pool.disk import delete_tree
from vm_pool.egress import Exits
from vm_pool.errors import MachineLost
from vm_pool.local_state import DiskState, new_id, state_of_new, write_state
from vm_pool.machine import Machine
from vm_pool.provider import Evidence, Footprint, Snapshot, Spec, Stray
from vm_pool.providers import keeping, vm_cloning, vm_disk, vm_evidence, vm_saving, vm_strays
from vm_pool.providers.machines import Machines
from vm_pool.providers.vm_ground import Ground, Grounds
from vm_pool.providers.vm_places import VmFolder, VmPlaces, default_vm_places
from vm_pool.providers.vm_running import Running
from vm_pool.providers.vm_spares import Spares
from vm_pool.providers.vm_starting import Patience, Starts
from vm_pool.providers.vm_use import HypervisorUse
from vm_pool.shield import shielded


class LibvirtProvider:
    """Machines end with `session`, or with `stop`; those of a process that was killed are strays."""

    name = "libvirt"
    birth_mib = 450
    """Of one that booted without hardware support, its translated code included; forks take a third of that."""

    def __init__(
        self,
        *,
        places: VmPlaces | None = None,
        boot_timeout_s: float = 300.0,
        fork_timeout_s: float = 60.0,
        cloning: vm_cloning.Way | Literal["auto"] = "auto",
        connection: str | None = None,
    ) -> None:
        """`cloning` is how copies of machines are made; "auto" takes the best that QEMU has.

        `connection`: by which libvirt, in the words of `vm_connection`; None: what AGENT_S3_LIBVIRT says, else `embed`.
        """
        self._places = places or default_vm_places()
        self._grounds = Grounds(self._places, cloning)
        self._hypervisor = HypervisorUse(self._places, connection)
        self._exits = Exits()
        self._machines = Machines[Running](keep=self._keep, halt=self._halt, clear=self._clear, delete=self._delete)
        patience = Patience(boot_timeout_s, fork_timeout_s)
        self._starts = Starts(self._places, self._machines, self._hypervisor, self._exits, self, patience)
        self._spares = Spares(self._machines, self._starts)
        self.pauses_ms: dict[str, float] = {}
        """Snapshot id -> for how long its machine stood still, in milliseconds."""

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self._places.make)
        async with self._hypervisor.ended_after(), self._machines.ended_after():
            yield

    async def boot(self, spec: Spec) -> Machine:
        ground = await self._ground(spec)
        spec = spec.model_copy(update={"image": ground.image.id})
        return (await self._starts.boot(state_of_new(new_id("m"), spec, ground.image.id), ground)).machine

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._machines.of(machine)
        async with self._new_snapshot(running) as (folder, state), running.busy:
            return await shielded(self._save(running, folder, state, goes_on=True))

    async def promote(self, machine: Machine) -> Snapshot:
        """Make a machine a snapshot of its own state; it ends, and its disk is not copied but becomes the snapshot's.

        When that fails it goes on. Raises: as `snapshot`.
        """
        running = self._machines.of(machine)
        async with self._new_snapshot(running) as (folder, state), running.busy:
            return await shielded(self._turn_into(running, folder, state))

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = keeping.saved_state(folder.path)
        spec = keeping.spec_of_fork(saved, labels)
        if spare := await self._spares.lend(snapshot.snapshot_id, spec):
            return spare.machine
        ground = await self._ground(spec)
        return (await self._starts.fork(keeping.state_of_fork(spec, saved), ground, folder)).machine

    async def prepare(self, snapshot: Snapshot, count: int) -> None:
        """Start `count` machines ahead that the next forks of a snapshot get; each takes the memory of a fork.

        Who they are they hear when they are lent.
        """
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = keeping.saved_state(folder.path)
        spec = keeping.spec_of_fork(saved, None)
        ground = await self._ground(spec)
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                state = keeping.state_of_fork(spec, saved)
                group.create_task(self._spares.add(snapshot.snapshot_id, state, ground, folder))

    async def revive(self, machine_id: str) -> Machine:
        """A machine that was kept comes back with its programs as they were; one whose process was killed does not."""
        if running := self._machines.get(machine_id):
            if not running.vm.ended:
                return running.machine
            await self._machines.stop(machine_id)
        folder = self._places.machine(machine_id)
        kept = keeping.kept_state(folder.path)
        if kept.owner and vm_saving.way_of(folder) == "boot":
            raise MachineLost(f"{machine_id}: no memory of it was kept in {self._places.machines}")
        ground = await self._ground(kept.spec.model_copy(update={"image": kept.image_id}))
        return (await self._starts.restart(folder, kept, ground)).machine

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        await self._machines.stop(machine.info.machine_id, keep_disk=keep_disk)

    async def drop(self, snapshot: Snapshot) -> None:
        self.pauses_ms.pop(snapshot.snapshot_id, None)
        await self._spares.end(snapshot.snapshot_id)
        await shielded(asyncio.to_thread(delete_tree, self._places.snapshot(snapshot.snapshot_id).path))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(vm_strays.find, self._places, self._hypervisor.choice)

    async def remove(self, stray: Stray) -> None:
        if not await self._machines.stop(stray.id):
            await shielded(asyncio.to_thread(vm_strays.remove, self._places, self._hypervisor.choice, stray))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process id of a machine's QEMU, for measuring."""
        return {self._machines.of(machine).vm.pid}

    async def ways(self, spec: Spec) -> tuple[str, ...]:
        """How its machines run and are copied on this host and why, a line each."""
        ground = await self._ground(spec)
        accel, cloning = ground.accel, ground.cloning
        started = f"started by {(await self._hypervisor.begin()).words}"
        return f"runs by {accel.accel}: {accel.reason}", f"copies by {cloning.way}: {cloning.reason}", started

    async def evidence(self, machine_id: str) -> Evidence:
        return await asyncio.to_thread(vm_evidence.evidence_in, self._places.machine(machine_id))

    async def footprint(self) -> Footprint:
        places = self._places
        return Footprint(
            folders=(places.machines, places.snapshots),
            named={"domains": places.domains()},
        )

    async def _ground(self, spec: Spec) -> Ground:
        """Everything that can be refused before anything is made."""
        return await asyncio.to_thread(self._grounds.of, spec, await self._hypervisor.begin())

    @asynccontextmanager
    async def _new_snapshot(self, running: Running) -> AsyncGenerator[tuple[VmFolder, DiskState]]:
        """Where a snapshot of a machine goes, and what is noted of it; gone when it could not be taken."""
        state = keeping.state_of_snapshot(running.state, running.state.programs)
        folder = self._places.snapshot(state.id)
        try:
            yield folder, state
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise

    async def _save(self, running: Running, folder: VmFolder, state: DiskState, *, goes_on: bool) -> Snapshot:
        taken = await self._take_out(running, folder, state, goes_on=goes_on)
        self.pauses_ms[state.id] = taken.stood_still_ms
        return keeping.snapshot_of(taken.state, self.name, includes_memory=vm_saving.way_of(folder) != "boot")

    async def _turn_into(self, running: Running, folder: VmFolder, state: DiskState) -> Snapshot:
        try:
            snapshot = await self._save(running, folder, state, goes_on=False)
        except BaseException:
            with suppress(MachineLost):
                await asyncio.to_thread(running.vm.resume)
            raise
        await self._machines.halt(running)
        await asyncio.to_thread(vm_saving.hand_over, running.folder, folder)
        await self._delete(running.state.id)
        return snapshot

    async def _keep(self, running: Running) -> None:
        """Save memory and devices beside the disk, and note that they belong to no run."""
        if running.vm.ended:
            return
        taken = await self._take_out(running, running.folder, running.state, goes_on=False)
        write_state(running.folder.path, taken.state.model_copy(update={"owner": None}))

    async def _take_out(
        self, running: Running, folder: VmFolder, state: DiskState, *, goes_on: bool
    ) -> vm_saving.Taken:
        ground = await self._ground(running.state.spec.model_copy(update={"image": state.image_id}))
        hypervisor = await self._hypervisor.begin()
        return await vm_saving.take_out(running, folder, state, ground, hypervisor, goes_on=goes_on)

    async def _halt(self, running: Running) -> None:
        """End its process and free all but its files."""
        try:
            await self._exits.close(running.state.id)
            await running.machine.aclose()
            await running.channel.close()
        finally:
            await asyncio.to_thread(running.vm.end)

    async def _clear(self, machine_id: str) -> None:
        """A start that is cancelled may have a process that nobody holds."""
        await asyncio.to_thread(vm_disk.end_elsewhere, self._places.machine(machine_id).path)

    async def _delete(self, machine_id: str) -> None:
        await asyncio.to_thread(delete_tree, self._places.machine(machine_id).path)
