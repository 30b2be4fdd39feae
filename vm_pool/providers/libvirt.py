"""The `libvirt` provider: virtual machines with a kernel of their own, forked while they run.

A snapshot is memory, devices and disk of a running machine. Forks map the memory copy-on-write, so that they start in
under a second and cost what they change; the machine that was saved stands still for less than that.
"""

import asyncio
import os
import secrets
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from vm_pool import images
from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.egress import Exits
from vm_pool.errors import BootTimeout, ConfigError, HostUnfit, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_code import machine_info
from vm_pool.images.recipe import RECIPES, VM_SUFFIX
from vm_pool.local_state import DiskState, folders_in, new_id, read_state, state_of_new, stray_of, write_state
from vm_pool.machine import Machine
from vm_pool.network import check_network, parse_network
from vm_pool.owner import this_process
from vm_pool.provider import Snapshot, Spec, Stray
from vm_pool.providers import vm_accel, vm_disk, vm_screen
from vm_pool.providers.vm_channel import HostChannel, Identity
from vm_pool.providers.vm_domain import Domain, Memory
from vm_pool.providers.vm_guest_code import initrd_for
from vm_pool.providers.vm_hypervisor import Hypervisor, Vm
from vm_pool.providers.vm_places import INSTALL, VmFolder, VmPlaces, default_vm_places
from vm_pool.shield import shielded

EMULATOR = "qemu-system-x86_64"
_LEAST_MEMORY_MIB = 384


@dataclass
class Running:
    """A machine of this process."""

    machine: GuestMachine
    vm: Vm
    channel: HostChannel
    folder: VmFolder
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is saved or stopped."""


@dataclass(frozen=True)
class _Ground:
    """What machines of an image are started with."""

    image: images.Image
    initrd: Path
    emulator: Path
    accel: vm_accel.Acceleration


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
    ) -> None:
        self._places = places or default_vm_places()
        self._boot_timeout_s = boot_timeout_s
        self._fork_timeout_s = fork_timeout_s
        self._running: dict[str, Running] = {}
        self._grounds: dict[str, _Ground] = {}
        self._hypervisor: Hypervisor | None = None
        self._opening = asyncio.Lock()
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
        now = datetime.now(UTC)
        noted = {"kind": "snapshot", "id": new_id("s"), "created": now, "owner": this_process()}
        state = running.state.model_copy(update=noted)
        folder = self._places.snapshot(state.id)
        try:
            async with running.busy:
                await shielded(self._save(running, folder, state))
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise
        return Snapshot(snapshot_id=state.id, provider=self.name, image=state.image_id, includes_memory=True)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = read_state(folder.path)
        if saved is None:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r}; list what there is with: agent-s3 pool ls")
        wanted = {"image": saved.image_id, "labels": {**saved.spec.labels, **(labels or {})}}
        spec = saved.spec.model_copy(update=wanted)
        ground = await self._ground(spec)
        return await self._start_new(self._state_of_new(spec, ground), ground, saved=folder)

    async def revive(self, machine_id: str) -> Machine:
        """A machine that was kept comes back with its programs as they were; one whose process was killed does not."""
        if running := self._running.get(machine_id):
            if not _ended(running.vm):
                return running.machine
            await shielded(self._stop(running, keep_disk=False))
        folder = self._places.machine(machine_id)
        state = read_state(folder.path)
        if state is None or not folder.device.exists():
            raise MachineLost(f"{machine_id}: no memory of it was kept in {self._places.machines}")
        if state.owner and state.owner.alive and state.owner.pid != os.getpid():
            raise MachineLost(f"{machine_id} belongs to the running process {state.owner.pid}")
        return await self._restart(folder, state)

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        if running := self._running.get(machine.info.machine_id):
            await shielded(self._stop(running, keep_disk=keep_disk))

    async def drop(self, snapshot: Snapshot) -> None:
        self.pauses_ms.pop(snapshot.snapshot_id, None)
        await shielded(asyncio.to_thread(delete_tree, self._places.snapshot(snapshot.snapshot_id).path))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(self._strays)

    async def remove(self, stray: Stray) -> None:
        if running := self._running.get(stray.id):
            await shielded(self._stop(running, keep_disk=False))
            return
        parent = self._places.machines if stray.kind == "machine" else self._places.snapshots
        await shielded(asyncio.to_thread(vm_disk.end_elsewhere, parent / stray.id))
        await shielded(asyncio.to_thread(delete_tree, parent / stray.id))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process id of a machine's QEMU, for measuring."""
        return {self._of(machine).vm.pid}

    async def acceleration(self, image: str) -> vm_accel.Acceleration:
        """How machines of an image run on this host, and why."""
        return (await self._ground(Spec(image=image))).accel

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self._places.make)
        try:
            yield
        finally:
            await shielded(self._close())

    async def _close(self) -> None:
        """One machine that cannot be cleared up does not keep the others. Raises: what the first such one raised."""
        stops = (self._stop(running, keep_disk=False) for running in list(self._running.values()))
        ends = await asyncio.gather(*stops, return_exceptions=True)
        if self._hypervisor is not None:
            await asyncio.to_thread(self._hypervisor.close)
            self._hypervisor = None
        for failure in ends:
            if failure is not None:
                raise failure

    async def _ground(self, spec: Spec) -> _Ground:
        """Everything that can be refused before anything is made."""
        async with self._opening:
            if self._hypervisor is None:
                self._hypervisor = await asyncio.to_thread(self._open)
            return await asyncio.to_thread(self._prepare, spec)

    def _open(self) -> Hypervisor:
        self._places.make()
        self._places.sweep_hosts()
        return Hypervisor(self._places)

    def _prepare(self, spec: Spec) -> _Ground:
        """Raises: `ConfigError`, `HostUnfit`, `ImageError`."""
        emulator = shutil.which(EMULATOR)
        if emulator is None or shutil.which("qemu-img") is None:
            raise HostUnfit(f"QEMU is missing; run: {INSTALL}")
        check_network(spec.network, "a virtual machine")
        if spec.memory_mib < _LEAST_MEMORY_MIB:
            raise ConfigError(
                f"a virtual machine has memory of its own, at least {_LEAST_MEMORY_MIB} MiB, not {spec.memory_mib}"
            )
        image = images.find(f"{spec.image}{VM_SUFFIX}" if spec.image in RECIPES else spec.image)
        if not image.is_vm:
            raise ConfigError(f"{image.id} is for sandboxes; name it {image.name!r} to have it as a virtual machine")
        if image.id not in self._grounds:
            accel = vm_accel.choose(Path(emulator), image.kernel, image.initrd)
            self._grounds[image.id] = _Ground(image, initrd_for(self._places, image), Path(emulator), accel)
        return self._grounds[image.id]

    def _state_of_new(self, spec: Spec, ground: _Ground) -> DiskState:
        return state_of_new(new_id("m"), spec, ground.image.id)

    async def _start_new(self, state: DiskState, ground: _Ground, *, saved: VmFolder | None) -> Machine:
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
        self, folder: VmFolder, state: DiskState, ground: _Ground, *, saved: VmFolder | None
    ) -> GuestMachine:
        token = secrets.token_urlsafe(24)
        memory = Memory(mib=state.spec.memory_mib, file=saved.ram if saved else None)
        domain = self._domain(folder, state, ground, memory, incoming=saved is not None)
        vm = await shielded(asyncio.to_thread(self._started, domain))
        network = parse_network(state.spec.network)
        others = {b"egress": folder.egress} if network.by_proxy else {}
        channel = HostChannel(folder.port, folder.socket, others=others)
        machine = GuestMachine(
            machine_info(state, self.name),
            socket=folder.socket,
            token=token,
            framebuffer=folder.screen,
            framebuffer_start=vm_screen.picture_start(folder.screen),
        )
        self._running[state.id] = Running(machine, vm, channel, folder, state)
        if saved:
            await shielded(asyncio.to_thread(partial(vm.move_in, saved.device, without_memory=True)))
        size = f"{state.spec.width}x{state.spec.height}"
        await channel.open(
            Identity(
                token=token,
                machine_id=uuid.uuid4().hex,
                hostname=f"desktop-{state.id[2:]}",
                size=size,
                egress=network.by_proxy,
            )
        )
        await asyncio.to_thread(vm.resume)
        await self._await_ready(channel, machine, folder, self._fork_timeout_s if saved else self._boot_timeout_s)
        self._exits.open(state.id, network, folder.egress, folder.egress_log)
        return machine

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

    def _domain(self, folder: VmFolder, state: DiskState, ground: _Ground, memory: Memory, *, incoming: bool) -> Domain:
        return Domain(
            # A name of its own for each start: libvirt holds on to that of a machine that has ended for a while.
            name=f"{state.id}-{secrets.token_hex(2)}",
            uuid=str(uuid.uuid4()),
            generation=str(uuid.uuid4()),
            accel=ground.accel.accel,
            memory=memory,
            screen=vm_screen.shared_screen(folder.screen, state.spec.width, state.spec.height),
            cpus=state.spec.cpus,
            emulator=ground.emulator,
            kernel=ground.image.kernel,
            initrd=ground.initrd,
            disk=folder.disk,
            port=folder.port,
            console=folder.console,
            incoming=incoming,
            notes={**state.labels, "owner": str(os.getpid()), "state": str(folder.path)},
        )

    def _started(self, domain: Domain) -> Vm:
        assert self._hypervisor is not None
        domain.port.unlink(missing_ok=True)
        return self._hypervisor.start(domain)

    async def _save(self, running: Running, folder: VmFolder, state: DiskState) -> None:
        """Memory, devices and disk of a running machine into a folder; then make the memory one that forks can map."""
        ground = await self._ground(running.state.spec.model_copy(update={"image": state.image_id}))
        vm_disk.make_folder(folder, state)
        stood_still = await asyncio.to_thread(self._take_out, running, folder)
        running.channel.set_clock()
        self.pauses_ms[state.id] = (time.monotonic() - stood_still) * 1000
        await asyncio.to_thread(self._bake, folder, state, ground)

    def _take_out(self, running: Running, folder: VmFolder) -> float:
        """Returns when the machine came to a stand; it runs again then, whatever happened."""
        try:
            stood_still = running.vm.move_out(folder.moved, without_memory=False)
            vm_disk.copy(running.folder.disk, folder.disk)
            return stood_still
        finally:
            with suppress(MachineLost):  # its own death is what the caller hears of, or does not mind
                running.vm.resume()

    def _bake(self, folder: VmFolder, state: DiskState, ground: _Ground) -> None:
        """Load what came out of a machine into one that writes its memory to a file, and save its devices alone."""
        vm_disk.make_ram(folder.ram, state.spec.memory_mib)
        oven = VmFolder(folder.path / "oven")
        oven.path.mkdir()
        vm_disk.overlay(folder.disk, oven.disk)
        memory = Memory(mib=state.spec.memory_mib, file=folder.ram, shared=True)
        domain = self._domain(oven, state, ground, memory, incoming=True)
        vm_screen.make_blank(domain.screen)
        vm = self._started(domain)
        try:
            vm.move_in(folder.moved, without_memory=False)
            vm.move_out(folder.device, without_memory=True)
        finally:
            vm.end()
        folder.moved.unlink()
        oven.screen.rename(folder.screen)
        shutil.rmtree(oven.path)

    async def _stop(self, running: Running, *, keep_disk: bool) -> None:
        async with running.busy:
            if self._running.get(running.state.id) is not running:
                return
            try:
                if keep_disk and not _ended(running.vm):
                    await self._keep(running)
            finally:
                await self._halt(running)
            if not keep_disk:
                await asyncio.to_thread(delete_tree, running.folder.path)

    async def _keep(self, running: Running) -> None:
        """Save memory and devices beside the disk, and note that they belong to no run."""
        ground = await self._ground(running.state.spec.model_copy(update={"image": running.state.image_id}))
        folder = running.folder
        await asyncio.to_thread(partial(running.vm.move_out, folder.moved, without_memory=False))
        await asyncio.to_thread(self._bake, folder, running.state.model_copy(update={"id": new_id("s")}), ground)
        write_state(folder.path, running.state.model_copy(update={"owner": None}))

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

    def _of(self, machine: Machine) -> Running:
        running = self._running.get(machine.info.machine_id)
        if running is None:
            raise MachineLost(f"{machine.info.machine_id} is not a running machine of this process")
        return running

    def _strays(self) -> list[Stray]:
        machines = [stray_of(path, "machine", tree_bytes(path)) for path in folders_in(self._places.machines)]
        snapshots = [stray_of(path, "snapshot", tree_bytes(path)) for path in folders_in(self._places.snapshots)]
        return sorted(filter(None, [*machines, *snapshots]), key=lambda stray: stray.created)


def _ended(vm: Vm) -> bool:
    return vm_disk.has_ended(vm.process_fd)
