"""The `docker` provider: desktops in containers of our own images, controlled by a socket like sandboxes.

Unlike a sandbox a container outlives a killed run; it goes on until `revive` takes it over or `pool gc` removes it.
Machines share the host's kernel; work that is not trusted belongs in a virtual machine.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vm_pool import images
from vm_pool.boot_report import evidence_in, explained, printable
from vm_pool.disk import delete_tree
from vm_pool.egress import Exits
from vm_pool.errors import BootTimeout, MachineError, MachineLost
from vm_pool.framebuffer import FRAMEBUFFER_NAME
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_code import guest_code, machine_info
from vm_pool.host_processes import descendants, unless_it_ends
from vm_pool.local_state import (
    DiskState,
    MachineFolder,
    Places,
    default_places,
    make_folder_for_machine,
    make_passage,
    new_id,
    state_of_new,
    write_state,
)
from vm_pool.machine import Machine
from vm_pool.network import parse_network
from vm_pool.provider import CAPABILITIES, Evidence, Footprint, Snapshot, Spec, Stray
from vm_pool.providers import docker_container as container
from vm_pool.providers import docker_image, docker_strays, keeping
from vm_pool.providers.docker_daemon import Daemon, NotInDocker, aside
from vm_pool.providers.machines import Machines
from vm_pool.providers.sandbox_seccomp import filter_bytes
from vm_pool.relaunch import Programs, programs_of, relaunch
from vm_pool.runtime_folder import make_runtime, read_token
from vm_pool.shield import shielded


class _Ready(NamedTuple):
    """What a machine is made of."""

    image: images.Image
    reference: str
    """In the daemon."""
    guest: Path


@dataclass
class _Running:
    machine: GuestMachine
    pid: int
    """Of its first process, on this host."""
    folder: MachineFolder
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class DockerProvider:
    """Containers of one daemon. `host` is its address; None: `DOCKER_HOST`, else Docker's usual socket."""

    name = "docker"
    birth_mib = 80
    capabilities = CAPABILITIES - {"hostname"}
    """All are called `desktop`, as sandboxes are."""

    def __init__(self, *, host: str | None = None, places: Places | None = None, boot_timeout_s: float = 60.0) -> None:
        self.daemon = Daemon(host)
        self._places = places or default_places("docker")
        self._boot_timeout_s = boot_timeout_s
        self._exits = Exits()
        self._machines = Machines[_Running](keep=_keep, halt=self._halt, clear=self._clear, delete=self._delete)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        await aside(self._places.make)
        async with self._machines.ended_after():
            yield

    async def boot(self, spec: Spec) -> Machine:
        ready = await aside(self._prepare, spec)
        return await self._start_new(state_of_new(new_id("m"), spec, ready.image.id), ready)

    async def snapshot(self, machine: Machine) -> Snapshot:
        running = self._machines.of(machine)
        state = keeping.state_of_snapshot(running.state, await programs_of(running.machine))
        try:
            await shielded(aside(self._save, running.state.id, state))
        except BaseException:
            await shielded(aside(self._remove_snapshot, state.id))
            raise
        return keeping.snapshot_of(state, self.name, includes_memory=False)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        saved = await aside(keeping.saved_state, self._places.snapshot(snapshot.snapshot_id))
        spec = keeping.spec_of_fork(saved, labels)
        ready = await aside(self._prepare, spec)
        ready = ready._replace(reference=container.snapshot_reference(saved.id))
        try:
            return await self._start_new(keeping.state_of_fork(spec, saved), ready)
        except NotInDocker as error:
            raise keeping.no_snapshot(snapshot.snapshot_id) from error

    async def revive(self, machine_id: str) -> Machine:
        if running := self._machines.get(machine_id):
            if await aside(container.running_pid, self.daemon, machine_id) == running.pid:
                return running.machine
            await shielded(self._machines.halt(running))
        folder = self._places.machine(machine_id)
        kept = await aside(keeping.kept_state, folder.disk)
        return await self._take_over(folder, kept)

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        await self._machines.stop(machine.info.machine_id, keep_disk=keep_disk)

    async def drop(self, snapshot: Snapshot) -> None:
        await shielded(aside(self._remove_snapshot, snapshot.snapshot_id))

    async def strays(self) -> list[Stray]:
        return await aside(docker_strays.find, self.daemon, self._places)

    async def remove(self, stray: Stray) -> None:
        if not await self._machines.stop(stray.id):
            await shielded(aside(self._remove_stray, stray))

    def process_ids(self, machine: Machine) -> set[int]:
        """Host process ids of everything that runs in a machine, for measuring."""
        return descendants(self._machines.of(machine).pid)

    async def evidence(self, machine_id: str) -> Evidence:
        said = await aside(container.log_tail, self.daemon, machine_id)
        folder = self._places.machine(machine_id)
        seen, token = await aside(evidence_in, folder), await aside(read_token, folder)
        return seen.model_copy(update={"log": printable(said, without=token or "")})

    async def footprint(self) -> Footprint:
        return await aside(docker_strays.footprint, self.daemon, self._places)

    def _prepare(self, spec: Spec) -> _Ready:
        """Everything that can be refused before anything is made. Blocks."""
        parse_network(spec.network)
        image = images.find(spec.image)
        self.daemon.check()
        self._places.make()
        reference = docker_image.ensure(self.daemon, self._places, image)
        return _Ready(image, reference, guest_code(self._places.guests, image))

    async def _start_new(self, state: DiskState, ready: _Ready) -> Machine:
        folder = self._places.machine(state.id)
        async with self._machines.making(state.id):
            token = await shielded(aside(self._make_folders, folder, state))
            pid = await shielded(aside(self._make_container, state, ready))
            return await self._attach(folder, state, token, pid)

    async def _take_over(self, folder: MachineFolder, kept: DiskState) -> Machine:
        """Attach to a container that runs and answers, else start it again."""
        state = await aside(keeping.taken_over, folder, kept)
        pid = await aside(container.running_pid, self.daemon, state.id)
        if pid is None:
            raise MachineLost(f"{state.id}: its container is gone from the daemon at {self.daemon.host}")
        await aside(write_state, folder.disk, state)
        async with self._machines.restarting(state.id):
            if pid and (token := await aside(read_token, folder)):
                with suppress(MachineError, BootTimeout):
                    alive = state.model_copy(update={"programs": Programs()})
                    return await self._attach(folder, alive, token, pid)
            return await self._restart(folder, state)

    async def _restart(self, folder: MachineFolder, state: DiskState) -> Machine:
        await shielded(self._machines.undo(state.id))
        await aside(self._prepare, state.spec.model_copy(update={"image": state.image_id}))
        token = await shielded(aside(_make_runtime, folder))
        pid = await shielded(aside(container.start_again, self.daemon, state.id))
        return await self._attach(folder, state, token, pid)

    async def _attach(self, folder: MachineFolder, state: DiskState, token: str, pid: int) -> GuestMachine:
        """Wait for a started container's desktop and for the programs it had."""
        info, framebuffer = machine_info(state, self.name), folder.frames / FRAMEBUFFER_NAME
        machine = GuestMachine(info, socket=folder.socket, token=token, framebuffer=framebuffer)
        self._machines.add(_Running(machine, pid, folder, state))

        def failure() -> MachineLost:
            words = container.last_words(self.daemon, state.id)
            return MachineLost(f"the desktop session ended while it started: {words}")

        async with explained(self, state.id):
            await unless_it_ends(machine.ready(self._boot_timeout_s), pid, failure)
            self._exits.open(state.id, parse_network(state.spec.network), folder.egress, folder.egress_log)
            await relaunch(machine, state.programs)
        return machine

    def _make_folders(self, folder: MachineFolder, state: DiskState) -> str:
        """Returns the token of the new machine. Blocks."""
        make_passage(folder.disk)
        write_state(folder.disk, state)
        make_folder_for_machine(folder.journal, 0o755)
        return _make_runtime(folder)

    def _make_container(self, state: DiskState, ready: _Ready) -> int:
        return container.start_new(
            self.daemon,
            state,
            self._places.machine(state.id),
            image=ready.reference,
            guest_code=ready.guest,
            place=self._places.state,
        )

    def _save(self, machine_id: str, state: DiskState) -> None:
        """The folder first: what is cut short is then found by its name. Blocks."""
        folder = self._places.snapshot(state.id)
        make_passage(folder)
        write_state(folder, state)
        container.commit(self.daemon, machine_id, state, self._places.state)

    async def _halt(self, running: _Running) -> None:
        """End its processes and free all but the disk."""
        await self._exits.close(running.state.id)
        await running.machine.aclose()
        await self._clear(running.state.id)

    async def _clear(self, machine_id: str) -> None:
        await aside(container.halt, self.daemon, machine_id)
        await aside(delete_tree, self._places.machine(machine_id).runtime)

    async def _delete(self, machine_id: str) -> None:
        await aside(self._remove_machine, machine_id)

    def _remove_machine(self, machine_id: str) -> None:
        """The folder that says whose it is goes last. Blocks."""
        container.remove(self.daemon, machine_id)
        folder = self._places.machine(machine_id)
        delete_tree(folder.runtime)
        delete_tree(folder.disk)
        container.prune(self.daemon, self._places.state)

    def _remove_snapshot(self, snapshot_id: str) -> None:
        container.remove_snapshot(self.daemon, snapshot_id, self._places.state)
        delete_tree(self._places.snapshot(snapshot_id))

    def _remove_stray(self, stray: Stray) -> None:
        if stray.kind == "machine":
            self._remove_machine(stray.id)
        elif stray.kind == "snapshot":
            self._remove_snapshot(stray.id)
        elif stray.kind == "network":
            container.remove_network(self.daemon, stray.path)
        else:
            docker_image.remove(self.daemon, stray.path)


async def _keep(running: _Running) -> None:
    """Note what `revive` needs, and that the disk belongs to no run."""
    state = await keeping.given_up(running.machine, running.folder, running.state)
    await aside(write_state, running.folder.disk, state)


def _make_runtime(folder: MachineFolder) -> str:
    """Returns the token of the machine that is to start. Blocks."""
    token = secrets.token_urlsafe(24)
    make_runtime(folder, token)
    folder.call_filter.write_bytes(filter_bytes())
    folder.call_filter.chmod(0o444)
    return token
