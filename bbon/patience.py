"""Threads that leave the processor to the rollouts: narrators draw, encode and read in them.

Linux gives every thread a nice value of its own, which nobody has to be root to raise.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import ParamSpec, TypeVar

NICER = 5
"""By so much; 19 is the end of the scale."""
_THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


async def patiently(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but after all that does not wait for it."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), partial(work, *args, **kwargs))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="patient", initializer=_step_back)


def _step_back() -> None:
    with suppress(OSError, AttributeError):  # on systems where threads have no nice value of their own
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, mine + NICER))
