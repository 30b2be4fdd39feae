"""The `osworld-docker` provider: OSWorld's own container (a virtual machine inside Docker), reached by its ports.

Built against its documented interface: the virtual disk at /System.qcow2; RAM_SIZE, CPU_CORES, DISK_SIZE and KVM in the
environment; OSWorld's server on port 5000, the screen on 8006, a browser's debugger on 9222, VLC on 8080. The ports are
published on this machine's loopback only, each on one that is free.
Source: OSWorld, `desktop_env/providers/docker/provider.py`.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from vm_pool.boot_report import explained, printable
from vm_pool.disk import delete_tree
from vm_pool.errors import ConfigError, GuestError, MachineLost
from vm_pool.local_state import (
    DiskState,
    Places,
    default_places,
    make_passage,
    new_id,
    state_of_new,
    write_state,
)
from vm_pool.machine import Machine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.provider import Evidence, Footprint, Snapshot, Spec, Stray
from vm_pool.providers import docker_container as container
from vm_pool.providers import docker_strays, keeping
from vm_pool.providers.docker_daemon import Daemon, NotInDocker, aside
from vm_pool.providers.machines import Machines
from vm_pool.shield import shielded
from vm_pool.types import MachineInfo

OFFICIAL_IMAGE = "happysixd/osworld-docker"
DISK_VARIABLE = "AGENT_S3_OSWORLD_DISK"
SERVER = 5000
PORTS = (SERVER, 8006, 9222, 8080)
"""Of the server, the screen in a browser, the guest's Chromium and its VLC."""
_LEAST_MEMORY_GIB = 4
_USUAL_CORES = 4


@dataclass
class _Running:
    machine: OSWorldMachine
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class OSWorldContainerProvider:
    """One virtual machine in a container for each `boot`.

    `Spec.image` is the container's image, `desktop` stands for OSWorld's own. `disk` is the virtual machine's, None:
    what AGENT_S3_OSWORLD_DISK names. It is mounted read-only. `host` is the daemon's address as for `docker`.
    """

    name = "osworld-docker"
    birth_mib = 2048
    capabilities = frozenset({"image", "fresh", "labels"})

    def __init__(
        self,
        *,
        disk: Path | None = None,
        host: str | None = None,
        places: Places | None = None,
        boot_timeout_s: float = 300.0,
    ) -> None:
        self._disk = disk
        self.daemon = Daemon(host)
        self._places = places or default_places(self.name)
        self._boot_timeout_s = boot_timeout_s
        self._machines = Machines[_Running](keep=self._keep, halt=self._halt, clear=self._clear, delete=self._delete)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        await aside(self._places.make)
        async with self._machines.ended_after():
            yield

    async def boot(self, spec: Spec) -> Machine:
        disk = await aside(self._prepare, spec)
        state = state_of_new(new_id("m"), spec, _reference(spec))
        async with self._machines.making(state.id):
            await shielded(aside(self._start, state, disk))
            return await self._attach(state)

    async def snapshot(self, machine: Machine) -> NoReturn:
        """Raises: `ConfigError` always."""
        raise ConfigError(_unsaved(machine.info.machine_id))

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> NoReturn:  # noqa: ARG002
        """Raises: `ConfigError` always."""
        raise ConfigError(_unsaved(snapshot.snapshot_id))

    async def revive(self, machine_id: str) -> Machine:
        """Attach to a container that runs, or start a kept one again: its virtual machine boots anew then."""
        if running := self._machines.get(machine_id):
            return running.machine
        folder = self._places.machine(machine_id).disk
        kept = await aside(keeping.kept_state, folder)
        pid = await aside(container.running_pid, self.daemon, machine_id)
        if pid is None:
            raise MachineLost(f"{machine_id}: its container is gone from the daemon at {self.daemon.host}")
        if pid == 0:
            await aside(container.start_again, self.daemon, machine_id)
        state = keeping.ours(kept)
        await aside(write_state, folder, state)
        try:
            return await self._attach(state)
        except BaseException:
            await shielded(self._machines.undo(machine_id))
            await aside(write_state, folder, kept.model_copy(update={"owner": None}))
            raise

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        await self._machines.stop(machine.info.machine_id, keep_disk=keep_disk)

    async def drop(self, snapshot: Snapshot) -> None:
        """There is never anything to drop."""

    async def strays(self) -> list[Stray]:
        found = await aside(docker_strays.find, self.daemon, self._places)
        return [stray for stray in found if stray.kind == "machine"]

    async def remove(self, stray: Stray) -> None:
        if not await self._machines.stop(stray.id):
            await shielded(self._delete(stray.id))

    async def ports(self, machine: Machine) -> Mapping[int, int]:
        """Of a machine: container port to port on 127.0.0.1, for those of `PORTS`."""
        return await aside(self._ports, machine.info.machine_id)

    async def evidence(self, machine_id: str) -> Evidence:
        return Evidence(log=printable(await aside(container.log_tail, self.daemon, machine_id)))

    async def footprint(self) -> Footprint:
        return await aside(docker_strays.footprint, self.daemon, self._places)

    def _prepare(self, spec: Spec) -> Path:
        """Everything that can be refused before anything is made. Returns the virtual disk. Blocks."""
        if spec.network != "bridge":
            raise ConfigError(f"OSWorld's container is reached by a network; ask for 'bridge', not {spec.network!r}")
        named = str(self._disk or os.environ.get(DISK_VARIABLE, ""))
        if not Path(named).is_file():
            raise ConfigError(f"no virtual disk at {named!r}; run: export {DISK_VARIABLE}=/path/to/Ubuntu.qcow2")
        self.daemon.check()
        self._places.make()
        try:
            with self.daemon.client("look for an image") as client:
                client.inspect_image(_reference(spec))
        except NotInDocker as error:
            raise ConfigError(
                f"the image {_reference(spec)} is not in Docker; run: docker pull {_reference(spec)}"
            ) from error
        return Path(named).absolute()

    def _start(self, state: DiskState, disk: Path) -> None:
        folder = self._places.machine(state.id).disk
        make_passage(folder)
        write_state(folder, state)
        container.make_network(self.daemon, "bridge")
        with self.daemon.client(f"start {state.id}") as client:
            client.create_container(
                image=_reference(state.spec),
                name=container.container_name(state.id),
                environment=environment(state.spec, kvm=Path("/dev/kvm").exists()),
                ports=list(PORTS),
                labels=container.labels_of(state, self._places.state),
                host_config=client.create_host_config(**_host_options(disk)),
            )
        container.start_again(self.daemon, state.id)

    async def _attach(self, state: DiskState) -> OSWorldMachine:
        ports = await aside(self._ports, state.id)
        if SERVER not in ports:
            words = await aside(container.last_words, self.daemon, state.id)
            raise MachineLost(f"{state.id} ended while it started: {words}")
        machine = OSWorldMachine(_info(state), url=f"http://127.0.0.1:{ports[SERVER]}")
        self._machines.add(_Running(machine, state))
        async with explained(self, state.id):
            await machine.ready(self._boot_timeout_s)
        frame = await machine.screenshot()
        if (frame.width, frame.height) != (state.spec.width, state.spec.height):
            wanted = f"{state.spec.width}x{state.spec.height}"
            raise GuestError(f"{state.id} has a screen of {frame.width}x{frame.height} px, not {wanted}; ask for that")
        return machine

    def _ports(self, machine_id: str) -> dict[int, int]:
        with self.daemon.client(f"look at {machine_id}") as client:
            facts = client.inspect_container(container.container_name(machine_id))
        found: dict[str, list[dict[str, str]] | None] = facts["NetworkSettings"]["Ports"] or {}
        return {int(key.partition("/")[0]): int(to[0]["HostPort"]) for key, to in found.items() if to}

    async def _keep(self, running: _Running) -> None:
        """Note that the disk belongs to no run."""
        folder = self._places.machine(running.state.id).disk
        await aside(write_state, folder, running.state.model_copy(update={"owner": None}))

    async def _halt(self, running: _Running) -> None:
        await running.machine.aclose()
        await self._clear(running.state.id)

    async def _clear(self, machine_id: str) -> None:
        await aside(container.halt, self.daemon, machine_id)

    async def _delete(self, machine_id: str) -> None:
        await aside(container.remove, self.daemon, machine_id)
        await aside(delete_tree, self._places.machine(machine_id).disk)


def environment(spec: Spec, *, kvm: bool) -> dict[str, str]:
    """What the container's start script reads; never less memory than OSWorld gives its own."""
    memory = max(_LEAST_MEMORY_GIB, -(-spec.memory_mib // 1024))
    cores = max(1, round(spec.cpus)) if spec.cpus else _USUAL_CORES
    given = {"DISK_SIZE": "32G", "RAM_SIZE": f"{memory}G", "CPU_CORES": str(cores)}
    return given if kvm else {**given, "KVM": "N"}


def _host_options(disk: Path) -> dict[str, Any]:
    """Its start script makes a network for the virtual machine, so it has more rights than our own containers."""
    kvm = ["/dev/kvm:/dev/kvm:rwm"] if Path("/dev/kvm").exists() else []
    return {
        "mounts": [{"Type": "bind", "Source": str(disk), "Target": "/System.qcow2", "ReadOnly": True}],
        "cap_add": ["NET_ADMIN"],
        "devices": kvm,
        "network_mode": container.network_name("bridge"),
        "port_bindings": dict.fromkeys(PORTS, ("127.0.0.1",)),
        "log_config": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
    }


def _reference(spec: Spec) -> str:
    return OFFICIAL_IMAGE if spec.image == "desktop" else spec.image


def _info(state: DiskState) -> MachineInfo:
    return MachineInfo(
        machine_id=state.id,
        provider=OSWorldContainerProvider.name,
        image=state.image_id,
        platform="linux",
        width=state.spec.width,
        height=state.spec.height,
        user="user",
        home="/home/user",
        capabilities=frozenset({"tree"}),
    )


def _unsaved(what: str) -> str:
    return f"{what}: OSWorld's container cannot be saved; boot one for each attempt"
