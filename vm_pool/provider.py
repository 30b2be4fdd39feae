"""The seam to where machines come from."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
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
    without_memory: str = ""
    """Why memory could not be included by a provider that can, in one line; empty when it is included, or never is."""
    launched: tuple[tuple[str, ...], ...] = ()
    """Command lines that are started again in each fork, in order; empty when memory is included."""
    ttl_s: int = 4 * 3600
    """Of its forks, as in `Spec`."""


class Stray(Frozen):
    """Something a provider left behind: a machine or a snapshot whose owner is gone or whose time is over."""

    kind: str
    """`machine`, `snapshot`, `build`; of containers also `image` and `network`, of hypervisors `host` and `domain`."""
    id: str
    owner_pid: int | None = None
    """None: it is nobody's."""
    owner_alive: bool = False
    created: datetime
    expires: datetime | None
    labels: Mapping[str, str] = {}
    path: str
    """Where its state lies on this host."""
    image: str = ""
    """Id of the image it needs; "" when it needs none."""
    bytes_on_disk: int = 0
    lent: datetime | None = None
    """Since when somebody has it by a lease; None: nobody does, or not by a pool. Filled in by `vm_pool.strays`."""
    heartbeat: datetime | None = None
    """When its holder renewed its lease last; None as above."""
    silent: bool = False
    """Its owner lives but has not renewed its lease, so that it has lost it. Filled in by `vm_pool.strays`."""


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


class Footprint(Frozen):
    """By what the things are known that a provider holds on this host."""

    folders: tuple[Path, ...] = ()
    """In which it keeps one entry for each machine or snapshot. Its processes name them or have them mounted."""
    named: Mapping[str, frozenset[str]] = {}
    """What only the provider can list, by the kinds of `vm_pool.holdings.Holdings`: cgroups, containers, domains..."""


@runtime_checkable
class OnThisHost(Protocol):
    """A provider whose machines take room on this host."""

    async def footprint(self) -> Footprint: ...


class Evidence(Frozen):
    """What a machine said and showed last, bounded."""

    log: str = ""
    """End of what its processes and its control server wrote."""
    console: str = ""
    """End of what its kernel wrote; "" for machines without one of their own."""
    screen: str | None = None
    """Path of a PNG on this host; None when there was no picture."""


@runtime_checkable
class Explains(Protocol):
    """A provider that can say what a machine said and showed last, also one of another or of a dead process."""

    name: str

    async def evidence(self, machine_id: str) -> Evidence:
        """Empty when nothing of it is there. Raises: `HostUnfit`."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A provider that lacks some of `CAPABILITIES`."""

    @property
    def capabilities(self) -> frozenset[str]: ...


@runtime_checkable
class Prepares(Protocol):
    """A provider whose `fork` is quicker for machines that it was told of before."""

    async def prepare(self, snapshot: Snapshot, count: int) -> None:
        """Have `count` more machines of a snapshot almost started; the next forks of it get them.

        They end with the snapshot and with the session. Raises: as `Provider.fork`.
        """
        ...


@runtime_checkable
class Promotes(Protocol):
    """A provider that can make a machine a snapshot for less than a copy of it costs."""

    async def promote(self, machine: Machine) -> Snapshot:
        """A snapshot of a machine that ends with that; when it fails the machine goes on. Raises: as `snapshot`."""
        ...


@runtime_checkable
class HasWays(Protocol):
    """A provider that runs or copies machines in one of several ways, by what this host can do."""

    async def ways(self, spec: Spec) -> tuple[str, ...]:
        """Which ways these are for such machines and why, a line each. Raises: as `Provider.boot`."""
        ...


def capabilities_of(provider: Provider) -> frozenset[str]:
    """What a provider can do: all, unless it says otherwise."""
    return provider.capabilities if isinstance(provider, Limited) else CAPABILITIES
