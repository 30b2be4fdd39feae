"""One process under load: leases machines and forks, uses and saves them, and says what became of each lease.

    python -m benchmarks.chaos.load JOB

JOB is a `Job` as JSON. It writes one JSON object a line, has a guest server killed inside of a machine at SIGUSR1, and
ends with SIGTERM.
"""

import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from vm_pool.errors import ConfigError, MachineError, VMPoolError
from vm_pool.events import Click, Text
from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source
from vm_pool.provider import Promotes, Snapshot, Spec
from vm_pool.providers import make_provider
from vm_pool.types import Frozen

_BOOT_SHARES = {"libvirt": 0.03}
"""Of leases that start cold, which takes a virtual machine as long as fifty forks; of all others, one in five."""
_BOOT_SHARE, _BRANCH_SHARE, _SAVE_SHARE, _PROMOTE_SHARE = 0.2, 0.3, 0.25, 0.3
_MOST_BRANCHES = 2
_STEPS = (2, 8)
_HUNG_S = 400.0
"""Longer than anything that a lease waits for by itself."""
_ASK_AGAIN_S = 0.2
_MARK = "mark"
_BYTES = 10_000


class Job(Frozen):
    """What one process does."""

    provider: str
    spec: Spec
    base: Snapshot | None = None
    """Of a machine with the mark "base"; None: it saves one itself."""
    seed: int
    at_once: int


@dataclass
class _Branch:
    """A saved machine that others are forked from."""

    snapshot: Snapshot
    mark: str
    users: int = 0
    """Leases that are being asked for; it is not dropped meanwhile."""


class _Wrong(Exception):
    """A machine holds another file than it was given."""


class Load:
    """Asks for machines for ever."""

    def __init__(self, pool: Pool, job: Job, rng: random.Random):
        self._pool = pool
        self._job = job
        self._rng = rng
        self._base = _Branch(job.base, "base") if job.base else None
        self._branches: list[_Branch] = []
        self._saving = asyncio.Lock()
        self._doomed = False

    def doom(self) -> None:
        """Have the next machine that is used lose its guest server."""
        self._doomed = True

    async def go_on(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._job.at_once):
                group.create_task(self._lease_after_lease())

    async def _lease_after_lease(self) -> None:
        while True:
            branch = await self._branch()
            lent: list[Machine] = []
            try:
                async with asyncio.timeout(_HUNG_S):
                    await self._lease(branch, lent)
            except ConfigError as error:
                self._forget(branch)  # it went with the daemon or the process that held it
                say("refused", named(error))
            except MachineError as error:
                say("lost" if lent else "refused", named(error))
            except TimeoutError as error:
                # A machine that is not ready in time is refused with a reason; our own time-out has none.
                say("refused" if str(error) else "hung", named(error))
            except _Wrong as error:
                say("wrong", str(error))
            except (VMPoolError, OSError) as error:
                say("refused", named(error))
                await asyncio.sleep(_ASK_AGAIN_S)  # as whoever asks again would
            finally:
                if branch:
                    branch.users -= 1

    async def _lease(self, branch: _Branch | None, lent: list[Machine]) -> None:
        """From asking to giving back; `lent` holds the machine as soon as there is one."""
        source: Source = branch.snapshot if branch else self._job.spec
        say("asked", type(source).__name__)
        async with self._pool.lease(source, labels={"run": "chaos"}) as machine:
            lent.append(machine)
            say("given", machine.info.machine_id)
            if branch:
                await self._check(machine, branch.mark)
            await self._use(machine)
            if self._rng.random() < _SAVE_SHARE:
                await self._save(machine)
        say("returned", machine.info.machine_id)

    async def _branch(self) -> _Branch | None:
        """What is forked next; None: a machine is started cold."""
        drawn = self._rng.random()
        if drawn < _BOOT_SHARES.get(self._pool.provider.name, _BOOT_SHARE):
            return None
        if self._branches and self._rng.random() < _BRANCH_SHARE:
            found: _Branch | None = self._rng.choice(self._branches)
        else:
            found = await self._base_of_all()
        if found:
            found.users += 1
        return found

    async def _base_of_all(self) -> _Branch | None:
        """Saved by the first who finds none."""
        async with self._saving:
            if self._base is None:
                try:
                    self._base = _Branch(await save_base(self._pool, self._job.spec), "base")
                except (VMPoolError, OSError) as error:
                    say("refused", f"no snapshot: {named(error)}")
            return self._base

    async def _use(self, machine: Machine) -> None:
        deeds: list[Callable[[Machine], Awaitable[object]]] = [_look, self._click, self._type, self._keep, _run]
        for _ in range(self._rng.randint(*_STEPS)):
            if self._doomed:
                self._doomed = False
                await _kill_guest_server(machine)
            await self._rng.choice(deeds)(machine)
            say("step", "")

    async def _click(self, machine: Machine) -> None:
        await machine.perform([Click(x=self._rng.randrange(100), y=self._rng.randrange(100))])

    async def _type(self, machine: Machine) -> None:
        await machine.perform([Text(text=f"chaos {self._rng.random()} ja\u0308\n")])

    async def _keep(self, machine: Machine) -> None:
        path, content = f"{machine.info.home}/{self._rng.randrange(5)}", self._rng.randbytes(_BYTES)
        await machine.write(path, content)
        if await machine.read(path) != content:
            raise _Wrong(f"{machine.info.machine_id}: a file is not what was written")

    async def _check(self, machine: Machine, mark: str) -> None:
        found = await machine.read(f"{machine.info.home}/{_MARK}")
        if found != mark.encode():
            raise _Wrong(f"{machine.info.machine_id}: the mark is {found[:40]!r} instead of {mark!r}")

    async def _save(self, machine: Machine) -> None:
        mark = machine.info.machine_id
        await machine.write(f"{machine.info.home}/{_MARK}", mark.encode())
        provider = self._pool.provider
        if isinstance(provider, Promotes) and self._rng.random() < _PROMOTE_SHARE:
            snapshot = await provider.promote(machine)
        else:
            snapshot = await provider.snapshot(machine)
        say("saved", snapshot.snapshot_id)
        self._branches.append(_Branch(snapshot, mark))
        unused = [branch for branch in self._branches if not branch.users][:-_MOST_BRANCHES]
        for old in unused:  # all at once: while one is dropped, others of this process may save and forget
            self._branches.remove(old)
        for old in unused:
            await provider.drop(old.snapshot)

    def _forget(self, branch: _Branch | None) -> None:
        if branch is self._base:
            self._base = None
        elif branch in self._branches:
            self._branches.remove(branch)


async def save_base(pool: Pool, spec: Spec) -> Snapshot:
    """Of a new machine, with the mark that its forks are known by."""
    async with pool.lease(spec, labels={"run": "chaos"}) as machine:
        await machine.write(f"{machine.info.home}/{_MARK}", b"base")
        return await pool.provider.snapshot(machine)


async def _look(machine: Machine) -> None:
    await machine.look(frozenset({"frame", "windows"}))


async def _run(machine: Machine) -> None:
    await machine.run(["sh", "-c", "head -c 300000 /dev/urandom | sha256sum"], timeout_s=60)


async def _kill_guest_server(machine: Machine) -> None:
    """Whoever starts commands there is the parent of one; its death is what ends this call."""
    with suppress(MachineError):
        await machine.run(["sh", "-c", "kill -9 $PPID"], timeout_s=20)
    say("killed inside", machine.info.machine_id)


def named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def say(what: str, detail: str) -> None:
    sys.stdout.write(json.dumps({"what": what, "detail": detail[:300]}) + "\n")
    sys.stdout.flush()


async def main(job: Job) -> None:
    pool = Pool(make_provider(job.provider), concurrency=job.at_once + 1, spares=1, lease_s=30.0)
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    load = Load(pool, job, random.Random(job.seed))  # noqa: S311 - to be repeatable
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_signal_handler(signal.SIGUSR1, load.doom)
    with suppress(asyncio.CancelledError):
        async with pool:
            await load.go_on()


if __name__ == "__main__":
    asyncio.run(main(Job.model_validate_json(sys.argv[1])))
