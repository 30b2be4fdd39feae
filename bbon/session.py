"""What all parts of one run share, and the desktop that its rollouts are forked from."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from agent_s3.approval import Asker
from agent_s3.inbox import told_to_all, with_added
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore
from agent_s3.types import RolloutResult
from bbon.errors import RunFolderError
from bbon.limits import RunLimits
from bbon.models import Models
from bbon.state import StateFile
from bbon.types import Listener, PhaseBegan, RunConfig
from llm.budget import Budget, Ledger, Spend
from vm_pool.errors import VMPoolError
from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source
from vm_pool.provider import Snapshot, Spec

log = logging.getLogger(__name__)

INPUTS = "Documents"
"""Folder in the desktop's home that receives the files given with the task."""
_QUIET_MS, _SETTLE_MS = 300, 10_000
_TTL_S = 24 * 3600

Prepare = Callable[[Machine], Awaitable[None]]
"""Sets the task up on the base machine, before the snapshot."""
Finish = Callable[[int, Machine, RolloutResult], Awaitable[None]]
"""Looks at a rollout's machine when the rollout is over, before it is stopped."""


class Kept(NamedTuple):
    """A machine of a rollout that is over."""

    machine: Machine
    lease: AsyncExitStack
    """Stops it when it is closed."""


@dataclass
class Session:
    """One run from its start, or its resumption, to its end."""

    config: RunConfig
    paths: RunPaths
    listener: Listener
    prepare: Prepare | None
    finish: Finish | None
    models: Models
    budget: Budget
    ledger: Ledger
    pool: Pool
    state: StateFile
    frames: FrameStore
    asker: Asker
    done: set[int] = field(default_factory=set[int])
    """Rollouts of this session whose agent declared the task done."""
    kept: dict[int, "Kept"] = field(default_factory=dict[int, "Kept"])
    """Machines of rollouts that are over, by rollout, when the winner's is to stay up."""
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def task(self) -> str:
        """What was asked for, with what the user told all rollouts while they ran."""
        return with_added(self.config.instruction, told_to_all(self.paths.inbox))

    @property
    def run_id(self) -> str:
        return self.paths.root.name

    @cached_property
    def limits(self) -> RunLimits:
        """Of all rollouts together; their time begins when the first one asks."""
        seconds = self.state.state.seconds.get("rollouts", 0.0)
        return RunLimits.begin(self.config, self.paths, rollouts=self.n, seconds=seconds)

    @property
    def n(self) -> int:
        """How many rollouts there are by now."""
        return self.state.state.n or self.config.n

    @contextmanager
    def phase(self, name: str, detail: str = "") -> Generator[None]:
        """Announce a phase and add its time to the record."""
        self.listener(PhaseBegan(name=name, detail=detail))
        log.info("%s %s", name, detail)
        with self.state.timed(name):
            yield

    async def let_go(self, but: int | None = None) -> None:
        """Stop the machines that were kept for the winner's user, except that of one rollout (None: all)."""
        for index in [index for index in self.kept if index != but]:
            await self.kept.pop(index).lease.aclose()

    def save_usage(self) -> None:
        self.state.update(usage=self.ledger.by_role, forfeited=self.budget.spent - Spend.of(self.ledger.total))

    async def snapshot(self) -> Snapshot:
        """The prepared desktop; made at the first call, one at a time. Raises: errors of `vm_pool.errors`."""
        async with self._making:
            return self.state.state.snapshot or await self._make_snapshot()

    def source(self) -> Source:
        """What machines that there are by now were started from: the prepared desktop, unless it is gone."""
        return self.state.state.snapshot or spec_of(self.config)

    async def forget_snapshot(self, snapshot: Snapshot) -> None:
        """It turned out to be gone; the next `snapshot` makes another."""
        async with self._making:
            if self.state.state.snapshot == snapshot:
                self.state.update(snapshot=None)

    async def drop_snapshot(self) -> None:
        """Free it; what cannot be freed is left to `pool gc`."""
        if snapshot := self.state.state.snapshot:
            try:
                await self.pool.provider.drop(snapshot)
            except (VMPoolError, OSError) as error:
                log.warning("the snapshot %s could not be freed: %s", snapshot.snapshot_id, error)
            self.state.update(snapshot=None)

    async def _make_snapshot(self) -> Snapshot:
        async with AsyncExitStack() as stack:
            with self.phase("boot", f"{self.config.provider} {self.config.image}"):
                lease = self.pool.lease(spec_of(self.config), labels={"run": self.run_id, "rollout": "base"})
                machine = await stack.enter_async_context(lease)
            with self.phase("setup"):
                await set_up(machine, self.config, self.paths, self.prepare)
            with self.phase("snapshot"):
                snapshot = await self.pool.provider.snapshot(machine)
                self.state.update(snapshot=snapshot)
        return snapshot


async def set_up(machine: Machine, config: RunConfig, paths: RunPaths, prepare: Prepare | None) -> None:
    """Bring a fresh machine to where the rollouts begin. Raises: `RunFolderError`, errors of `vm_pool.errors`."""
    for name in config.files:
        await machine.write(f"{machine.info.home}/{INPUTS}/{name}", _input(paths, name))
    if prepare is not None:
        await prepare(machine)
    settled = await machine.settle(quiet_ms=_QUIET_MS, timeout_ms=_SETTLE_MS)
    if not settled:
        log.warning("the desktop still moved when the snapshot was taken: %s", settled.reason)


def spec_of(config: RunConfig) -> Spec:
    """What a run's machines are started from."""
    return Spec(image=config.image, width=config.width, height=config.height, network=config.network, ttl_s=_TTL_S)


def _input(paths: RunPaths, name: str) -> bytes:
    """Raises: `RunFolderError`."""
    if name in ("", ".", "..") or PurePosixPath(name).name != name:
        raise RunFolderError(f"{name!r} is no plain file name; put the file into {paths.inputs}")
    try:
        return (paths.inputs / name).read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {paths.inputs / name}: {error.strerror}") from error
