"""Waiting until a virtual machine has nothing to do, before it is saved: each copy would do the same work again.

What a machine does in its first moments costs most, as its code is still to be translated where no hardware helps.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from vm_pool.guest_client import GuestMachine

_LONGEST_S = 1.0
"""Below the time after which a guest that nobody is connected to lets go of keys that are held down."""
_APART_S = 0.2
_WINDOW_S = 0.05
_IDLE_SHARE = 0.2
"""Of one processor. An idle desktop takes 0.03."""


@asynccontextmanager
async def at_rest(machine: GuestMachine, pid: int) -> AsyncGenerator[None]:
    """Without connections and idle, as far as both come true soon. `pid`: the machine's process on this host."""
    async with AsyncExitStack() as stack:
        with contextlib.suppress(TimeoutError):  # a request that takes long, and ends in the copies as it may
            await stack.enter_async_context(machine.apart(_APART_S))
        await idle(lambda: processor_seconds(pid), _LONGEST_S)
        yield


async def idle(used_s: Callable[[], float], longest_s: float) -> bool:
    """Wait until little processor time is used, which `used_s` counts; False when it still is after `longest_s`."""
    deadline = time.monotonic() + longest_s
    before, since = used_s(), time.monotonic()
    while time.monotonic() < deadline:
        await asyncio.sleep(_WINDOW_S)
        after, now = used_s(), time.monotonic()
        if after - before < _IDLE_SHARE * (now - since):
            return True
        before, since = after, now
    return False


def processor_seconds(pid: int) -> float:
    """What a process has run and what it has waited to run; 0 when it has ended.

    Source: the kernel's Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat".
    """
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            ran, waited, _ = path.read_text().split()
            nanoseconds += int(ran) + int(waited)
    return nanoseconds / 1e9
