"""What machines from others' disks may reach: a relay in the guest, and tunnels to it from this host's proxy.

The network of such a machine stays closed. This host gets to one more port of it, where our relay waits for tunnels;
programs find a proxy on the guest's own loopback interface, as in machines of our images.
"""

import asyncio
import secrets

from vm_pool.egress import TcpEntry
from vm_pool.errors import MachineLost
from vm_pool.guest.egress import PORT
from vm_pool.guest.relay import GREETING_BYTES
from vm_pool.machine import Machine
from vm_pool.providers.foreign_domain import forwarded_port
from vm_pool.providers.vm_guest_code import GUEST_SOURCE
from vm_pool.providers.vm_handle import Vm

TUNNEL_PORT = 3129
"""Of the relay, inside."""


async def start_relay(machine: Machine) -> None:
    """By the guest's own Python; it goes on in copies of the machine. Raises: `MachineError`."""
    python = "python3" if machine.info.platform == "linux" else "python"
    source = (GUEST_SOURCE / "relay.py").read_text(encoding="utf-8")
    await machine.launch([python, "-c", source, str(TUNNEL_PORT), str(PORT)])


async def port_of(vm: Vm, guest_port: int) -> int:
    """Of this host, by which a port of a guest is reached. Raises: `MachineLost`."""
    port = forwarded_port(await asyncio.to_thread(vm.monitor, "info usernet"), guest_port)
    if port is None:
        raise MachineLost(f"{vm.name}: QEMU forwards no port to its port {guest_port}")
    return port


def entry_at(port: int) -> TcpEntry:
    """For the present life of a machine whose relay is reached by that port of this host."""
    return TcpEntry(port, secrets.token_bytes(GREETING_BYTES))
