"""Taking a running machine's state out, and the ways in which machines can be made of it.

fork: its memory becomes a file that copies map for themselves, so that they start at once and cost what they change.
restore: each copy reads all of the memory for itself. boot: the disk alone is saved, and copies start cold on it.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from vm_pool.errors import MachineLost
from vm_pool.providers import vm_disk
from vm_pool.providers.vm_domain import Memory
from vm_pool.providers.vm_hypervisor import Vm
from vm_pool.providers.vm_places import VmFolder

Way = Literal["fork", "restore", "boot"]
WAYS: tuple[Way, ...] = ("fork", "restore", "boot")
_SHARING, _MOVING = "x-ignore-shared", "events"
"""What QEMU calls saving devices without shared memory; and what every QEMU that saves at all knows."""
_PROBE_S = 10.0

Start = Callable[[VmFolder, Memory], Vm]
"""Start a machine that waits for state, on the disk of a folder."""


class Cloning(NamedTuple):
    """How copies are made, and why that way."""

    way: Way
    reason: str


def cloning_by(capabilities: Iterable[str]) -> Cloning:
    """The best way that a QEMU with these migration capabilities has."""
    known = set(capabilities)
    if _SHARING in known:
        return Cloning("fork", "QEMU saves devices apart from memory")
    if _MOVING in known:
        return Cloning("restore", f"this QEMU has no {_SHARING}, so each copy reads all of the memory")
    return Cloning("boot", "this QEMU saves no running machines, so copies start cold")


def cloning_of(emulator: Path) -> Cloning:
    """Ask a QEMU without a machine. Blocks, for about 0.1 s."""
    command = [str(emulator), "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    asked = "".join(
        json.dumps({"execute": name}) for name in ("qmp_capabilities", "query-migrate-capabilities", "quit")
    )
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=_PROBE_S)
    except (subprocess.TimeoutExpired, OSError) as error:
        return Cloning("boot", f"QEMU cannot be asked what it saves: {error}")
    return cloning_by(_capabilities_in(done.stdout))


def _capabilities_in(answers: bytes) -> list[str]:
    for line in answers.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            found = [one["capability"] for one in json.loads(line)["return"]]
            if found:
                return found
    return []


def way_of(folder: VmFolder) -> Way:
    """How copies are made of what a folder holds."""
    if folder.device.exists():
        return "fork"
    return "restore" if folder.moved.exists() else "boot"


def memory_for(folder: VmFolder | None, mib: int) -> Memory:
    """Memory of a machine that starts from a folder; None for one that starts from an image."""
    mapped = folder.ram if folder and way_of(folder) == "fork" else None
    return Memory(mib=mib, file=mapped)


def load(vm: Vm, folder: VmFolder) -> None:
    """Give a machine that waits for state what a folder holds."""
    if way_of(folder) == "fork":
        vm.move_in(folder.device, without_memory=True)
    else:
        vm.move_in(folder.moved, without_memory=False)


def save(vm: Vm, disk: Path, folder: VmFolder, way: Way, *, goes_on: bool) -> float:
    """Bring a machine's state into a folder; its disk is copied there unless it lies there.

    Returns for how many seconds it stood still, when it `goes_on`, which it does whatever happened.
    """
    started = time.monotonic()
    try:
        vm.pause()
        if way != "boot":
            vm.move_out(folder.moved, without_memory=False)
        if disk != folder.disk:
            vm_disk.copy(disk, folder.disk)
    finally:
        if goes_on:
            with suppress(MachineLost):  # its own death is what the caller hears of, or does not mind
                vm.resume()
    return time.monotonic() - started


def bake(folder: VmFolder, image_disk: Path, mib: int, start: Start) -> None:
    """Make what was saved one that forks can map: load it into a machine that keeps its memory in a file.

    That machine never runs, so any disk of the right size will do.
    """
    work = VmFolder(folder.path / "oven")
    work.path.mkdir()
    try:
        vm_disk.make_ram(folder.ram, mib)
        vm_disk.overlay(image_disk, work.disk)
        oven = start(work, Memory(mib=mib, file=folder.ram, shared=True))
        try:
            oven.move_in(folder.moved, without_memory=False)
            oven.move_out(folder.device, without_memory=True)
        finally:
            oven.end()
        folder.moved.unlink()
    finally:
        shutil.rmtree(work.path)
