"""Running the one coroutine of a command so that Ctrl-C, SIGTERM and a closed terminal stop it cleanly."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from viewer.faults import Stopped

ResultT = TypeVar("ResultT")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _quietly(_first: bool) -> None:
    pass


def run_until_signal(work: Coroutine[Any, Any, ResultT], on_signal: Callable[[bool], None] = _quietly) -> ResultT:
    """Run `work` to its end, or cancel it at the first signal and wait for its cleanup; later signals change nothing.

    `on_signal` is told at every signal whether it was the first. Raises: `Stopped`; whatever `work` raises.
    """
    with asyncio.Runner() as runner:
        return runner.run(_guarded(work, on_signal))


async def _guarded(work: Coroutine[Any, Any, ResultT], on_signal: Callable[[bool], None]) -> ResultT:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    seen: list[signal.Signals] = []

    def stop(which: signal.Signals) -> None:
        seen.append(which)
        on_signal(len(seen) == 1)
        if len(seen) == 1:
            task.cancel()

    for which in STOPPING:
        loop.add_signal_handler(which, stop, which)
    try:
        await asyncio.wait([task])
        if seen and (task.cancelled() or isinstance(task.exception(), asyncio.CancelledError)):
            raise Stopped(seen[0].name)
        return task.result()
    finally:
        for which in STOPPING:
            loop.remove_signal_handler(which)
