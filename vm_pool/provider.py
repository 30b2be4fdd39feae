"""The seam to where machines come from."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

from vm_pool.machine import Machine
from vm_pool.types import Frozen

CAPABILITIES = frozenset(
    {"image", "size", "fresh", "snapshot", "fork", "keep_disk", "labels", "machine_id", "hostname", "isolation"}
)
"""What providers can do; one that lacks something says so by `Limited.capabilities` and raises `NotSupported`.

image: boots images by name. size: gives the screen that was asked for. fresh: a booted machine holds nothing of
earlier leases. snapshot, fork: as their methods say. keep_disk: `stop(keep_disk=True)` and `revive`. labels: `strays`
repeats them. machine_id, hostname: each machine has its own. isolation: machines reach neither each other nor the host.
"""


class Snapshot(Frozen):
    """Saved state of a machine from which equal machines can be forked."""

    snapshot_id: str
    provider: str
    image: str
    includes_memory: bool
    """True: running programs come back as they were. False: files come back and launched programs start afresh."""
    launched: tuple[tuple[str, ...], ...] = ()
    """Command lines that are started again in each fork, in order; empty when memory is included."""


class Stray(Frozen):
    """Something a provider left behind: a machine or a snapshot whose owner is gone or whose time is over."""

    kind: str
    """`machine`, `snapshot` or `build`."""
    id: str
    owner_pid: int | None
    owner_alive: bool
    created: datetime
    expires: datetime | None
    labels: Mapping[str, str] = {}
    path: str
    """Where its state lies on this host."""
    bytes_on_disk: int = 0


class Spec(Frozen):
    """What kind of machine to start."""

    image: str = "desktop"
    """Name or content address of an image."""
    width: int = 1920
    height: int = 1080
    memory_mib: int = 2048
    """0: no limit."""
    pids: int = 1024
    cpus: float = 0.0
    """0: no limit."""
    network: str = "none"
    """What it may reach, in the words of `vm_pool.network`."""
    labels: Mapping[str, str] = {}
    ttl_s: int = 4 * 3600
    """After this long a machine counts as a stray, whoever owns it."""


class Provider(Protocol):
    """Where machines come from. All of it may be called concurrently.

    Raises from every method: `HostUnfit`, `ImageError`, `BootTimeout`, `ConfigError` as their names say, the latter as
    `NotSupported` for what this provider cannot do.
    """

    name: str
    birth_mib: int
    """Memory of this host that a machine takes when it has just started; 0: none, it runs elsewhere or nowhere."""

    async def boot(self, spec: Spec) -> Machine:
        """Start a machine from an image and wait until it is ready for input."""
        ...

    async def snapshot(self, machine: Machine) -> Snapshot:
        """Save the state of a running machine, which goes on running."""
        ...

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        """Start a new machine from saved state; the snapshot stays usable and unchanged."""
        ...

    async def revive(self, machine_id: str) -> Machine:
        """Take over a machine that another process left behind: attach if it lives, else restart it from its disk.

        Raises: `MachineLost` when neither is possible.
        """
        ...

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        """Stop it and free its resources; idempotent. `keep_disk` keeps what `revive` needs."""
        ...

    async def drop(self, snapshot: Snapshot) -> None:
        """Free a snapshot; idempotent. Machines forked from it go on."""
        ...

    async def strays(self) -> list[Stray]:
        """All state of this provider on this host, owned or not."""
        ...

    async def remove(self, stray: Stray) -> None:
        """Kill and delete one of them; idempotent."""
        ...

    def session(self) -> AbstractAsyncContextManager[None]:
        """Resources that live as long as the pool: locks, helpers, cgroup parents."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A provider that lacks some of `CAPABILITIES`."""

    @property
    def capabilities(self) -> frozenset[str]: ...


def capabilities_of(provider: Provider) -> frozenset[str]:
    """What a provider can do: all, unless it says otherwise."""
    return provider.capabilities if isinstance(provider, Limited) else CAPABILITIES
