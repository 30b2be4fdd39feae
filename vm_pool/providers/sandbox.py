"""The `sandbox` provider: desktops in bubblewrap over one read-only tree.

Ready in about 0.2 s. Machines share the host's kernel; work that is not trusted belongs in a virtual machine.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path

from vm_pool import images
from vm_pool.boot_report import evidence_in, explained
from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.disk_strays import strays_in
from vm_pool.egress import Exits
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.framebuffer import FRAMEBUFFER_NAME
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_code import guest_code, machine_info
from vm_pool.host_processes import descendants, unless_it_ends
from vm_pool.images.store import being_built, images_dir
from vm_pool.local_state import (
    DiskState,
    MachineFolder,
    Places,
    default_places,
    folders_in,
    new_id,
    state_of_new,
    write_state,
)
from vm_pool.machine import Machine
from vm_pool.network import check_network, parse_network
from vm_pool.provider import CAPABILITIES, Evidence, Footprint, Snapshot, Spec, Stray
from vm_pool.providers import keeping, sandbox_disk, sandbox_launch
from vm_pool.providers.machines import Machines
from vm_pool.providers.sandbox_cgroup import (
    Group,
    Hierarchy,
    Limits,
    existing_group,
    find_hierarchy,
    group_folders,
    make_group,
)
from vm_pool.providers.sandbox_machine import Running, end, end_elsewhere, standing_still, start_failure
from vm_pool.providers.sandbox_seccomp import filter_bytes
from vm_pool.relaunch import programs_of, relaunch
from vm_pool.runtime_folder import make_runtime
from vm_pool.shield import shielded


class SandboxProvider:
    """Machines die with the process that made them; their disks stay until `stop`, or until `remove` as strays."""

    name = "sandbox"
    birth_mib = 64
    capabilities = CAPABILITIES - {"hostname"}
    """All are called `desktop`: a fork's prompts and window titles look like those of its original."""

    def __init__(self, *, places: Places | None = None, boot_timeout_s: float = 30.0) -> None:
        self._places = places or default_places()
        self._boot_timeout_s = boot_timeout_s
        self._guest_codes: dict[str, Path] = {}
        self._exits = Exits()
        self._machines = Machines[Running](keep=_keep, halt=self._halt, clear=self._clear, delete=self._delete)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self._places.make)
        async with self._machines.ended_after():
            yield

    async def boot(self, spec: Spec) -> Machine:
        image = await asyncio.to_thread(self._prepare, spec)
        return await self._start_new(state_of_new(new_id("m"), spec, image.id), image)

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._machines.of(machine)
        state = keeping.state_of_snapshot(running.state, await programs_of(running.machine))
        folder = self._places.snapshot(state.id)
        try:
            async with standing_still(running.group):
                await shielded(asyncio.to_thread(sandbox_disk.save_disk, running.folder.upper, folder, state))
        except BaseException:
            await shielded(asyncio.to_thread(delete_tree, folder))
            raise
        return keeping.snapshot_of(state, self.name, includes_memory=False)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        state, image, upper = await self._to_fork(snapshot, labels)
        return await self._start_new(state, image, copy_of=upper)

    async def revive(self, machine_id: str) -> Machine:
        if running := self._machines.get(machine_id):
            if running.process.poll() is None:
                return running.machine
            await shielded(self._machines.halt(running))
        folder = self._places.machine(machine_id)
        kept = await asyncio.to_thread(keeping.kept_state, folder.disk)
        return await self._restart(folder, kept)

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        await self._machines.stop(machine.info.machine_id, keep_disk=keep_disk)

    async def drop(self, snapshot: Snapshot) -> None:
        await shielded(asyncio.to_thread(delete_tree, self._places.snapshot(snapshot.snapshot_id)))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(self._strays)

    async def remove(self, stray: Stray) -> None:
        if not await self._machines.stop(stray.id):
            await shielded(self._remove_stray(stray))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process ids of everything that runs in a machine, for measuring."""
        return descendants(self._machines.of(machine).process.pid)

    async def evidence(self, machine_id: str) -> Evidence:
        return await asyncio.to_thread(evidence_in, self._places.machine(machine_id))

    async def footprint(self) -> Footprint:
        return await asyncio.to_thread(self._footprint)

    async def _to_fork(
        self, snapshot: Snapshot, labels: Mapping[str, str] | None
    ) -> tuple[DiskState, images.Image, Path]:
        """Of a fork that is to be: its state, its image, and the saved disk that it begins with."""
        folder = self._places.snapshot(snapshot.snapshot_id)
        saved = keeping.saved_state(folder)
        spec = keeping.spec_of_fork(saved, labels)
        image = await asyncio.to_thread(self._prepare, spec)
        return keeping.state_of_fork(spec, saved), image, folder / "upper"

    @cached_property
    def _hierarchy(self) -> Hierarchy | None:
        return find_hierarchy()

    @cached_property
    def _filter(self) -> bytes:
        return filter_bytes()

    def _prepare(self, spec: Spec) -> images.Image:
        """Everything that can be refused before anything is made. Blocks."""
        for tool, package in sandbox_launch.TOOLS.items():
            if shutil.which(tool) is None:
                raise HostUnfit(f"{tool} is missing; run: sudo apt-get install -y {package}")
        check_network(spec.network, "the sandbox")
        self._places.make()
        image = images.find(spec.image)
        if image.is_vm:
            raise ConfigError(f"{image.id} is for virtual machines; sandboxes start from {image.name[:-3]!r}")
        if image.id not in self._guest_codes:
            sandbox_disk.check_reachable(image.rootfs)
            sandbox_disk.check_reachable(self._places.machines)
            sandbox_disk.check_reachable(self._places.snapshots)
            self._guest_codes[image.id] = guest_code(self._places.guests, image)
        return image

    async def _start_new(self, state: DiskState, image: images.Image, *, copy_of: Path | None = None) -> Machine:
        """On a fresh disk, or on a copy of a saved one."""
        folder = self._places.machine(state.id)
        async with self._machines.making(state.id):
            await shielded(asyncio.to_thread(sandbox_disk.make_disk, folder, state, image.rootfs, copy_of))
            return await self._start(folder, state, image)

    async def _restart(self, folder: MachineFolder, kept: DiskState) -> Machine:
        image = await asyncio.to_thread(self._prepare, kept.spec.model_copy(update={"image": kept.image_id}))
        state = await asyncio.to_thread(keeping.taken_over, folder, kept)
        await shielded(self._clear(state.id))
        await shielded(asyncio.to_thread(sandbox_disk.renew_disk, folder, state))
        async with self._machines.restarting(state.id):
            return await self._start(folder, state, image)

    async def _start(self, folder: MachineFolder, state: DiskState, image: images.Image) -> GuestMachine:
        """Start the sandbox on a disk that is there, wait for its desktop and for the programs it had."""
        token = secrets.token_urlsafe(24)
        await shielded(asyncio.to_thread(make_runtime, folder, token))
        group = self._make_group(state)
        launch = sandbox_launch.Launch(image.rootfs, self._guest_codes[image.id], folder, state.spec, group)
        process = await self._launch(launch)
        info, framebuffer = machine_info(state, self.name), folder.frames / FRAMEBUFFER_NAME
        machine = GuestMachine(info, socket=folder.socket, token=token, framebuffer=framebuffer)
        self._machines.add(Running(machine, process, folder, group, image, state))
        async with explained(self, state.id):
            await unless_it_ends(machine.ready(self._boot_timeout_s), process.pid, lambda: self._start_failure(folder))
            self._exits.open(state.id, parse_network(state.spec.network), folder.egress, folder.egress_log)
            await self._bring_back(machine, state)
        return machine

    async def _launch(self, launch: sandbox_launch.Launch) -> "subprocess.Popen[bytes]":
        return sandbox_launch.start(launch, self._filter)

    def _start_failure(self, folder: MachineFolder) -> Exception:
        return start_failure(folder.log)

    async def _bring_back(self, machine: GuestMachine, state: DiskState) -> None:
        """Of what its original ran, all that does not run yet."""
        await relaunch(machine, state.programs)

    def _make_group(self, state: DiskState) -> Group | None:
        if self._hierarchy is None:
            return None
        spec = state.spec
        limits = Limits(memory_mib=spec.memory_mib, pids=spec.pids, cpus=spec.cpus)
        return make_group(self._hierarchy, self._group_name(state.id), limits)

    def _group_name(self, machine_id: str) -> str:
        """With a mark of the state folder: groups of all states lie side by side."""
        place = hashlib.sha256(os.fsencode(self._places.machines)).hexdigest()
        return f"{machine_id}.{place[:8]}"

    async def _halt(self, running: Running) -> None:
        """End its processes and free all but the disk."""
        try:
            await self._exits.close(running.state.id)
            await running.machine.aclose()
        finally:
            await end(running)
        await self._clear(running.state.id)

    async def _clear(self, machine_id: str) -> None:
        """What of a machine is not on its disk."""
        if self._hierarchy:
            await existing_group(self._hierarchy, self._group_name(machine_id)).remove()
        await asyncio.to_thread(delete_tree, self._places.machine(machine_id).runtime)

    async def _delete(self, machine_id: str) -> None:
        await asyncio.to_thread(delete_tree, self._places.machine(machine_id).disk)

    async def _remove_stray(self, stray: Stray) -> None:
        if stray.kind == "machine":
            if self._hierarchy:  # whoever was killed while it saved the machine left it standing still, and so undying
                existing_group(self._hierarchy, self._group_name(stray.id)).thaw()
            await asyncio.to_thread(end_elsewhere, self._places.machine(stray.id))
            await self._machines.discard(stray.id)
        elif stray.kind == "build":
            await asyncio.to_thread(images.rm_remains, stray.id)
        else:
            await asyncio.to_thread(delete_tree, self._places.snapshot(stray.id))

    def _footprint(self) -> Footprint:
        runtimes = frozenset(str(path) for path in self._places.runtimes())
        groups = group_folders(self._hierarchy, self._group_name("*")) if self._hierarchy else []
        return Footprint(
            folders=(self._places.machines, self._places.snapshots),
            named={
                "files": runtimes,
                "cgroups": frozenset(map(str, groups)),
            },
        )

    def _strays(self) -> list[Stray]:
        """Disks and snapshots, runtime folders whose disk is gone, and image builds that were cut short."""
        found = strays_in(self._places.machine_folders().values(), folders_in(self._places.snapshots))
        found += [_build_stray(image) for image in images.ls() if image.state == "partial" and _is_ours(image)]
        return sorted(found, key=lambda stray: stray.created)


async def _keep(running: Running) -> None:
    """Note what `revive` needs, and that the disk belongs to no run."""
    state = await keeping.given_up(running.machine, running.folder, running.state)
    await asyncio.to_thread(write_state, running.folder.disk, state)


def _is_ours(image: images.Image) -> bool:
    return images_dir() in image.path.parents


def _build_stray(image: images.Image) -> Stray:
    at_work = being_built(image.id)
    return Stray(
        kind="build",
        id=image.id,
        owner_alive=at_work,
        created=image.created,
        expires=None if at_work else image.created,
        path=str(image.path),
        bytes_on_disk=tree_bytes(image.path),
    )
