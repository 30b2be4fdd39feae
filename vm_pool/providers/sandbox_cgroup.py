"""Memory, process and CPU limits of a sandbox machine by control groups, version 1 or 2, where this user may make them.

Where no group can be made, limits per process (`prlimit`) stand in: weaker, since a machine has many processes.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vm_pool.types import Frozen

PARENT = "agent-s3"
CPU_PERIOD_US = 100_000
_V1_CONTROLLERS = ("memory", "pids", "cpu")


class Limits(Frozen):
    """What a machine may use at most; 0: no limit."""

    memory_mib: int = 0
    pids: int = 0
    cpus: float = 0.0


@dataclass(frozen=True)
class Hierarchy:
    """Where this user can make groups: version 1 has one folder per controller, version 2 one for all."""

    version: Literal[1, 2]
    folders: dict[str, Path]
    """Controller name to the folder in which groups are made; `freezer` too in version 1."""


@dataclass(frozen=True)
class Group:
    """The control group of one machine: one folder per controller (version 1) or a single one (version 2)."""

    version: Literal[1, 2]
    folders: dict[str, Path]

    @property
    def join_files(self) -> list[Path]:
        """Files into which a process writes its id to enter the group."""
        return [folder / "cgroup.procs" for folder in dict.fromkeys(self.folders.values())]

    def pids(self) -> set[int]:
        """Processes in the group now, as this host numbers them."""
        found: set[int] = set()
        for path in self.join_files:
            with suppress(FileNotFoundError):
                found.update(int(line) for line in path.read_text().split())
        return found

    def kill(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self) -> bool:
        """Ask all processes to stand still; False when this host has no freezer for us."""
        return self._write_freezer("1" if self.version == 2 else "FROZEN")

    def thaw(self) -> None:
        self._write_freezer("0" if self.version == 2 else "THAWED")

    def frozen(self) -> bool:
        """Whether all processes have come to a stop since `freeze`."""
        if self.version == 2:
            return "frozen 1" in (self.folders["memory"] / "cgroup.events").read_text()
        return (self.folders["freezer"] / "freezer.state").read_text().strip() == "FROZEN"

    async def remove(self, *, timeout_s: float = 5.0) -> None:
        """Kill what is left in the group and delete it; idempotent.

        Raises: `TimeoutError` when its processes do not end, e.g. stuck in the kernel.
        """
        async with asyncio.timeout(timeout_s):
            while remaining := [folder for folder in dict.fromkeys(self.folders.values()) if not _try_rmdir(folder)]:
                self.thaw()
                self.kill()
                await asyncio.sleep(0.005 if remaining else 0)  # a killed process leaves its group a moment later

    def _write_freezer(self, state: str) -> bool:
        name, file = ("memory", "cgroup.freeze") if self.version == 2 else ("freezer", "freezer.state")
        if name not in self.folders:
            return False
        try:
            (self.folders[name] / file).write_text(state)
        except OSError:
            return False
        return True


def find_hierarchy(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Hierarchy | None:
    """Where this process may make limited groups; None when nowhere."""
    if (root / "cgroup.controllers").exists():
        return _version_2(root, own)
    return _version_1(root)


def make_group(hierarchy: Hierarchy, name: str, limits: Limits) -> Group:
    """Make (or take over) the group of a machine and set its limits. Raises: `OSError` when the kernel refuses."""
    folders = {controller: folder / name for controller, folder in hierarchy.folders.items()}
    if hierarchy.version == 1 and not limits.cpus:
        # In a group of its own a whole desktop would get no more CPU than one process outside has.
        folders.pop("cpu", None)
    for folder in dict.fromkeys(folders.values()):
        folder.mkdir(exist_ok=True)
    for controller, file, value in limit_files(hierarchy.version, limits):
        if controller in folders:
            (folders[controller] / file).write_text(value)
    return Group(hierarchy.version, folders)


def existing_group(hierarchy: Hierarchy, name: str) -> Group:
    """The group that another process made, for clearing up; its folders need not exist."""
    return Group(hierarchy.version, {key: folder / name for key, folder in hierarchy.folders.items()})


def group_folders(hierarchy: Hierarchy, pattern: str) -> list[Path]:
    """Of all groups with such a name, whoever made them."""
    return [path for folder in dict.fromkeys(hierarchy.folders.values()) for path in folder.glob(pattern)]


def limit_files(version: Literal[1, 2], limits: Limits) -> list[tuple[str, str, str]]:
    """Controller, file and content for each limit that is set."""
    files: list[tuple[str, str, str]] = []
    memory = str(limits.memory_mib * 2**20)
    quota = str(int(limits.cpus * CPU_PERIOD_US))
    if limits.memory_mib:
        files.append(("memory", "memory.max" if version == 2 else "memory.limit_in_bytes", memory))
    if limits.memory_mib and version == 2:
        files.append(("memory", "memory.oom.group", "0"))
    if limits.pids:
        files.append(("pids", "pids.max", str(limits.pids)))
    if limits.cpus:
        content = f"{quota} {CPU_PERIOD_US}" if version == 2 else quota
        files.append(("cpu", "cpu.max" if version == 2 else "cpu.cfs_quota_us", content))
    return files


def prlimit_options(memory_mib: int, pids: int) -> list[str]:
    """Stand-ins for hosts without groups: `prlimit` options, memory per process and not for the whole machine."""
    options = [f"--nproc={pids}"] if pids else []
    return [*options, f"--data={memory_mib * 2**20}"] if memory_mib else options


def _version_1(root: Path) -> Hierarchy | None:
    folders: dict[str, Path] = {}
    for controller in (*_V1_CONTROLLERS, "freezer"):
        if (root / controller).is_dir() and _make_folder(root / controller / PARENT):
            folders[controller] = root / controller / PARENT
    return Hierarchy(1, folders) if {"memory", "pids"} <= folders.keys() else None


def _version_2(root: Path, own: Path) -> Hierarchy | None:
    """The topmost group above this process in which we may make others: a delegated subtree, or the root."""
    line = next((line for line in own.read_text().splitlines() if line.startswith("0::/")), "0::/")
    current = root / line.removeprefix("0::/").strip()
    lineage = [path for path in (current, *current.parents) if path == root or root in path.parents]
    for parent in reversed(lineage):
        if os.access(parent / "cgroup.procs", os.W_OK) and _delegate(parent) and _make_folder(parent / PARENT):
            return _usable_version_2(parent / PARENT)
    return None


def _usable_version_2(folder: Path) -> Hierarchy | None:
    if not _delegate(folder):
        return None
    return Hierarchy(2, dict.fromkeys(_V1_CONTROLLERS, folder))


def _delegate(folder: Path) -> bool:
    """Hand the controllers on to groups below; the kernel refuses where processes sit in the folder itself."""
    try:
        enabled = set((folder / "cgroup.subtree_control").read_text().split())
        if not set(_V1_CONTROLLERS) <= enabled:
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _V1_CONTROLLERS))
    except OSError:
        return False
    return True


def _make_folder(folder: Path) -> bool:
    """Whether we can make groups in it; one that another user made does not do."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _try_rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
