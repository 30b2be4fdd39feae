"""Readings of machines from this host: processor time, memory, disk; and what only some providers can be asked for."""

import asyncio
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from benchmarks.pool_speed.samples import pss_mib
from vm_pool.machine import Machine
from vm_pool.provider import Provider

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@runtime_checkable
class CountsProcesses(Protocol):
    """A provider that can name a machine's processes on this host; of others memory and CPU time are not reported."""

    def process_ids(self, machine: Machine) -> set[int]: ...


@runtime_checkable
class NotesPauses(Protocol):
    """A provider that knows for how long its machines stood still while they were saved."""

    pauses_ms: dict[str, float]
    """Snapshot id -> milliseconds."""


@runtime_checkable
class SeesScreens(Protocol):
    """A machine of which frames may be read without asking its guest."""

    @property
    def outside_screen(self) -> bool: ...


async def memory_mib(provider: CountsProcesses, machines: list[Machine]) -> list[float]:
    """Of each machine, shared pages counted by their share."""
    return await asyncio.to_thread(lambda: [pss_mib(provider.process_ids(machine)) for machine in machines])


async def idle_percent(provider: CountsProcesses, machines: list[Machine], seconds: float) -> list[float]:
    """Processor time that each machine takes while nobody asks anything of it, in percent of one processor."""
    before = await asyncio.to_thread(_seconds_of, provider, machines)
    await asyncio.sleep(seconds)  # this is the time that is measured
    after = await asyncio.to_thread(_seconds_of, provider, machines)
    return [max(0.0, 100 * (late - early) / seconds) for early, late in zip(before, after, strict=True)]


async def disk_kib(provider: Provider, machine: Machine) -> float:
    """What a machine takes on this host's disk beyond its image; 0: nothing, or nothing that its provider knows of."""
    found = {stray.id: stray.bytes_on_disk for stray in await provider.strays()}
    return found.get(machine.info.machine_id, 0) / 1024


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float:
    """Processor time of a process, all its threads together; 0 when it has ended."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _seconds_of(provider: CountsProcesses, machines: list[Machine]) -> list[float]:
    return [sum(map(cpu_seconds, provider.process_ids(machine))) for machine in machines]
