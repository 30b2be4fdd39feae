"""Taking the state of a running machine out, and giving it to copies; in which way, `vm_cloning` says."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vm_pool.errors import MachineLost
from vm_pool.local_state import DiskState, write_state
from vm_pool.providers import vm_disk, vm_screen
from vm_pool.providers.vm_cloning import Way
from vm_pool.providers.vm_domain import Memory
from vm_pool.providers.vm_ground import Ground, describe
from vm_pool.providers.vm_handle import Vm
from vm_pool.providers.vm_hypervisor import Hypervisor
from vm_pool.providers.vm_places import VmFolder
from vm_pool.providers.vm_rest import at_rest
from vm_pool.providers.vm_running import Running
from vm_pool.relaunch import programs_of

Start = Callable[[VmFolder, Memory], Vm]
"""Start a machine that waits for state, on the disk of a folder."""


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


class Taken(NamedTuple):
    """Of a machine whose state was taken out."""

    state: DiskState
    """With its programs, when its memory could not be had."""
    stood_still_ms: float


async def take_out(
    running: Running, folder: VmFolder, state: DiskState, ground: Ground, hypervisor: Hypervisor, *, goes_on: bool
) -> Taken:
    """Bring all of a machine that its way to be copied needs into a folder, which is made if need be.

    One that does not go on keeps its disk where that is.
    """
    way = ground.cloning.way
    if way != "boot" and await asyncio.to_thread(running.vm.why_it_cannot_move):
        way = "boot"
    if way == "boot":
        state = state.model_copy(update={"programs": await programs_of(running.machine)})
        await running.machine.run(["sync"])
    folder.path.mkdir(mode=0o700, exist_ok=True)
    write_state(folder.path, state)

    def start(work: VmFolder, memory: Memory) -> Vm:
        domain = describe(work, state, ground, memory, incoming=True)
        vm_screen.make_blank(domain.screen)
        return hypervisor.start(domain)

    baking = partial(bake, folder, ground.image.disk, state.spec.memory_mib, start)
    if way == "fork" and not goes_on:  # it can stand still until all is there, so no copy of its memory lies between
        async with at_rest(running.machine, running.vm.pid):
            began = time.monotonic()
            await asyncio.to_thread(baking, partial(_move_over, running.vm))
        return Taken(state, 1000 * (time.monotonic() - began))
    source = running.folder if goes_on else folder
    async with at_rest(running.machine, running.vm.pid):
        stood_still_s = await asyncio.to_thread(partial(save, running.vm, source, folder, way, goes_on=goes_on))
    if goes_on:
        running.channel.set_clock()
    if way == "fork":
        await asyncio.to_thread(baking, partial(_move_in, folder))
    return Taken(state, 1000 * stood_still_s)


def _move_over(vm: Vm, oven: Vm) -> None:
    """The one writes what the other reads. When either fails the former still has all that it had."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        oven.begin_to_move_in(reading, without_memory=False)
        vm.move_out_to(writing, without_memory=False)
    finally:
        os.close(reading)
        os.close(writing)
    oven.await_moved_in()


def _move_in(folder: VmFolder, oven: Vm) -> None:
    oven.move_in(folder.moved, without_memory=False)
    folder.moved.unlink()


def save(vm: Vm, source: VmFolder, folder: VmFolder, way: Way, *, goes_on: bool) -> float:
    """Bring a machine's state into a folder; disk and screen are copied from `source`, unless that is the folder.

    Returns for how many seconds it stood still, when it `goes_on`, which it does whatever happened.
    """
    started = time.monotonic()
    try:
        vm.pause()
        if way != "boot":
            vm.move_out(folder.moved, without_memory=False)
        if source != folder:
            vm_disk.copy(source.disk, folder.disk)
            if way != "boot":
                vm_disk.copy(source.screen, folder.screen)
    finally:
        if goes_on:
            with suppress(MachineLost):  # its own death is what the caller hears of, or does not mind
                vm.resume()
    return time.monotonic() - started


def hand_over(source: VmFolder, folder: VmFolder) -> None:
    """Move disk and screen of a machine that has ended to the state that was saved of it."""
    source.disk.replace(folder.disk)
    if way_of(folder) != "boot":
        source.screen.replace(folder.screen)


def bake(folder: VmFolder, image_disk: Path, mib: int, start: Start, fill: Callable[[Vm], None]) -> None:
    """Make saved state one that forks can map: have a machine that keeps its memory in a file filled with it.

    That machine never runs, so any disk of the right size will do.
    """
    work = VmFolder(folder.path / "oven")
    work.path.mkdir()
    try:
        vm_disk.make_ram(folder.ram, mib)
        vm_disk.overlay(image_disk, work.disk)
        oven = start(work, Memory(mib=mib, file=folder.ram, shared=True))
        try:
            fill(oven)
            oven.move_out(folder.device, without_memory=True)
        finally:
            oven.end()
    finally:
        shutil.rmtree(work.path)
