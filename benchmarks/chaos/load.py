"""One process under load: leases machines and forks, uses them, gives them back, and says what became of each lease.

    python -m benchmarks.chaos.load PROVIDER IMAGE SEED

It writes one JSON object a line and ends with SIGTERM.
"""

import asyncio
import json
import random
import signal
import sys
from contextlib import suppress

from vm_pool.errors import ConfigError, MachineError, VMPoolError
from vm_pool.events import Click
from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers import make_provider

AT_ONCE = 3
_USES = 5


class Load:
    """What one process does."""

    def __init__(self, pool: Pool, spec: Spec, rng: random.Random):
        self._pool = pool
        self._spec = spec
        self._rng = rng
        self._snapshot: Snapshot | None = None
        self._saving = asyncio.Lock()

    async def go_on(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._lease_after_lease())

    async def _lease_after_lease(self) -> None:
        while True:
            source = await self._source()
            try:
                async with self._pool.lease(source, labels={"run": "chaos"}) as machine:
                    say("given", machine.info.machine_id)
                    await self._use(machine)
                say("returned", machine.info.machine_id)
            except ConfigError as error:
                self._snapshot = None  # it went with the daemon or the process that held it
                say("refused", f"{type(error).__name__}: {error}")
            except MachineError as error:
                say("lost", f"{type(error).__name__}: {error}")
            except (VMPoolError, OSError) as error:
                say("refused", f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.2)  # as whoever asks again would

    async def _source(self) -> Source:
        """Mostly the saved machine; it is saved by the first who comes."""
        if self._rng.random() < 0.2:
            return self._spec
        async with self._saving:
            if self._snapshot is None:
                try:
                    async with self._pool.lease(self._spec, labels={"run": "chaos"}) as machine:
                        self._snapshot = await self._pool.provider.snapshot(machine)
                except (VMPoolError, OSError) as error:
                    say("refused", f"no snapshot: {type(error).__name__}: {error}")
                    return self._spec
            return self._snapshot

    async def _use(self, machine: Machine) -> None:
        for number in range(self._rng.randrange(1, _USES)):
            await machine.screenshot()
            await machine.perform([Click(x=self._rng.randrange(100), y=self._rng.randrange(100))])
            await machine.write(f"{machine.info.home}/{number}", b"x" * 10_000)
            await machine.run(["sleep", "0.2"], timeout_s=30)


def say(what: str, detail: str) -> None:
    sys.stdout.write(json.dumps({"what": what, "detail": detail[:300]}) + "\n")
    sys.stdout.flush()


async def main(provider: str, image: str, seed: int) -> None:
    spec = Spec(image=image, width=640, height=480, memory_mib=512)
    pool = Pool(make_provider(provider), concurrency=AT_ONCE + 1, spares=1, lease_s=30.0)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        async with pool:
            await Load(pool, spec, random.Random(seed)).go_on()  # noqa: S311 - to be repeatable


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
