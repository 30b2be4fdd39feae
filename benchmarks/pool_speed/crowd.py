"""Many machines at once, each with the time that it took from the request, held until all were looked at."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source


class Started(NamedTuple):
    """One machine of a crowd."""

    machine: Machine
    after_ms: float
    """From the request for the whole crowd until it was ready."""


@asynccontextmanager
async def crowd(pool: Pool, source: Source, count: int) -> AsyncGenerator[list[Started]]:
    """Lease `count` machines at once; all are stopped when the block is left.

    Raises: what the first start that failed raised; the others are stopped then.
    """
    try:
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()
            all_up = asyncio.Event()
            started: list[Started] = []
            begin = time.perf_counter()

            async def hold() -> None:
                async with pool.lease(source) as machine:
                    started.append(Started(machine, ms_since(begin)))
                    if len(started) == count:
                        all_up.set()
                    await release.wait()

            for _ in range(count):
                group.create_task(hold())
            await all_up.wait()
            yield started
            release.set()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


def ms_since(begin: float) -> float:
    """`begin` is of `time.perf_counter`."""
    return (time.perf_counter() - begin) * 1000
