"""The `libvirt-disk` provider: virtual machines from disks that others made, with OSWorld's guest server on them.

`Spec.image` is the path of a .qcow2, or of a .toml about one: see `foreign_disk`. A machine is used by the routes of
its guest server, which a port of this host's loopback interface leads to, and by its devices where that is quicker. A
snapshot is its disk, memory and devices; a fork loads them. What tells copies apart inside (names, keys, clocks) is the
guest's own business and stays equal.
"""

import asyncio
import secrets
import shutil
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vm_pool.boot_report import explained
from vm_pool.disk import delete_tree
from vm_pool.egress import Exits
from vm_pool.errors import BootTimeout, HostUnfit, MachineLost
from vm_pool.guest.egress import proxy_environment
from vm_pool.guest_client import GuestMachine
from vm_pool.host_processes import unless_it_ends
from vm_pool.local_state import DiskState, new_id, state_of_new, write_state
from vm_pool.machine import Machine
from vm_pool.network import check_network, parse_network
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.provider import Evidence, Snapshot, Spec, Stray
from vm_pool.providers import keeping, vm_disk, vm_strays
from vm_pool.providers.foreign_disk import ForeignDisk, read_foreign_disk
from vm_pool.providers.foreign_domain import ForeignDomain, UefiFiles
from vm_pool.providers.foreign_evidence import evidence_of
from vm_pool.providers.foreign_machine import Card, from_outside
from vm_pool.providers.foreign_network import TUNNEL_PORT, entry_at, port_of, start_relay
from vm_pool.providers.machines import Machines
from vm_pool.providers.remote_guest import attach
from vm_pool.providers.vm_accel import why_no_kvm
from vm_pool.providers.vm_cloning import EMULATOR
from vm_pool.providers.vm_handle import Vm
from vm_pool.providers.vm_lost import notes_of
from vm_pool.providers.vm_places import INSTALL, VmFolder, VmPlaces, default_vm_places
from vm_pool.providers.vm_use import HypervisorUse
from vm_pool.shield import shielded

_FIRMWARE = Path("/usr/share/OVMF")
_RESTORE_S = 120.0
"""How long the guest server of a fork may take to answer."""


@dataclass
class _Running:
    machine: GuestMachine | OSWorldMachine
    vm: Vm
    what: ForeignDisk
    folder: VmFolder
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Starting(NamedTuple):
    vm: Vm
    what: ForeignDisk


class LibvirtDiskProvider:
    """Machines end with `session`, or with `stop`; those of a process that was killed are strays."""

    name = "libvirt-disk"
    birth_mib = 1024
    capabilities = frozenset({"image", "fresh", "snapshot", "fork", "keep_disk", "labels", "isolation"})

    def __init__(self, *, places: VmPlaces | None = None, connection: str | None = None) -> None:
        """`connection`: by which libvirt, as for `LibvirtProvider`."""
        self._places = places or VmPlaces(default_vm_places().root.with_name(self.name))
        self._hypervisor = HypervisorUse(self._places, connection)
        self._machines = Machines[_Running](keep=self._keep, halt=self._halt, clear=self._clear, delete=self._delete)
        self._starting: dict[str, _Starting] = {}
        self._exits = Exits()

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self._places.make)
        async with self._hypervisor.ended_after(), self._machines.ended_after():
            yield

    async def boot(self, spec: Spec) -> Machine:
        what = await self._ground(spec)
        spec = spec.model_copy(update={"image": _absolute(spec.image)})
        return await self._start_new(state_of_new(new_id("m"), spec, spec.image), what, saved=None)

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._machines.of(machine)
        state = keeping.state_of_snapshot(running.state, running.state.programs)
        folder = self._places.snapshot(state.id)
        try:
            async with running.busy:
                await shielded(asyncio.to_thread(_save, running, folder, state))
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise
        return keeping.snapshot_of(state, self.name, includes_memory=True)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = keeping.saved_state(folder.path)
        spec = keeping.spec_of_fork(saved, labels)
        what = await self._ground(spec)
        return await self._start_new(keeping.state_of_fork(spec, saved), what, saved=folder)

    async def revive(self, machine_id: str) -> Machine:
        """A machine that was kept comes back with its programs as they were; one whose process was killed does not."""
        if running := self._machines.get(machine_id):
            if not running.vm.ended:
                return running.machine
            await self._machines.stop(machine_id)
        folder = self._places.machine(machine_id)
        kept = keeping.kept_state(folder.path)
        if not folder.device.exists():
            raise MachineLost(f"{machine_id}: no memory of it was kept in {self._places.machines}")
        what = await self._ground(kept.spec)
        with keeping.ours_if_it_starts(folder.path, kept) as state:
            async with self._machines.restarting(machine_id):
                machine = await self._start(folder, state, what, saved=folder)
        await asyncio.to_thread(vm_disk.forget_memory, folder)
        return machine

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        await self._machines.stop(machine.info.machine_id, keep_disk=keep_disk)

    async def drop(self, snapshot: Snapshot) -> None:
        await shielded(asyncio.to_thread(delete_tree, self._places.snapshot(snapshot.snapshot_id).path))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(vm_strays.find, self._places)

    async def remove(self, stray: Stray) -> None:
        if not await self._machines.stop(stray.id):
            await shielded(asyncio.to_thread(vm_strays.remove, self._places, self._hypervisor.choice, stray))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process id of a machine's QEMU, for measuring."""
        return {self._machines.of(machine).vm.pid}

    async def evidence(self, machine_id: str) -> Evidence:
        """Of one that does not run in this process its console alone."""
        found = self._machines.get(machine_id) or self._starting.get(machine_id)
        folder = self._places.machine(machine_id)
        with suppress(MachineLost):
            if found is not None and not found.vm.ended:
                url = f"http://127.0.0.1:{await port_of(found.vm, found.what.port)}"
                return await evidence_of(folder, machine_id, url=url, draw=found.vm.draw)
        return await evidence_of(folder, machine_id, url=None, draw=None)

    async def _ground(self, spec: Spec) -> ForeignDisk:
        """Everything that can be refused before anything is made."""
        check_network(spec.network, self.name)
        what = await asyncio.to_thread(_prepare, spec.image)
        await self._hypervisor.begin()
        return what

    async def _start_new(self, state: DiskState, what: ForeignDisk, *, saved: VmFolder | None) -> Machine:
        folder = self._places.machine(state.id)
        async with self._machines.making(state.id):
            await shielded(asyncio.to_thread(_make, folder, state, what, saved))
            return await self._start(folder, state, what, saved=saved)

    async def _start(self, folder: VmFolder, state: DiskState, what: ForeignDisk, *, saved: VmFolder | None) -> Machine:
        hypervisor = await self._hypervisor.begin()
        domain = _domain(folder, state, what, incoming=saved is not None)
        vm = await shielded(asyncio.to_thread(hypervisor.start, domain))
        self._starting[state.id] = _Starting(vm, what)
        try:
            if saved:
                await shielded(asyncio.to_thread(partial(vm.move_in, saved.device, without_memory=False)))
            await asyncio.to_thread(vm.resume)
            attaching = self._attach(vm, folder, state, what, _RESTORE_S if saved else what.boot_timeout_s)
            async with explained(self, state.id):
                machine = await unless_it_ends(attaching, vm.pid, partial(_ended, folder, state.id))
        except BaseException:
            await shielded(asyncio.to_thread(vm.end))
            raise
        finally:
            del self._starting[state.id]
        running = _Running(machine, vm, what, folder, state)
        self._machines.add(running)
        await self._let_out(running, begun=saved is not None)
        return machine

    async def _attach(
        self, vm: Vm, folder: VmFolder, state: DiskState, what: ForeignDisk, timeout_s: float
    ) -> GuestMachine | OSWorldMachine:
        url = f"http://127.0.0.1:{await port_of(vm, what.port)}"
        known = {"provider": self.name, "image": state.image_id}
        try:
            machine = await attach(url, token="", machine_id=state.id, timeout_s=timeout_s, known=known)
        except BootTimeout as error:
            raise BootTimeout(f"{error}; {vm_disk.last_words(folder)}") from error
        card = Card(vm.draw, folder.screen) if what.screen == "card" else None
        env = proxy_environment() if parse_network(state.spec.network).by_proxy else {}
        send = vm.send if what.input == "auto" else None
        return await from_outside(machine, url=url, card=card, send=send, env=env)

    async def _let_out(self, running: _Running, *, begun: bool) -> None:
        """Open the way that its network is. `begun`: its relay runs already, as it does in copies."""
        network = parse_network(running.state.spec.network)
        if not network.by_proxy:
            return
        if not begun:
            await start_relay(running.machine)
        port = await port_of(running.vm, TUNNEL_PORT)
        self._exits.open(running.state.id, network, entry_at(port), running.folder.egress_log)

    async def _keep(self, running: _Running) -> None:
        """Save memory and devices beside the disk, and note that they belong to no run."""
        if running.vm.ended:
            return
        await asyncio.to_thread(partial(running.vm.move_out, running.folder.device, without_memory=False))
        write_state(running.folder.path, running.state.model_copy(update={"owner": None}))

    async def _halt(self, running: _Running) -> None:
        try:
            await self._exits.close(running.state.id)
            await running.machine.aclose()
        finally:
            await asyncio.to_thread(running.vm.end)

    async def _clear(self, machine_id: str) -> None:
        """A start that is cancelled may have a process that nobody holds."""
        await asyncio.to_thread(vm_disk.end_elsewhere, self._places.machine(machine_id).path)

    async def _delete(self, machine_id: str) -> None:
        await asyncio.to_thread(delete_tree, self._places.machine(machine_id).path)


def _ended(folder: VmFolder, machine_id: str) -> MachineLost:
    return MachineLost(f"{machine_id} ended while it started; {vm_disk.last_words(folder)}")


def _save(running: _Running, folder: VmFolder, state: DiskState) -> None:
    """It stands still while it is saved, and goes on whatever happened."""
    vm_disk.make_folder(folder, state)
    try:
        running.vm.move_out(folder.device, without_memory=False)
        _copy(running.folder, folder)
    finally:
        with suppress(MachineLost):  # its own death is what the caller hears of
            running.vm.resume()


def _absolute(image: str) -> str:
    return str(Path(image).absolute())


def _prepare(image: str) -> ForeignDisk:
    """Raises: `ConfigError`, `HostUnfit` with the command that mends it."""
    what = read_foreign_disk(image)
    if shutil.which(EMULATOR) is None:
        raise HostUnfit(f"QEMU is missing; run: {INSTALL}")
    if what.firmware == "uefi" and not _firmware("CODE").exists():
        raise HostUnfit("UEFI firmware is missing; run: sudo apt-get install -y ovmf")
    if what.tpm and shutil.which("swtpm") is None:
        raise HostUnfit("swtpm is missing; run: sudo apt-get install -y swtpm swtpm-tools")
    return what


def _firmware(part: str) -> Path:
    return _FIRMWARE / f"OVMF_{part}_4M.fd"


def _variables(folder: VmFolder) -> Path:
    return folder.path / "variables"


def _make(folder: VmFolder, state: DiskState, what: ForeignDisk, saved: VmFolder | None) -> None:
    vm_disk.make_folder(folder, state)
    if saved:
        _copy(saved, folder)
        return
    vm_disk.overlay(what.disk, folder.disk)
    if what.firmware == "uefi":
        vm_disk.copy(_firmware("VARS"), _variables(folder))


def _copy(source: VmFolder, target: VmFolder) -> None:
    """All that a machine writes, its memory aside."""
    vm_disk.copy(source.disk, target.disk)
    if _variables(source).exists():
        vm_disk.copy(_variables(source), _variables(target))


def _domain(folder: VmFolder, state: DiskState, what: ForeignDisk, *, incoming: bool) -> ForeignDomain:
    return ForeignDomain(
        # A name of its own for each start: libvirt holds on to that of a machine that has ended for a while.
        name=f"{state.id}-{secrets.token_hex(2)}",
        uuid=str(uuid.uuid4()),
        generation=str(uuid.uuid4()),
        accel="kvm"
        if why_no_kvm(Path("/proc/cpuinfo").read_text(encoding="utf-8"), Path("/dev/kvm")) is None
        else "tcg",
        emulator=Path(shutil.which(EMULATOR) or EMULATOR),
        what=what,
        memory_mib=what.memory_mib or state.spec.memory_mib or Spec().memory_mib,
        cpus=what.cpus or max(1, round(state.spec.cpus)),
        disk=folder.disk,
        uefi=UefiFiles(_firmware("CODE"), _variables(folder)) if what.firmware == "uefi" else None,
        tunnels=TUNNEL_PORT if parse_network(state.spec.network).by_proxy else None,
        console=folder.console,
        incoming=incoming,
        notes=notes_of(state, folder.path),
    )
