"""One running sandbox machine as the host sees it: its processes, waiting for it, saving it, ending it."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vm_pool.errors import HostUnfit, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.host_files import end_of
from vm_pool.host_processes import all_pids, children, command_line, kill_all
from vm_pool.images import Image
from vm_pool.local_state import DiskState, MachineFolder
from vm_pool.output import one_line
from vm_pool.providers.sandbox_cgroup import Group

_FREEZE_S = 2.0
_LOG_TAIL = 2000
_STARTERS = ("bwrap:", "unshare:", "mount:", "setpriv:", "prlimit:", "enter:", "sh:")


@dataclass
class Running:
    machine: GuestMachine
    process: "subprocess.Popen[bytes]"
    folder: MachineFolder
    group: Group | None
    image: Image
    state: DiskState
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


def start_failure(log: Path) -> HostUnfit | MachineLost:
    """What went wrong, by the log: the tools of the host that build the sandbox, or the session inside it."""
    lines = end_of(log, _LOG_TAIL).decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    if last.startswith(_STARTERS):
        return HostUnfit(f"the sandbox did not start: {one_line(last)}; run: agent-s3 doctor")
    return MachineLost(f"the desktop session ended while it started: {last!r}")


async def end(running: Running) -> None:
    """Kill all processes of a machine and wait until they are gone. Raises: `TimeoutError` when they stay."""
    await asyncio.to_thread(_kill_and_wait, running.process)
    if running.group:
        await running.group.remove()


def end_elsewhere(folder: MachineFolder) -> None:
    """Kill a machine that another process started; there may be no control group to know it by. Blocks.

    Raises: `TimeoutError` when it does not end.
    """
    start = b"\0".join((b"bwrap", b"--bind", os.fsencode(folder.merged), b"/", b""))
    kill_all([pid for pid in all_pids() if command_line(pid).startswith(start)])


@asynccontextmanager
async def standing_still(group: Group | None) -> AsyncGenerator[None]:
    """Keep a machine's processes from running meanwhile, where this host has a freezer for us."""
    if group is None or not group.freeze():
        yield
        return
    try:
        deadline = time.monotonic() + _FREEZE_S
        while not group.frozen() and time.monotonic() < deadline:  # noqa: ASYNC110  # the kernel signals nothing
            await asyncio.sleep(0.002)
        yield
    finally:
        group.thaw()


def _kill_and_wait(process: "subprocess.Popen[bytes]") -> None:
    """The end of a sandbox's first inner process is the end of all in it: the kernel ends them with their namespace."""
    if process.returncode is None:
        kill_all([process.pid, *children(process.pid)])
        process.wait()
