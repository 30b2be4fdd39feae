"""What tests look at in desktops and among their processes on this host."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from vm_pool.machine import Machine

_WINDOW_S = 60


async def output(machine: Machine, *argv: str) -> str:
    """All that a command wrote."""
    done = await machine.run(argv)
    return done.stdout + done.stderr


async def until_there_is_a_window(machine: Machine, title: str) -> None:
    async with asyncio.timeout(_WINDOW_S):
        while not any(title in window.title for window in await machine.windows()):  # noqa: ASYNC110  # no events
            await asyncio.sleep(0.02)


def uids(pids: Iterable[int]) -> set[int]:
    return {Path(f"/proc/{pid}").stat().st_uid for pid in pids}


def command_line(pid: int) -> str:
    """With spaces; "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
