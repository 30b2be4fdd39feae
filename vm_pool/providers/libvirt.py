"""The `libvirt` provider: virtual machines with a kernel of their own, forked while they run.

A snapshot is memory, devices and disk of a running machine. Forks map the memory copy-on-write, so that they start in
under a second and cost what they change; the machine that was saved stands still for less than that.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from vm_pool.boot_report import explained, tail_of
from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.egress import Exits
from vm_pool.errors import BootTimeout, ConfigError, GuestError, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_code import machine_info
from vm_pool.local_state import DiskState, folders_in, new_id, read_state, state_of_new, stray_of, write_state
from vm_pool.machine import Machine
from vm_pool.network import parse_network
from vm_pool.owner import this_process
from vm_pool.provider import Evidence, Footprint, Snapshot, Spec, Stray
from vm_pool.providers import keeping, vm_cloning, vm_disk, vm_rest, vm_saving, vm_screen
from vm_pool.providers.vm_channel import HostChannel, Identity
from vm_pool.providers.vm_domain import Domain, Memory
from vm_pool.providers.vm_ground import Ground, Grounds, describe
from vm_pool.providers.vm_hypervisor import Hypervisor, Vm
from vm_pool.providers.vm_places import VmFolder, VmPlaces, default_vm_places
from vm_pool.providers.vm_running import Running, Spares, fresh_identity
from vm_pool.relaunch import programs_of, relaunch
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
    ) -> None:
        """`cloning` is how copies of machines are made; "auto" takes the best that QEMU has."""
        self._places = places or default_vm_places()
        self._grounds = Grounds(self._places, cloning)
        self._boot_timeout_s = boot_timeout_s
        self._fork_timeout_s = fork_timeout_s
        self._running: dict[str, Running] = {}
        self._hypervisor: Hypervisor | None = None
        self._opening = asyncio.Lock()
        self._spares = Spares()
        # A fork computes all the time until it is there: more at once than processors only delay the first.
        self._places_to_fork = asyncio.Semaphore(os.cpu_count() or 1)
        self._exits = Exits()
        self.pauses_ms: dict[str, float] = {}
        """Snapshot id -> for how long its machine stood still, in milliseconds."""

    def session(self) -> AbstractAsyncContextManager[None]:
        return self._session()

    async def boot(self, spec: Spec) -> Machine:
        ground = await self._ground(spec)
        spec = spec.model_copy(update={"image": ground.image.id})
        state = self._state_of_new(spec, ground)
        return await self._start_new(state, ground, saved=None)

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._of(machine)
        async with self._new_snapshot(running) as (folder, state), running.busy:
            return await shielded(self._save(running, folder, state, goes_on=True))

    async def promote(self, machine: Machine) -> Snapshot:
        """Make a machine a snapshot of its own state; it ends, and its disk is not copied but becomes the snapshot's.

        When that fails it goes on. Raises: as `snapshot`.
        """
        running = self._of(machine)
        async with self._new_snapshot(running) as (folder, state), running.busy:
            return await shielded(self._turn_into(running, folder, state))

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        folder, saved = self._saved(snapshot)
        wanted = {"image": saved.image_id, "labels": {**saved.spec.labels, **(labels or {})}}
        spec = saved.spec.model_copy(update=wanted)
        while spare := self._spares.take(snapshot.snapshot_id):
            with suppress(MachineLost, BootTimeout, GuestError, FileNotFoundError):  # the last: it was removed
                return await self._hand_out(spare, spec)
        ground = await self._ground(spec)
        state = self._state_of_fork(spec, ground, saved)
        async with self._places_to_fork:
            return await self._start_new(state, ground, saved=folder)

    async def prepare(self, snapshot: Snapshot, count: int) -> None:
        """Start `count` machines ahead that the next forks of a snapshot get; each takes the memory of a fork.

        They ran once, so that their code is translated, and stand still. Who they are they hear when they are lent.
        """
        folder, saved = self._saved(snapshot)
        spec = saved.spec.model_copy(update={"image": saved.image_id})
        ground = await self._ground(spec)
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                state = self._state_of_fork(spec, ground, saved)
                group.create_task(self._start_ahead(snapshot, state, ground, folder))

    async def revive(self, machine_id: str) -> Machine:
        """A machine that was kept comes back with its programs as they were; one whose process was killed does not."""
        if running := self._running.get(machine_id):
            if not running.ended:
                return running.machine
            await shielded(self._stop(running, keep_disk=False))
        folder = self._places.machine(machine_id)
        state = read_state(folder.path)
        if state is None or (state.owner and vm_saving.way_of(folder) == "boot"):
            raise MachineLost(f"{machine_id}: no memory of it was kept in {self._places.machines}")
        if state.owner and state.owner.alive and state.owner.pid != os.getpid():
            raise MachineLost(f"{machine_id} belongs to the running process {state.owner.pid}")
        return await self._restart(folder, state)

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        if running := self._running.get(machine.info.machine_id):
            await shielded(self._stop(running, keep_disk=keep_disk))

    async def drop(self, snapshot: Snapshot) -> None:
        self.pauses_ms.pop(snapshot.snapshot_id, None)
        while spare := self._spares.take(snapshot.snapshot_id):
            await shielded(self._stop(spare, keep_disk=False))
        await shielded(asyncio.to_thread(delete_tree, self._places.snapshot(snapshot.snapshot_id).path))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(self._strays)

    async def remove(self, stray: Stray) -> None:
        if running := self._running.get(stray.id):
            await shielded(self._stop(running, keep_disk=False))
            return
        if stray.kind == "host":
            await shielded(asyncio.to_thread(delete_tree, self._places.hosts / stray.id))
            return
        parent = self._places.machines if stray.kind == "machine" else self._places.snapshots
        await shielded(asyncio.to_thread(vm_disk.end_elsewhere, parent / stray.id))
        await shielded(asyncio.to_thread(delete_tree, parent / stray.id))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process id of a machine's QEMU, for measuring."""
        return {self._of(machine).vm.pid}

    async def ways(self, spec: Spec) -> tuple[str, ...]:
        """How its machines run and are copied on this host and why, a line each."""
        ground = await self._ground(spec)
        accel, cloning = ground.accel, ground.cloning
        return f"runs by {accel.accel}: {accel.reason}", f"copies by {cloning.way}: {cloning.reason}"

    async def evidence(self, machine_id: str) -> Evidence:
        return Evidence(console=await asyncio.to_thread(tail_of, self._places.machine(machine_id).console))

    async def footprint(self) -> Footprint:
        places = self._places
        return Footprint(
            folders=(places.machines, places.snapshots),
            named={"domains": frozenset(path.stem for path in places.hosts.glob("*/run/qemu/*.xml"))},
        )

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self._places.make)
        try:
            yield
        finally:
            await shielded(self._close())

    async def _close(self) -> None:
        try:
            await keeping.all_ended(self._stop(running, keep_disk=False) for running in list(self._running.values()))
        finally:
            if self._hypervisor is not None:
                await asyncio.to_thread(self._hypervisor.close)
                self._hypervisor = None

    async def _ground(self, spec: Spec) -> Ground:
        """Everything that can be refused before anything is made."""
        async with self._opening:
            if self._hypervisor is None:
                self._hypervisor = await asyncio.to_thread(self._open)
            return await asyncio.to_thread(self._grounds.of, spec)

    def _open(self) -> Hypervisor:
        self._places.make()
        self._places.sweep_hosts()
        return Hypervisor.shared(self._places)

    def _state_of_new(self, spec: Spec, ground: Ground) -> DiskState:
        return state_of_new(new_id("m"), spec, ground.image.id)

    def _state_of_fork(self, spec: Spec, ground: Ground, saved: DiskState) -> DiskState:
        return self._state_of_new(spec, ground).model_copy(update={"programs": saved.programs})

    async def _start_new(self, state: DiskState, ground: Ground, *, saved: VmFolder | None) -> GuestMachine:
        """Make a disk and start on it; nothing is left when that fails or is cancelled at any point."""
        folder = self._places.machine(state.id)
        try:
            await shielded(asyncio.to_thread(vm_disk.make, folder, state, ground.image.disk, saved))
            return await self._start(folder, state, ground, saved=saved)
        except BaseException:
            await shielded(self._discard(folder))
            raise

    async def _restart(self, folder: VmFolder, state: DiskState) -> Machine:
        """Go on with a kept machine. When that fails it stays kept."""
        ground = await self._ground(state.spec.model_copy(update={"image": state.image_id}))
        expires = datetime.now(UTC) + timedelta(seconds=state.spec.ttl_s)
        owned = state.model_copy(update={"owner": this_process(), "expires": expires})
        write_state(folder.path, owned)
        try:
            machine = await self._start(folder, owned, ground, saved=folder)
        except BaseException:
            await shielded(self._undo_start(folder))
            write_state(folder.path, state)
            raise
        await asyncio.to_thread(vm_disk.forget_memory, folder)
        return machine

    async def _start(
        self, folder: VmFolder, state: DiskState, ground: Ground, *, saved: VmFolder | None
    ) -> GuestMachine:
        cold = saved is None or vm_saving.way_of(saved) == "boot"
        memory = vm_saving.memory_for(saved, state.spec.memory_mib)
        domain = describe(folder, state, ground, memory, incoming=not cold)
        if cold:
            await shielded(asyncio.to_thread(vm_screen.make, domain.screen, state.spec.width, state.spec.height))
        vm = await shielded(asyncio.to_thread(self._started, domain))
        others = {b"egress": folder.egress} if parse_network(state.spec.network).by_proxy else {}
        channel = HostChannel(domain.port, folder.socket, others=others)
        identity = fresh_identity(state)
        machine = self._client(state, folder, identity)
        self._running[state.id] = Running(machine, vm, channel, folder, state)
        if saved and not cold:
            await shielded(asyncio.to_thread(vm_saving.load, vm, saved))
        await channel.open(identity)
        await asyncio.to_thread(vm.resume)
        async with explained(self, state.id):
            await self._await_ready(channel, machine, folder, self._boot_timeout_s if cold else self._fork_timeout_s)
            self._let_out(state, folder)
            if cold:
                limit_s = self._boot_timeout_s  # a slow machine's programs are as slow as its start
                await relaunch(machine, state.programs, limit_s=limit_s, windows_s=limit_s)
        return machine

    async def _start_ahead(self, snapshot: Snapshot, state: DiskState, ground: Ground, saved: VmFolder) -> None:
        async with self._places_to_fork:
            machine = await self._start_new(state, ground, saved=saved)
        running = self._of(machine)
        try:
            await machine.aclose()
            await self._exits.close(running.state.id)
            await asyncio.to_thread(running.vm.pause)
        except BaseException:
            await shielded(self._stop(running, keep_disk=False))
            raise
        self._spares.add(snapshot.snapshot_id, running)

    async def _hand_out(self, spare: Running, spec: Spec) -> Machine:
        """Tell a machine that was started ahead who it is from now on. One that cannot be lent is stopped."""
        now = datetime.now(UTC)
        new = {"spec": spec, "labels": spec.labels, "created": now, "expires": now + timedelta(seconds=spec.ttl_s)}
        spare.state = spare.state.model_copy(update=new)
        identity = fresh_identity(spare.state)
        spare.machine = self._client(spare.state, spare.folder, identity)
        try:
            write_state(spare.folder.path, spare.state)
            await spare.channel.open_again(identity)
            await asyncio.to_thread(spare.vm.resume)
            await self._await_ready(spare.channel, spare.machine, spare.folder, self._fork_timeout_s)
            self._let_out(spare.state, spare.folder)
        except BaseException:
            await shielded(self._stop(spare, keep_disk=False))
            raise
        return spare.machine

    def _client(self, state: DiskState, folder: VmFolder, identity: Identity) -> GuestMachine:
        return GuestMachine(
            machine_info(state, self.name),
            socket=folder.socket,
            token=identity.token,
            framebuffer=folder.screen,
            framebuffer_start=vm_screen.picture_start(folder.screen),
        )

    def _let_out(self, state: DiskState, folder: VmFolder) -> None:
        self._exits.open(state.id, parse_network(state.spec.network), folder.egress, folder.egress_log)

    async def _await_ready(
        self, channel: HostChannel, machine: GuestMachine, folder: VmFolder, timeout_s: float
    ) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await channel.ready()
        except TimeoutError as error:
            words = vm_disk.last_words(folder)
            raise BootTimeout(f"{machine.info.machine_id} said nothing within {timeout_s:g} s; {words}") from error
        except MachineLost as error:
            raise MachineLost(
                f"{machine.info.machine_id} ended while it started; {vm_disk.last_words(folder)}"
            ) from error
        await machine.ready(max(1.0, deadline - time.monotonic()))

    def _started(self, domain: Domain) -> Vm:
        assert self._hypervisor is not None
        return self._hypervisor.start(domain)

    @asynccontextmanager
    async def _new_snapshot(self, running: Running) -> AsyncGenerator[tuple[VmFolder, DiskState]]:
        """Where a snapshot of a machine goes, and what is noted of it; gone when it could not be taken."""
        noted = {"kind": "snapshot", "id": new_id("s"), "created": datetime.now(UTC), "owner": this_process()}
        state = running.state.model_copy(update=noted)
        folder = self._places.snapshot(state.id)
        try:
            yield folder, state
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise

    async def _save(self, running: Running, folder: VmFolder, state: DiskState, *, goes_on: bool) -> Snapshot:
        """All of a machine that its way to be copied needs, into a folder of its own."""
        state = await self._take_out(running, folder, state, goes_on=goes_on)
        way = vm_saving.way_of(folder)
        return Snapshot(
            snapshot_id=state.id,
            provider=self.name,
            image=state.image_id,
            includes_memory=way != "boot",
            launched=() if way != "boot" else state.programs.launched,
            ttl_s=state.spec.ttl_s,
        )

    async def _take_out(self, running: Running, folder: VmFolder, state: DiskState, *, goes_on: bool) -> DiskState:
        ground = await self._ground(running.state.spec.model_copy(update={"image": state.image_id}))
        way = ground.cloning.way
        if way != "boot" and await asyncio.to_thread(running.vm.why_it_cannot_move):
            way = "boot"
        if way == "boot":
            state = state.model_copy(update={"programs": await programs_of(running.machine)})
            await running.machine.run(["sync"])
        folder.path.mkdir(mode=0o700, exist_ok=True)
        write_state(folder.path, state)

        def start(work: VmFolder, memory: Memory) -> Vm:
            domain = describe(work, state, ground, memory, incoming=True)
            vm_screen.make_blank(domain.screen)
            return self._started(domain)

        source = running.folder if goes_on else folder
        saving = partial(vm_saving.save, running.vm, source, folder, way, goes_on=goes_on)
        async with vm_rest.at_rest(running.machine, running.vm.pid):
            self.pauses_ms[state.id] = 1000 * await asyncio.to_thread(saving)
        if goes_on:
            running.channel.set_clock()
        if way == "fork":
            await asyncio.to_thread(vm_saving.bake, folder, ground.image.disk, state.spec.memory_mib, start)
        return state

    async def _turn_into(self, running: Running, folder: VmFolder, state: DiskState) -> Snapshot:
        try:
            snapshot = await self._save(running, folder, state, goes_on=False)
        except BaseException:
            with suppress(MachineLost):
                await asyncio.to_thread(running.vm.resume)
            raise
        await self._halt(running)
        await asyncio.to_thread(vm_saving.hand_over, running.folder, folder)
        await asyncio.to_thread(delete_tree, running.folder.path)
        return snapshot

    async def _stop(self, running: Running, *, keep_disk: bool) -> None:
        async with running.busy:
            if self._running.get(running.state.id) is not running:
                return
            try:
                if keep_disk and not running.ended:
                    await self._keep(running)
            finally:
                await self._halt(running)
            if not keep_disk:
                await asyncio.to_thread(delete_tree, running.folder.path)

    async def _keep(self, running: Running) -> None:
        """Save memory and devices beside the disk, and note that they belong to no run."""
        state = await self._take_out(running, running.folder, running.state, goes_on=False)
        write_state(running.folder.path, state.model_copy(update={"owner": None}))

    async def _halt(self, running: Running) -> None:
        """End its process and free all but its files."""
        try:
            await self._exits.close(running.state.id)
            await running.machine.aclose()
            await running.channel.close()
        finally:
            await asyncio.to_thread(running.vm.end)
        self._running.pop(running.state.id, None)

    async def _undo_start(self, folder: VmFolder) -> None:
        """Whatever of a machine there is by now: a start that is cancelled may have a process that nobody holds."""
        if running := self._running.get(folder.path.name):
            await self._halt(running)
        else:
            await asyncio.to_thread(vm_disk.end_elsewhere, folder.path)

    async def _discard(self, folder: VmFolder) -> None:
        await self._undo_start(folder)
        await asyncio.to_thread(delete_tree, folder.path)

    def _saved(self, snapshot: Snapshot) -> tuple[VmFolder, DiskState]:
        folder = self._places.snapshot(snapshot.snapshot_id)
        state = read_state(folder.path)
        if state is None:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r}; list what there is with: agent-s3 pool ls")
        return folder, state

    def _of(self, machine: Machine) -> Running:
        running = self._running.get(machine.info.machine_id)
        if running is None:
            raise MachineLost(f"{machine.info.machine_id} is not a running machine of this process")
        return running

    def _strays(self) -> list[Stray]:
        machines = [stray_of(path, "machine", tree_bytes(path)) for path in folders_in(self._places.machines)]
        snapshots = [stray_of(path, "snapshot", tree_bytes(path)) for path in folders_in(self._places.snapshots)]
        hosts = map(_dead_host, self._places.dead_hosts())
        return sorted(filter(None, [*machines, *snapshots, *hosts]), key=lambda stray: stray.created)


def _dead_host(folder: Path) -> Stray | None:
    """libvirt's own files of a process that has ended; None when they went meanwhile."""
    with suppress(FileNotFoundError):
        made = datetime.fromtimestamp(folder.stat().st_mtime, tz=UTC)
        pid = int(folder.name.lstrip(".").partition("-")[0])
        return Stray(
            kind="host",
            id=folder.name,
            owner_pid=pid,
            owner_alive=False,
            created=made,
            expires=None,
            path=str(folder),
            bytes_on_disk=tree_bytes(folder),
        )
    return None
