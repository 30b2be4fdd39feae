"""Holds load on a provider and counts what became of it: machines work, are saved, forked and stopped at random.

Each of `n` workers borrows one machine after the other. A machine finds the mark of what it was forked from, leaves one
of its own, does a few steps and may be saved; what was saved is forked by whoever comes next.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from benchmarks.pool_speed.crowd import ms_since
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.samples import summarise
from benchmarks.pool_speed.surroundings import host_facts, load
from vm_pool.errors import GuestError, NotSupported, VMPoolError
from vm_pool.events import Chord, Click, Text
from vm_pool.holdings import Holdings, holdings
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Snapshot, Spec
from vm_pool.strays import gc

Note = Callable[[str], None]
_MARK = "/home/user/stress-mark"
_MOST_BRANCHES = 4
_LIFE_S = 600.0
_ASK_AGAIN_S = 1.0
_LOOK_EVERY_S = 2.0
_TELL_EVERY_S = 15.0
_GONE_POLL_S = 0.1
_REASON_LIMIT = 200
_SLOW_BOOT_MS = 5000.0
_BOOT_SHARE, _SAVE_SHARE = 0.2, 0.15
_STEPS = (1, 6)


@dataclass
class _Branch:
    """A saved machine that others are forked from."""

    snapshot: Snapshot
    mark: str
    users: int = 0
    """Starts under way; it is not dropped meanwhile."""


@dataclass
class Tally:
    """What became of everything that was asked."""

    done: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    """Reason -> how many machines were not started for it."""
    lost: Counter[str] = field(default_factory=Counter[str])
    """Reason -> how many machines were lost by it while they were lent."""
    unexplained: Counter[str] = field(default_factory=Counter[str])
    """Failures that no error of the pool explains."""
    wrong: Counter[str] = field(default_factory=Counter[str])
    """Machines that did not hold what they should: not lost, and worse."""
    starts_ms: list[float] = field(default_factory=list[float])

    def failed(self, error: Exception, *, lent: bool) -> None:
        reason = _reason(error)
        if isinstance(error, _WrongMark):
            self.wrong[reason] += 1
        elif not isinstance(error, VMPoolError) or not str(error).strip():
            self.unexplained[f"{type(error).__name__}: {reason}"] += 1
        elif lent:
            self.lost[reason] += 1
        else:
            self.refused[reason] += 1


class _WrongMark(Exception):
    """A machine holds another file than the one that it was forked from."""


async def stress(
    provider: Provider,
    image: str,
    *,
    minutes: float,
    seed: int = 0,
    plan: Plan | None = None,
    gone_s: float = 10.0,
    on_note: Note = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """Hold load for that long with `plan.crowd` machines at most; what each worker does next is drawn by the seed.

    `gone_s`: how long what was stopped may take to be gone.

    Returns what was done, refused, lost and wrong, and a census of this host: before, the most at one time, and after
    everything was given back and `gc` had run. `sound` is False when anything leaked, was wrong, or was lost without a
    reason. Raises: what the provider raises when the first machine cannot be started.
    """
    plan = plan or Plan()
    run = f"stress-{seed}-{time.monotonic_ns():x}"
    spec = Spec(image=image, width=plan.width, height=plan.height, memory_mib=plan.memory_mib, labels={"run": run})
    tally, host = Tally(), host_facts(clock())
    async with Pool(provider, concurrency=plan.crowd) as pool:
        async with pool.lease(spec):  # what is made once for all machines of an image is there from now on
            pass
        watched = _Watched(provider, await holdings([provider]))
        shift = _Shift(pool, spec, tally, watched, time.monotonic() + 60 * minutes)
        await shift.prepare()
        on_note(f"{plan.crowd} workers for {minutes:g} min, seed {seed}")
        await shift.hold(plan.crowd, seed, minutes, on_note)
    collected = await gc([provider], labels={"run": run})
    left = await watched.left(gone_s)
    leaked = {kind: sorted(names) for kind, names in left if names}
    host["load_after"] = load()
    return {
        "provider": provider.name,
        "image": image,
        "stress": {"minutes": minutes, "seed": seed, "n": plan.crowd},
        "sound": not (leaked or tally.unexplained or tally.wrong),
        "done": dict(tally.done),
        "refused": dict(tally.refused),
        "lost": dict(tally.lost),
        "unexplained": dict(tally.unexplained),
        "wrong": dict(tally.wrong),
        "collected": len(collected.removed),
        "census": watched.counts(left),
        "leaked": leaked,
        "metrics": {"start_ms": summarise(tally.starts_ms)} if tally.starts_ms else {},
        "machine": {"width": plan.width, "height": plan.height, "memory_mib": plan.memory_mib},
        "host": host,
    }


class _Watched:
    """What the provider holds on this host beyond what it held before."""

    def __init__(self, provider: Provider, before: Holdings):
        self._provider = provider
        self._before = before
        self._most: Counter[str] = Counter()

    async def look(self) -> Holdings:
        held = await holdings([self._provider])
        for kind, count in held.counts().items():
            self._most[kind] = max(self._most[kind], count)
        return held - self._before

    async def left(self, gone_s: float) -> Holdings:
        """What is still there when everything should have gone; ends take a moment."""
        deadline = time.monotonic() + gone_s
        while True:
            left = await self.look()
            if not left or time.monotonic() >= deadline:
                return left
            await asyncio.sleep(_GONE_POLL_S)

    def counts(self, left: Holdings) -> dict[str, dict[str, int]]:
        """By kind: before, the most that `look` saw at one time, and how many there are now that were not there."""
        return {
            kind: {"before": count, "most": self._most[kind], "after": left.counts()[kind]}
            for kind, count in self._before.counts().items()
            if count or self._most[kind] or left.counts()[kind]
        }


class _Shift:
    """What the workers share."""

    def __init__(self, pool: Pool, spec: Spec, tally: Tally, watched: "_Watched", until: float):
        self._pool = pool
        self._spec = spec
        self._tally = tally
        self._watched = watched
        self._until = until
        self._boots = True
        self._branches: list[_Branch] = []

    async def prepare(self) -> None:
        """Boot one machine, which says how long that takes, and save it if this provider can."""
        begin = time.perf_counter()
        async with self._pool.lease(self._spec) as machine:
            took = ms_since(begin)
            await self._watched.look()
            self._count_start("boots", took)
            await machine.write(_MARK, b"base")
            try:
                await self._save(machine, "base")
            except NotSupported:
                return
        self._boots = took < _SLOW_BOOT_MS

    async def hold(self, workers: int, seed: int, minutes: float, on_note: Note) -> None:
        """Returns when the time is over and all machines are back; saved ones are dropped then."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(minutes, on_note))
                work = [group.create_task(self._work(random.Random(f"{seed}/{n}"))) for n in range(workers)]  # noqa: S311
                await asyncio.gather(*work)
                watch.cancel()
        finally:
            for branch in self._branches:
                await self._pool.provider.drop(branch.snapshot)

    async def _watch(self, minutes: float, on_note: Note) -> None:
        """Counts what there is at the height of it, and tells how far it is."""
        told = began = time.monotonic()
        while True:
            await self._watched.look()
            if time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                on_note(f"{(told - began) / 60:.1f} of {minutes:g} min: {self._so_far()}")
            await asyncio.sleep(_LOOK_EVERY_S)  # the interval of what is counted

    def _so_far(self) -> str:
        counts = {"refused": self._tally.refused, "lost": self._tally.lost, "wrong": self._tally.wrong}
        done = [f"{count} {what}" for what, count in sorted(self._tally.done.items())]
        return ", ".join([*done, *(f"{sum(counter.values())} {name}" for name, counter in counts.items())])

    async def _work(self, rng: random.Random) -> None:
        while time.monotonic() < self._until:
            branch = None if self._boots and rng.random() < _BOOT_SHARE else self._pick(rng)
            try:
                async with asyncio.timeout(_LIFE_S):
                    await self._one_machine(branch, rng)
            except TimeoutError:
                self._tally.unexplained[f"a machine was not done within {_LIFE_S:g} s"] += 1

    async def _one_machine(self, branch: _Branch | None, rng: random.Random) -> None:
        lent = False
        begin = time.perf_counter()
        if branch is not None:
            branch.users += 1
        try:
            async with self._pool.lease(branch.snapshot if branch else self._spec) as machine:
                lent = True
                self._count_start("forks" if branch else "boots", ms_since(begin))
                await self._live(machine, branch, rng)
            self._tally.done["stops"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
            self._tally.failed(error, lent=lent)
            if not lent:
                await asyncio.sleep(_ASK_AGAIN_S)  # who was refused does not ask again at once
        finally:
            if branch is not None:
                branch.users -= 1

    async def _live(self, machine: Machine, branch: _Branch | None, rng: random.Random) -> None:
        if branch is not None:
            await _check_mark(machine, branch.mark)
        mark = f"{machine.info.machine_id} {rng.random()}"
        await machine.write(_MARK, mark.encode())
        for _ in range(rng.randint(*_STEPS)):
            await _step(machine, rng)
            self._tally.done["steps"] += 1
        await _check_mark(machine, mark)
        if self._branches and rng.random() < _SAVE_SHARE:
            await self._save(machine, mark)

    async def _save(self, machine: Machine, mark: str) -> None:
        snapshot = await self._pool.provider.snapshot(machine)
        self._branches.append(_Branch(snapshot, mark))
        self._tally.done["snapshots"] += 1
        # The first is what all began with; of the others those go that nobody is being forked from.
        idle = [branch for branch in self._branches[1:-1] if not branch.users]
        if len(self._branches) > _MOST_BRANCHES and idle:
            self._branches.remove(idle[0])
            await self._pool.provider.drop(idle[0].snapshot)
            self._tally.done["drops"] += 1

    def _pick(self, rng: random.Random) -> _Branch | None:
        return rng.choice(self._branches) if self._branches else None

    def _count_start(self, kind: str, took_ms: float) -> None:
        self._tally.done[kind] += 1
        self._tally.starts_ms.append(took_ms)


async def _step(machine: Machine, rng: random.Random) -> None:
    """One of the things that an agent does."""
    x, y = rng.randrange(machine.info.width), rng.randrange(machine.info.height)
    match rng.randrange(6):
        case 0:
            await machine.perform([Click(x=x, y=y)])
        case 1:
            await machine.perform([Text(text="The quick brown fox. "), Chord(keys=("esc",))])
        case 2:
            await machine.screenshot()
        case 3:
            await machine.look(frozenset({"tree", "windows"}))
        case 4:
            await machine.run(["true"])
        case _:
            await machine.settle()


async def _check_mark(machine: Machine, mark: str) -> None:
    """Raises: `_WrongMark` when the file is another one's, or is not there."""
    try:
        found = (await machine.read(_MARK, max_bytes=1000)).decode(errors="replace")
    except GuestError as error:
        raise _WrongMark(f"the file that it was forked with is not there: {error}") from error
    if found != mark:
        raise _WrongMark("its file is not the one that it should hold")


def _reason(error: Exception) -> str:
    """In one line without the names of single machines, so that equal reasons are counted together."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\b[ms]-[0-9a-f]{10}\b|\bfake-\d+\b", "a machine", text)[:_REASON_LIMIT]
