"""A virtual machine of this process: who it is, its channel, and waiting until its guest server answers."""

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from vm_pool.errors import BootTimeout, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_code import machine_info
from vm_pool.host_processes import unless_it_ends
from vm_pool.local_state import DiskState
from vm_pool.network import parse_network
from vm_pool.providers import vm_disk, vm_screen
from vm_pool.providers.vm_channel import HostChannel, Identity
from vm_pool.providers.vm_handle import Vm
from vm_pool.providers.vm_places import VmFolder


@dataclass
class Running:
    """Its channel need not be open yet."""

    machine: GuestMachine
    vm: Vm
    channel: HostChannel
    folder: VmFolder
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ready(self, timeout_s: float) -> None:
        """Wait until it has taken its identity and answers.

        Raises: `BootTimeout`, `MachineLost` when it ends instead, both with its last words.
        """
        await unless_it_ends(self._answers(timeout_s), self.vm.pid, self._lost)

    async def _answers(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self.channel.ready()
        except TimeoutError as error:
            words = vm_disk.last_words(self.folder)
            raise BootTimeout(f"{self.state.id} said nothing within {timeout_s:g} s; {words}") from error
        except MachineLost as error:
            raise self._lost() from error
        await self.machine.ready(max(1.0, deadline - time.monotonic()))

    def _lost(self) -> MachineLost:
        return MachineLost(f"{self.state.id} ended while it started; {vm_disk.last_words(self.folder)}")


def fresh_identity(state: DiskState) -> Identity:
    """Who a machine is from now on; its hostname is made of its id."""
    return Identity(
        token=secrets.token_urlsafe(24),
        machine_id=uuid.uuid4().hex,
        hostname=f"desktop-{state.id[2:]}",
        size=f"{state.spec.width}x{state.spec.height}",
        egress=parse_network(state.spec.network).by_proxy,
    )


def channel_of(state: DiskState, folder: VmFolder, port: Path) -> HostChannel:
    others = {b"egress": folder.egress} if parse_network(state.spec.network).by_proxy else {}
    return HostChannel(port, folder.socket, others=others)


def client_of(state: DiskState, folder: VmFolder, identity: Identity, provider: str) -> GuestMachine:
    """Its screen's file must be there."""
    return GuestMachine(
        machine_info(state, provider),
        socket=folder.socket,
        token=identity.token,
        framebuffer=folder.screen,
        framebuffer_start=vm_screen.picture_start(folder.screen),
    )
