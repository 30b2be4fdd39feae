"""The `libvirt-disk` provider: virtual machines from disks that others made, with OSWorld's guest server on them.

`Spec.image` is the path of a .qcow2, or of a .toml about one: see `foreign_disk`. A machine is used by the routes of
its guest server, which a port of this host's loopback interface leads to. A snapshot is its disk, memory and devices; a
fork loads them. What tells copies apart inside (names, keys, clocks) is the guest's own business and stays equal.
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

from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.errors import BootTimeout, ConfigError, HostUnfit, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import DiskState, folders_in, new_id, read_state, state_of_new, stray_of, write_state
from vm_pool.machine import Machine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.owner import this_process
from vm_pool.provider import Snapshot, Spec, Stray
from vm_pool.providers import keeping, vm_disk
from vm_pool.providers.foreign_disk import ForeignDisk, read_foreign_disk
from vm_pool.providers.foreign_domain import ForeignDomain, UefiFiles, forwarded_port
from vm_pool.providers.foreign_machine import CardMachine
from vm_pool.providers.remote_guest import attach
from vm_pool.providers.vm_accel import why_no_kvm
from vm_pool.providers.vm_hypervisor import Hypervisor, Vm
from vm_pool.providers.vm_places import INSTALL, VmFolder, VmPlaces, default_vm_places
from vm_pool.shield import shielded

_EMULATOR = "qemu-system-x86_64"
_FIRMWARE = Path("/usr/share/OVMF")
_RESTORE_S = 120.0
"""How long the guest server of a fork may take to answer."""


@dataclass
class _Running:
    """A machine of this process."""

    machine: GuestMachine | OSWorldMachine
    vm: Vm
    folder: VmFolder
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is saved or stopped."""


class LibvirtDiskProvider:
    """Machines end with `session`, or with `stop`; those of a process that was killed are strays."""

    name = "libvirt-disk"
    birth_mib = 1024
    capabilities = frozenset({"image", "fresh", "snapshot", "fork", "keep_disk", "labels", "isolation"})

    def __init__(self, *, places: VmPlaces | None = None) -> None:
        self._places = places or VmPlaces(default_vm_places().root.with_name(self.name))
        self._running: dict[str, _Running] = {}
        self._hypervisor: Hypervisor | None = None
        self._opening = asyncio.Lock()

    def session(self) -> AbstractAsyncContextManager[None]:
        return self._session()

    async def boot(self, spec: Spec) -> Machine:
        what = await self._ground(spec)
        spec = spec.model_copy(update={"image": _absolute(spec.image)})
        return await self._start_new(state_of_new(new_id("m"), spec, spec.image), what, saved=None)

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._of(machine)
        noted = {"kind": "snapshot", "id": new_id("s"), "created": datetime.now(UTC), "owner": this_process()}
        state = running.state.model_copy(update=noted)
        folder = self._places.snapshot(state.id)
        try:
            async with running.busy:
                await shielded(asyncio.to_thread(self._save, running, folder, state))
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise
        return Snapshot(
            snapshot_id=state.id, provider=self.name, image=state.image_id, includes_memory=True, ttl_s=state.spec.ttl_s
        )

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = read_state(folder.path)
        if saved is None:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r}; list what there is with: agent-s3 pool ls")
        spec = saved.spec.model_copy(update={"labels": {**saved.spec.labels, **(labels or {})}})
        what = await self._ground(spec)
        return await self._start_new(state_of_new(new_id("m"), spec, spec.image), what, saved=folder)

    async def revive(self, machine_id: str) -> Machine:
        """A machine that was kept comes back with its programs as they were; one whose process was killed does not."""
        if running := self._running.get(machine_id):
            if not vm_disk.has_ended(running.vm.process_fd):
                return running.machine
            await shielded(self._stop(running, keep_disk=False))
        folder = self._places.machine(machine_id)
        state = read_state(folder.path)
        if state is None or not folder.device.exists():
            raise MachineLost(f"{machine_id}: no memory of it was kept in {self._places.machines}")
        if state.owner and state.owner.alive and state.owner.pid != os.getpid():
            raise MachineLost(f"{machine_id} belongs to the running process {state.owner.pid}")
        what = await self._ground(state.spec)
        expires = datetime.now(UTC) + timedelta(seconds=state.spec.ttl_s)
        owned = state.model_copy(update={"owner": this_process(), "expires": expires})
        write_state(folder.path, owned)
        try:
            machine = await self._start(folder, owned, what, saved=folder)
        except BaseException:
            await shielded(self._undo_start(folder))
            write_state(folder.path, state)
            raise
        await asyncio.to_thread(vm_disk.forget_memory, folder)
        return machine

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        if running := self._running.get(machine.info.machine_id):
            await shielded(self._stop(running, keep_disk=keep_disk))

    async def drop(self, snapshot: Snapshot) -> None:
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

    async def _ground(self, spec: Spec) -> ForeignDisk:
        """Everything that can be refused before anything is made."""
        if spec.network != "none":
            raise ConfigError(f"machines from others' disks have no network {spec.network!r}; use 'none'")
        what = await asyncio.to_thread(_prepare, spec.image)
        async with self._opening:
            if self._hypervisor is None:
                self._hypervisor = await asyncio.to_thread(self._open)
        return what

    def _open(self) -> Hypervisor:
        self._places.make()
        self._places.sweep_hosts()
        return Hypervisor.shared(self._places)

    async def _start_new(self, state: DiskState, what: ForeignDisk, *, saved: VmFolder | None) -> Machine:
        """Make a disk and start on it; nothing is left when that fails or is cancelled at any point."""
        folder = self._places.machine(state.id)
        try:
            await shielded(asyncio.to_thread(_make, folder, state, what, saved))
            return await self._start(folder, state, what, saved=saved)
        except BaseException:
            await shielded(self._undo_start(folder))
            await shielded(asyncio.to_thread(delete_tree, folder.path))
            raise

    async def _start(self, folder: VmFolder, state: DiskState, what: ForeignDisk, *, saved: VmFolder | None) -> Machine:
        assert self._hypervisor is not None
        domain = _domain(folder, state, what, incoming=saved is not None)
        vm = await shielded(asyncio.to_thread(self._hypervisor.start, domain))
        try:
            if saved:
                await shielded(asyncio.to_thread(partial(vm.move_in, saved.device, without_memory=False)))
            await asyncio.to_thread(vm.resume)
            machine = await self._attach(vm, folder, state, what, _RESTORE_S if saved else what.boot_timeout_s)
        except BaseException:
            await shielded(asyncio.to_thread(vm.end))
            raise
        self._running[state.id] = _Running(machine, vm, folder, state)
        return machine

    async def _attach(
        self, vm: Vm, folder: VmFolder, state: DiskState, what: ForeignDisk, timeout_s: float
    ) -> GuestMachine | OSWorldMachine:
        port = forwarded_port(await asyncio.to_thread(vm.monitor, "info usernet"), what.port)
        if port is None:
            raise MachineLost(f"{state.id}: QEMU forwards no port to its guest server")
        url = f"http://127.0.0.1:{port}"
        known = {"provider": self.name, "image": state.image_id}
        try:
            machine = await attach(url, token="", machine_id=state.id, timeout_s=timeout_s, known=known)
        except BootTimeout as error:
            raise BootTimeout(f"{error}; {vm_disk.last_words(folder)}") from error
        if what.screen == "server":
            return machine
        await machine.aclose()
        return CardMachine(machine.info, url=url, draw=vm.draw, picture=folder.screen)

    def _save(self, running: _Running, folder: VmFolder, state: DiskState) -> None:
        """It stands still while it is saved, and goes on whatever happened."""
        vm_disk.make_folder(folder, state)
        try:
            running.vm.move_out(folder.device, without_memory=False)
            _copy(running.folder, folder)
        finally:
            with suppress(MachineLost):  # its own death is what the caller hears of
                running.vm.resume()

    async def _stop(self, running: _Running, *, keep_disk: bool) -> None:
        async with running.busy:
            if self._running.get(running.state.id) is not running:
                return
            try:
                if keep_disk and not vm_disk.has_ended(running.vm.process_fd):
                    move_out = partial(running.vm.move_out, running.folder.device, without_memory=False)
                    await asyncio.to_thread(move_out)
                    write_state(running.folder.path, running.state.model_copy(update={"owner": None}))
            finally:
                await running.machine.aclose()
                await asyncio.to_thread(running.vm.end)
                self._running.pop(running.state.id, None)
            if not keep_disk:
                await asyncio.to_thread(delete_tree, running.folder.path)

    async def _undo_start(self, folder: VmFolder) -> None:
        """A start that is cancelled may have a process that nobody holds."""
        await asyncio.to_thread(vm_disk.end_elsewhere, folder.path)

    def _of(self, machine: Machine) -> _Running:
        running = self._running.get(machine.info.machine_id)
        if running is None:
            raise MachineLost(f"{machine.info.machine_id} is not a running machine of this process")
        return running

    def _strays(self) -> list[Stray]:
        machines = [stray_of(path, "machine", tree_bytes(path)) for path in folders_in(self._places.machines)]
        snapshots = [stray_of(path, "snapshot", tree_bytes(path)) for path in folders_in(self._places.snapshots)]
        return sorted(filter(None, [*machines, *snapshots]), key=lambda stray: stray.created)


def _absolute(image: str) -> str:
    return str(Path(image).absolute())


def _prepare(image: str) -> ForeignDisk:
    """Raises: `ConfigError`, `HostUnfit` with the command that mends it."""
    what = read_foreign_disk(image)
    if shutil.which(_EMULATOR) is None:
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
        emulator=Path(shutil.which(_EMULATOR) or _EMULATOR),
        what=what,
        memory_mib=what.memory_mib or state.spec.memory_mib or Spec().memory_mib,
        cpus=what.cpus or max(1, round(state.spec.cpus)),
        disk=folder.disk,
        uefi=UefiFiles(_firmware("CODE"), _variables(folder)) if what.firmware == "uefi" else None,
        console=folder.console,
        incoming=incoming,
        notes={**state.labels, "owner": str(os.getpid()), "state": str(folder.path), "started": str(int(time.time()))},
    )
