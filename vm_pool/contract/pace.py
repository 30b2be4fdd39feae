"""How much slower than this host a machine computes, so that waits for it are as long as it needs and no longer.

Under software emulation the same work takes ten times as long and more; a limit that suits that would let a fast
machine hang for minutes before anybody noticed.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Generator
from contextvars import ContextVar

from vm_pool.errors import GuestError
from vm_pool.machine import Machine

MOST = 60.0
"""A machine that is slower than that is not waited for any longer."""
_WORK = (
    "import time; begun = time.perf_counter(); total = 0\n"
    "for number in range(300_000): total = (total * 31 + number) % 1_000_003\n"
    "print(time.perf_counter() - begun)"
)
_WORK_S = 60.0
_pace: ContextVar[float] = ContextVar("pace", default=1.0)


def stretched(seconds: float) -> float:
    """A limit for a machine as fast as this host, as long as the one that is being checked needs."""
    return seconds * _pace.get()


@contextlib.contextmanager
def at_pace(pace: float) -> Generator[None]:
    """Stretch all limits in the block, and in the tasks that it starts, by a factor."""
    token = _pace.set(pace)
    try:
        yield
    finally:
        _pace.reset(token)


async def pace_of(machine: Machine) -> float:
    """Time that a small program takes in a machine, over that on this host; at least 1, and 1 without Python there.

    Wall clock in the machine, so that a busy host counts too.
    """
    there = await _seconds_there(machine)
    return 1.0 if there is None else min(MOST, max(1.0, there / await asyncio.to_thread(_seconds_here)))


async def _seconds_there(machine: Machine) -> float | None:
    with contextlib.suppress(GuestError, ValueError):
        done = await machine.run(["python3", "-c", _WORK], timeout_s=_WORK_S)
        return float(done.stdout) if done.returncode == 0 else None
    return None


def _seconds_here() -> float:
    done = subprocess.run([sys.executable, "-c", _WORK], capture_output=True, text=True, timeout=_WORK_S, check=True)
    return float(done.stdout)
