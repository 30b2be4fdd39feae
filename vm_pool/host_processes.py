"""Processes of machines as this host sees them: finding them, waiting for their end, ending them."""

import asyncio
import os
import select
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_END_S = 10.0


async def unless_it_ends(wait: Coroutine[None, None, T], pid: int, failure: Callable[[], Exception]) -> T:
    """Await `wait`, but not longer than the process lives. Raises: what `failure` makes of its last words."""
    waiting = asyncio.create_task(wait)
    ended = asyncio.create_task(_ended(pid))
    try:
        await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise await asyncio.to_thread(failure)
    finally:
        for task in (waiting, ended):
            task.cancel()
        await asyncio.gather(waiting, ended, return_exceptions=True)


def descendants(pid: int) -> set[int]:
    """A process and all below it, as this host numbers them."""
    found: set[int] = set()
    pending = [pid]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += children(current)
    return found


def children(pid: int) -> list[int]:
    """Of all its threads, each of which has its own; none when it has gone."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def all_pids() -> list[int]:
    """Of this host, now."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def command_line(pid: int) -> bytes:
    """Words of a process's command line, each ended by a zero byte; empty when it has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def has_ended(fd: int) -> bool:
    """By a process descriptor."""
    return bool(select.select([fd], [], [], 0)[0])


def kill(fd: int) -> None:
    """By a process descriptor; waits until it is gone. Blocks. Raises: `TimeoutError` when it stays."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    if not select.select([fd], [], [], _END_S)[0]:
        raise TimeoutError("a machine's process did not end after SIGKILL")


def kill_all(pids: Iterable[int]) -> None:
    """As `kill`, one after the other; those that have ended meanwhile are fine."""
    with ExitStack() as stack:
        fds: list[int] = []
        for pid in pids:
            with suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
                stack.callback(os.close, fds[-1])
        for fd in fds:
            kill(fd)


async def _ended(pid: int) -> None:
    """Return when the process has ended, without polling; at once when there is none."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(fd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
