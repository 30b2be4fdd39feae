"""Saving a machine in the middle of its work: how long that takes, and for how long the machine stands still."""

import asyncio
import time

from benchmarks.pool_speed.crowd import ms_since
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.probes import CountsProcesses, NotesPauses
from benchmarks.pool_speed.samples import Findings
from vm_pool.errors import GuestError
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Snapshot

_WATCH = "/tmp/agent-s3-pause"  # noqa: S108 - in the desktop
_WATCH_S = 120
_POLL_S = 0.02

# Runs in the guest while it is saved. Its clock goes on when its programs are stopped from outside, so that the longest
# time between two looks at the clock is the pause. It says that it is there by making a file, and ends when that goes.
_WATCH_SCRIPT = """
import os, sys, time
path, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
open(path, "w").close()
last, longest = time.monotonic(), 0.0
while os.path.exists(path) and last < end:
    time.sleep(0.002)
    now = time.monotonic()
    last, longest = now, max(longest, now - last)
print(longest * 1000)
"""


async def branches(pool: Pool, source: Snapshot, plan: Plan, findings: Findings) -> None:
    """Save a fork, which is itself at work, again and again; forks of what was saved must start."""
    with findings.unless_it_cannot("branch_ms", "branch_pause_ms"):
        async with pool.lease(source) as machine:
            for _ in range(plan.branches):
                saved = await _branch(pool.provider, machine, findings)
                try:
                    async with pool.lease(saved):
                        findings.absent.pop("branch_ms", None)
                finally:
                    await pool.provider.drop(saved)


async def _branch(provider: Provider, machine: Machine, findings: Findings) -> Snapshot:
    if isinstance(provider, NotesPauses) or not isinstance(provider, CountsProcesses):
        saved = await _saved(provider, machine, findings)
        if isinstance(provider, NotesPauses):
            findings.add("branch_pause_ms", provider.pauses_ms[saved.snapshot_id])
        else:
            findings.lack("for how long a machine elsewhere stands still cannot be seen from here", "branch_pause_ms")
        return saved
    watching = asyncio.ensure_future(_watch(machine))
    try:
        await _watched(machine, watching)
        saved = await _saved(provider, machine, findings)
    finally:
        await machine.run(["rm", "-f", _WATCH])
        pause = await watching
    findings.add("branch_pause_ms", pause)
    return saved


async def _saved(provider: Provider, machine: Machine, findings: Findings) -> Snapshot:
    begin = time.perf_counter()
    saved = await provider.snapshot(machine)
    findings.add("branch_ms", ms_since(begin))
    return saved


async def _watch(machine: Machine) -> float:
    """Returns the longest time, in ms, for which the machine's programs did not run."""
    command = ["python3", "-I", "-c", _WATCH_SCRIPT, _WATCH, str(_WATCH_S)]
    done = await machine.run(command, timeout_s=_WATCH_S + 10)
    if done.returncode != 0:
        raise GuestError(f"{machine.info.machine_id}: its pause could not be watched: {done.stderr.strip()[-200:]}")
    return float(done.stdout)


async def _watched(machine: Machine, watching: "asyncio.Future[float]") -> None:
    """Returns when the watch looks at the clock, or has ended in an error that its caller finds."""
    while not watching.done():
        if (await machine.run(["test", "-e", _WATCH])).returncode == 0:
            return
        await asyncio.sleep(_POLL_S)
