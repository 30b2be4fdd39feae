"""The files of virtual machines: fresh disks over an image's, copies of saved ones, memory; and ending strays."""

import os
import subprocess
from pathlib import Path

from vm_pool.host_files import end_of
from vm_pool.host_processes import all_pids, command_line, kill_all
from vm_pool.local_state import DiskState, write_state
from vm_pool.providers.vm_places import VmFolder
from vm_pool.reflink import clone, copy_data

_LAST_BYTES = 4000
_LAST_LINES = 3


def make(folder: VmFolder, state: DiskState, image_disk: Path, saved: VmFolder | None) -> None:
    """The folder of a new machine: an empty disk over the image's, or a copy of a saved one and of its screen.

    One that starts cold gets an empty screen later.
    """
    make_folder(folder, state)
    if saved:
        copy(saved.disk, folder.disk)
        if saved.screen.exists():
            copy(saved.screen, folder.screen)
    else:
        overlay(image_disk, folder.disk)


def make_folder(folder: VmFolder, state: DiskState) -> None:
    folder.path.mkdir(mode=0o700)
    write_state(folder.path, state)


def overlay(below: Path, disk: Path) -> None:
    """An empty disk that shows another, which must not change any more. Raises: `OSError`."""
    _run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(below.absolute()), str(disk)])


def copy(source: Path, target: Path) -> None:
    """A disk lies over its image alone, never over another machine's, so that either can go. Raises: `OSError`."""
    if not clone(source, target):
        copy_data(source, target)


def make_ram(path: Path, mib: int) -> None:
    """An empty file as large as the memory; it takes room as it is filled."""
    with path.open("wb") as file:
        path.chmod(0o600)
        file.truncate(mib << 20)


def forget_memory(folder: VmFolder) -> None:
    """Free the saved memory of a machine that goes on; what maps it keeps what it needs of it."""
    for path in (folder.ram, folder.device, folder.moved):
        path.unlink(missing_ok=True)


def last_words(folder: VmFolder) -> str:
    """The end of what a machine wrote on its console, as one line without control characters."""
    text = end_of(folder.console, _LAST_BYTES).decode(errors="replace")
    lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
    spoken = [line for line in lines if line.strip()][-_LAST_LINES:]
    return f"its console ends: {' | '.join(spoken)!r}" if spoken else "its console is empty"


def end_elsewhere(folder: Path) -> None:
    """Kill the QEMU that another process started on a machine's disk. Raises: `TimeoutError` when it does not end."""
    mark = os.fsencode(folder) + b"/"
    commands = {pid: command_line(pid) for pid in all_pids()}
    kill_all(pid for pid, words in commands.items() if b"qemu-system" in words.split(b"\0")[0] and mark in words)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
