"""The process's one libvirt, as a provider uses it: from its first machine until the end of its session."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from vm_pool.providers.vm_connection import choice_of
from vm_pool.providers.vm_hypervisor import Hypervisor
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.shield import shielded


class HypervisorUse:
    """Nothing is opened before it is needed."""

    def __init__(self, places: VmPlaces, connection: str | None = None) -> None:
        """`connection`: by which libvirt, in the words of `vm_connection`. Raises: `ConfigError` for an unknown one."""
        self.choice = choice_of(connection)
        self._places = places
        self._hypervisor: Hypervisor | None = None
        self._opening = asyncio.Lock()

    async def begin(self) -> Hypervisor:
        """Idempotent. Raises: `ConfigError`, `HostUnfit`."""
        async with self._opening:
            if self._hypervisor is None:
                self._hypervisor = await asyncio.to_thread(self._open)
            return self._hypervisor

    @asynccontextmanager
    async def ended_after(self) -> AsyncGenerator[None]:
        """It ends with the block, in which all of its machines must have ended."""
        try:
            yield
        finally:
            await shielded(self._end())

    def _open(self) -> Hypervisor:
        self._places.make()
        self._places.sweep_hosts()
        return Hypervisor.shared(self._places, self.choice)

    async def _end(self) -> None:
        if self._hypervisor is not None:
            await asyncio.to_thread(self._hypervisor.close)
            self._hypervisor = None
