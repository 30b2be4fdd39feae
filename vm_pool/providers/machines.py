"""The machines that a provider runs in this process, from their start to their end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from vm_pool.errors import MachineLost
from vm_pool.local_state import DiskState
from vm_pool.machine import Machine
from vm_pool.shield import shielded


class Held(Protocol):
    """A machine of this process, with what its provider knows of it."""

    state: DiskState

    @property
    def busy(self) -> asyncio.Lock:
        """Held while it is saved or stopped."""
        ...


H = TypeVar("H", bound=Held)


class Machines(Generic[H]):
    """By their ids. The id of a machine is that of its state."""

    def __init__(
        self,
        *,
        keep: Callable[[H], Awaitable[None]],
        halt: Callable[[H], Awaitable[None]],
        clear: Callable[[str], Awaitable[None]],
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        """What only the provider can do.

        `keep` notes what `revive` needs. `halt` ends a machine and frees all but its disk; `clear` does so by the id of
        one that nobody holds, as far as there is anything. `delete` frees what they leave.
        """
        self._keep = keep
        self._halt = halt
        self._clear = clear
        self._delete = delete
        self._held: dict[str, H] = {}

    def add(self, one: H) -> None:
        self._held[one.state.id] = one

    def get(self, machine_id: str) -> H | None:
        """None: it is none of this process. It may have ended by itself."""
        return self._held.get(machine_id)

    def of(self, machine: Machine) -> H:
        """Raises: `MachineLost` when it is none of this process."""
        held = self._held.get(machine.info.machine_id)
        if held is None:
            raise MachineLost(f"{machine.info.machine_id} is not a running machine of this process")
        return held

    async def stop(self, machine_id: str, *, keep_disk: bool = False) -> bool:
        """End one and free its disk or keep what `revive` needs; False: it is none of this process."""
        held = self._held.get(machine_id)
        if held is None:
            return False
        await shielded(self._stop(held, keep_disk=keep_disk))
        return True

    async def halt(self, held: H) -> None:
        """End one; its disk stays."""
        await self._halt(held)
        self._held.pop(held.state.id, None)

    async def undo(self, machine_id: str) -> None:
        """End whatever of a start there is by now; the disk stays."""
        if held := self._held.get(machine_id):
            await self.halt(held)
        else:
            await self._clear(machine_id)

    async def discard(self, machine_id: str) -> None:
        """Leave nothing of a machine, however far its start came."""
        await self.undo(machine_id)
        await self._delete(machine_id)

    @asynccontextmanager
    async def making(self, machine_id: str) -> AsyncGenerator[None]:
        """Nothing of a new machine is left when that fails or is cancelled at any point."""
        try:
            yield
        except BaseException:
            await shielded(self.discard(machine_id))
            raise

    @asynccontextmanager
    async def restarting(self, machine_id: str) -> AsyncGenerator[None]:
        """The disk of a kept machine stays when that fails or is cancelled at any point."""
        try:
            yield
        except BaseException:
            await shielded(self.undo(machine_id))
            raise

    @asynccontextmanager
    async def ended_after(self) -> AsyncGenerator[None]:
        """All end with the block."""
        try:
            yield
        finally:
            await shielded(self._stop_all())

    async def _stop_all(self) -> None:
        """One that cannot be cleared up does not keep the others. Raises: what the first such one raised."""
        stops = [self._stop(held, keep_disk=False) for held in self._held.values()]
        for failure in await asyncio.gather(*stops, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _stop(self, held: H, *, keep_disk: bool) -> None:
        async with held.busy:
            if self._held.get(held.state.id) is not held:
                return
            try:
                if keep_disk:
                    await self._keep(held)
            finally:
                await self.halt(held)
            if not keep_disk:
                await self._delete(held.state.id)
