"""Virtual machines that were started ahead and stand still until a fork of their snapshot is asked for."""

from contextlib import suppress

from vm_pool.errors import BootTimeout, GuestError, MachineLost
from vm_pool.local_state import DiskState
from vm_pool.provider import Spec
from vm_pool.providers.machines import Machines
from vm_pool.providers.vm_ground import Ground
from vm_pool.providers.vm_places import VmFolder
from vm_pool.providers.vm_running import Running
from vm_pool.providers.vm_starting import Starts


class Spares:
    """By the snapshot that they were made of. They ran once, so that their code is translated."""

    def __init__(self, machines: Machines[Running], starts: Starts) -> None:
        self._machines = machines
        self._starts = starts
        self._waiting: dict[str, list[Running]] = {}

    async def add(self, snapshot_id: str, state: DiskState, ground: Ground, saved: VmFolder) -> None:
        """Start one. Nothing is left when that fails."""
        running = await self._starts.fork(state, ground, saved)
        async with self._machines.making(state.id):
            await self._starts.set_aside(running)
        self._waiting.setdefault(snapshot_id, []).append(running)

    async def lend(self, snapshot_id: str, spec: Spec) -> Running | None:
        """The one that waited longest, as a new machine; None when there is none that lives."""
        while spare := self._take(snapshot_id):
            # FileNotFoundError: it was removed.
            with suppress(MachineLost, BootTimeout, GuestError, FileNotFoundError):
                async with self._machines.making(spare.state.id):
                    await self._starts.start_again(spare, spec)
                return spare
        return None

    async def end(self, snapshot_id: str) -> None:
        """All of a snapshot."""
        while spare := self._take(snapshot_id):
            await self._machines.stop(spare.state.id)

    def _take(self, snapshot_id: str) -> Running | None:
        """It may have ended by itself."""
        waiting = self._waiting.get(snapshot_id)
        return waiting.pop(0) if waiting else None
