"""Counts what machines leave on this host: processes, mounts, control groups, folders, and what their provider lists.

Everything is told by the machines that were noted while they lived, so that what others do here meanwhile is not
counted. Containers and domains are in their provider's list; their processes, mounts and groups are counted besides.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.pool_speed.probes import CountsProcesses
from vm_pool.host_processes import descendants
from vm_pool.machine import Machine
from vm_pool.owner import process_started
from vm_pool.provider import Provider, Snapshot

KINDS = ("listed", "processes", "mounts", "groups", "folders")
"""`listed`: machines and snapshots, as the provider lists them."""
_GROUPS = Path("/sys/fs/cgroup")
_POLL_S = 0.1

Found = dict[str, set[str]]
"""Kind -> names of what is there."""


class Census:
    """What the machines of one provider that were noted take on this host. Call `begin` before the first of them."""

    def __init__(self, provider: Provider, *, gone_s: float = 10.0):
        """`gone_s`: how long what ends may take to be gone."""
        self._provider = provider
        self._gone_s = gone_s
        self._ids: set[str] = set()
        self._processes: dict[int, int] = {}
        """Process id -> when it started: a later process of the same id is another one."""
        self._uppers: set[str] = set()
        self._groups: set[Path] = set()
        self._parents: set[Path] = set()
        self._before: set[int] = set()
        self._at_work = asyncio.Lock()
        """Held by the one thread that reads or changes what is noted."""
        self.most: dict[str, int] = dict.fromkeys(KINDS, 0)
        """The most of each kind that `look` saw at one time."""

    def begin(self) -> None:
        self._before = descendants(os.getpid())

    async def note(self, machine: Machine) -> None:
        """Remember what belongs to a machine that runs."""
        self._ids.add(machine.info.machine_id)
        if isinstance(self._provider, CountsProcesses):
            async with self._at_work:
                await asyncio.to_thread(self._note_processes, self._provider, machine)

    def note_snapshot(self, snapshot: Snapshot) -> None:
        self._ids.add(snapshot.snapshot_id)

    async def look(self) -> Found:
        """What is there now of all that was noted."""
        strays = [stray for stray in await self._provider.strays() if stray.id in self._ids]
        self._parents |= {path.parent for path in (Path(stray.path) for stray in strays) if path.is_absolute()}
        found = {"listed": {f"{stray.kind} {stray.id}" for stray in strays}}
        async with self._at_work:
            found |= await asyncio.to_thread(self._look_at_host)
        for kind, names in found.items():
            self.most[kind] = max(self.most[kind], len(names))
        return found

    async def remains(self) -> Found:
        """What is still there when everything should have gone; ends take a moment."""
        deadline = time.monotonic() + self._gone_s
        while True:
            found = await self.look()
            if not any(found.values()) or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL_S)

    def _note_processes(self, provider: CountsProcesses, machine: Machine) -> None:
        own = set(_groups_of("self"))
        for pid in provider.process_ids(machine):
            started = process_started(pid)
            if started is None:
                continue
            self._processes[pid] = started
            self._groups |= set(_groups_of(str(pid))) - own
            self._uppers |= set(_uppers_in(Path(f"/proc/{pid}/mountinfo"), mounted_at="/"))

    def _look_at_host(self) -> Found:
        """What has gone is forgotten, so that a long run does not look for it again and again."""
        self._processes = {pid: began for pid, began in self._processes.items() if process_started(pid) == began}
        self._groups = {group for group in self._groups if group.is_dir()}
        here = set(_uppers_in(Path("/proc/self/mountinfo")))
        children = descendants(os.getpid()) - self._before - {os.getpid()}
        living = {pid for pid in children if process_started(pid) is not None}
        return {
            "processes": {f"process {pid}" for pid in living | self._processes.keys()},
            "mounts": {f"mount of {upper}" for upper in self._uppers & here},
            "groups": {str(group) for group in self._groups},
            "folders": {str(path) for path in self._folders()},
        }

    def _folders(self) -> Iterator[Path]:
        """By the id in their names; what is being deleted has it in a hidden one."""
        for parent in self._parents:
            with suppress(OSError):
                for path in parent.iterdir():
                    if path.name in self._ids or (path.name.startswith(".") and self._ids & set(path.name.split("."))):
                        yield path


def _groups_of(process: str) -> Iterator[Path]:
    """Folders of the control groups that a process is in, but for the outermost ones."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if path != "/":
                yield _GROUPS / controllers.removeprefix("name=") / path.lstrip("/")


def _uppers_in(mountinfo: Path, mounted_at: str = "") -> Iterator[str]:
    """Upper folders of overlay mounts, which tell one mount from all others wherever it is seen.

    Source: proc(5), `mountinfo`: the mount point is the fifth field, what follows ` - ` is type, source and options.
    """
    with suppress(OSError):
        for line in mountinfo.read_text(errors="replace").splitlines():
            head, _, tail = line.partition(" - ")
            if mounted_at and head.split()[4] != mounted_at:
                continue
            options = tail.split(maxsplit=2)[-1].split(",")
            yield from (option.removeprefix("upperdir=") for option in options if option.startswith("upperdir="))
