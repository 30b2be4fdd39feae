"""The chaos run: load, kills, a collection, and the count of what is left."""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.chaos.dockerd import OwnDaemon
from benchmarks.chaos.load import Job, save_base
from benchmarks.chaos.victims import choose, kill
from benchmarks.chaos.worker import Worker
from vm_pool import strays
from vm_pool.disk import delete_tree
from vm_pool.errors import VMPoolError
from vm_pool.holdings import Holdings, holdings
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Snapshot, Spec
from vm_pool.providers import make_provider
from vm_pool.types import Frozen

_COLLECT_EVERY_S = 30.0

_LOADED_S = 300.0

Note = Callable[[str], None]


class Plan(Frozen):
    """What is done for how long."""

    seconds: float = 600.0
    providers: tuple[str, ...] = ("sandbox",)
    """Each has one process under load."""
    image: str = "slim"
    seed: int = 0
    every_s: float = 2.0
    """Mean time between two kills."""
    at_once: int = 3
    """Machines that each of these processes has lent at once."""


class Chaos(Frozen):
    """What came of it."""

    plan: Plan
    killed: Mapping[str, int]
    """By kind of process."""
    leases: Mapping[str, Mapping[str, int]]
    """By provider: how many were asked for, given, returned, lost and refused; steps that were done on them, and how
    many were saved."""
    reasons: Mapping[str, int]
    """Of what was lost or refused, numbers and names left out, to how often."""
    unreasoned: int
    """Losses and refusals without a reason."""
    faults: tuple[str, ...]
    """Ends of processes under load that were no kill of ours, with their last words; leases that hung, and machines
    that held other files than they were given."""
    collected: int
    """How many things `pool gc` removed, in all."""
    not_collected: tuple[str, ...]
    """What it could not remove at the end, with the reason."""
    left: tuple[str, ...]
    """What was there at the end and not at the beginning, after one collection."""

    @property
    def holds(self) -> bool:
        given = all(counts.get("given", 0) for counts in self.leases.values())
        return given and not (self.left or self.faults or self.not_collected or self.unreasoned)


async def run(plan: Plan, *, on_note: Note = lambda _: None) -> Chaos:
    """Raises: `VMPoolError` when a provider does not work here at all."""
    # Where the names of libvirt's sockets do not get too long.
    with tempfile.TemporaryDirectory(prefix="s3c-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o711)
        before = {key: os.environ.get(key) for key in ("AGENT_S3_STATE", "DOCKER_HOST")}
        os.environ["AGENT_S3_STATE"] = name
        try:
            async with _daemon(plan) as daemon:
                return await _run(plan, daemon, on_note)
        finally:
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value
            await asyncio.to_thread(_clear, folder)


@asynccontextmanager
async def _daemon(plan: Plan) -> AsyncGenerator[OwnDaemon | None]:
    """One of our own where containers are among what is tried."""
    if "docker" not in plan.providers:
        yield None
        return
    roomy = shutil.disk_usage("/dev/shm").free > 4 * 2**30  # noqa: S108 - a fresh name below
    with tempfile.TemporaryDirectory(prefix="s3d-", dir="/dev/shm" if roomy else "/var/tmp") as name:  # noqa: S108
        daemon = OwnDaemon(Path(name))
        os.environ["DOCKER_HOST"] = daemon.host
        try:
            await daemon.start()
            yield daemon
        finally:
            await daemon.end()


async def _run(plan: Plan, daemon: OwnDaemon | None, on_note: Note) -> Chaos:
    providers = [make_provider(name) for name in plan.providers]
    before = await holdings(providers)
    spec = Spec(image=plan.image, width=640, height=480, memory_mib=512)
    bases: list[Snapshot] = []
    workers: list[Worker] = []
    try:
        for provider in providers:
            on_note(f"a machine of {provider.name} is saved for all to fork")
            async with Pool(provider, concurrency=1) as pool:
                bases.append(await save_base(pool, spec))
        for name, base in zip(plan.providers, bases, strict=True):
            workers.append(Worker(Job(provider=name, spec=spec, base=base, seed=plan.seed, at_once=plan.at_once)))
        await _under_load(workers, on_note)
        killed, collected = await _rage(plan, providers, workers, daemon, on_note)
        if daemon is not None:
            await daemon.start()
    finally:
        on_note("ending what is under load")
        await asyncio.gather(*(worker.end() for worker in workers))
        for provider, base in zip(providers, bases, strict=False):
            await provider.drop(base)
    last = await strays.gc(providers, idle_too=True)
    left = await _left(providers, before)
    on_note(f"{len(left)} things left")
    return Chaos(
        plan=plan,
        killed=dict(sorted(killed.items())),
        leases={worker.provider: dict(worker.counts) for worker in workers},
        reasons=dict(sum((worker.reasons for worker in workers), Counter[str]()).most_common()),
        unreasoned=sum(worker.unreasoned for worker in workers),
        faults=tuple(fault for worker in workers for fault in worker.faults),
        collected=collected + len(last.removed),
        not_collected=tuple(f"{stray.kind} {stray.id}: {reason}" for stray, reason in last.failed),
        left=tuple(left),
    )


async def _left(providers: Sequence[Provider], before: Holdings) -> list[str]:
    return (await holdings(providers) - before).lines()


async def _under_load(workers: Sequence[Worker], on_note: Note) -> None:
    """Wait until each provider has lent a machine; what cannot even that is left to the result to say."""
    for worker in workers:
        await worker.start()
    deadline = time.monotonic() + _LOADED_S
    while any(worker.pid and not worker.counts["given"] for worker in workers) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    on_note(f"under load: {_given(workers)} leases given")


async def _rage(
    plan: Plan, providers: Sequence[Provider], workers: Sequence[Worker], daemon: OwnDaemon | None, on_note: Note
) -> tuple[Counter[str], int]:
    """Keep everything running, and kill one process after the other."""
    rng = random.Random(plan.seed)  # noqa: S311 - to be repeatable
    begun, swept = time.monotonic(), time.monotonic()
    killed: Counter[str] = Counter()
    collected = 0
    while (passed := time.monotonic() - begun) < plan.seconds:
        if daemon is not None:
            await daemon.start()
        for worker in workers:
            await worker.start()
        await asyncio.sleep(min(rng.expovariate(1 / plan.every_s), 5 * plan.every_s, plan.seconds - passed))
        if victim := await choose(rng, providers, workers, daemon):
            kill(victim, workers)
            killed[victim.kind] += 1
        if time.monotonic() - swept > _COLLECT_EVERY_S:
            swept = time.monotonic()
            collected += await _collect(providers)
            on_note(f"{passed:.0f} s: {sum(killed.values())} killed, {_given(workers)} leases given")
    return killed, collected


async def _collect(providers: Sequence[Provider]) -> int:
    """As a user would meanwhile; a daemon that is down now is for later."""
    with suppress(VMPoolError):
        return len((await strays.gc(providers)).removed)
    return 0


def _given(workers: Sequence[Worker]) -> int:
    return sum(worker.counts["given"] for worker in workers)


def _clear(folder: Path) -> None:
    """What machines made in it may be locked."""
    for part in folder.iterdir():
        if part.is_dir():
            delete_tree(part)
