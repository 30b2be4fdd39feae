"""Virtual machines of this process: those that are lent, and those that were started ahead and wait for it."""

import asyncio
import secrets
import uuid
from dataclasses import dataclass, field

from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import DiskState
from vm_pool.network import parse_network
from vm_pool.providers import vm_disk
from vm_pool.providers.vm_channel import HostChannel, Identity
from vm_pool.providers.vm_hypervisor import Vm
from vm_pool.providers.vm_places import VmFolder


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

    @property
    def ended(self) -> bool:
        return vm_disk.has_ended(self.vm.process_fd)


class Spares:
    """Machines that were started ahead, by the snapshot that they were made of."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Running]] = {}

    def add(self, snapshot_id: str, running: Running) -> None:
        self._waiting.setdefault(snapshot_id, []).append(running)

    def take(self, snapshot_id: str) -> Running | None:
        """The one that waited longest; None when there is none. It may have ended."""
        waiting = self._waiting.get(snapshot_id)
        return waiting.pop(0) if waiting else None


def fresh_identity(state: DiskState) -> Identity:
    """Who a machine is from now on; its hostname is made of its id."""
    return Identity(
        token=secrets.token_urlsafe(24),
        machine_id=uuid.uuid4().hex,
        hostname=f"desktop-{state.id[2:]}",
        size=f"{state.spec.width}x{state.spec.height}",
        egress=parse_network(state.spec.network).by_proxy,
    )
