"""Restoring a sandbox's programs into namespaces of their own, and what CRIU leaves to us there."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vm_pool.criu import Criu
from vm_pool.host_processes import all_pids, command_line, kill_all
from vm_pool.local_state import MachineFolder
from vm_pool.providers.sandbox_criu_images import (
    RESTORE_LOG,
    STAGE_NAME,
    Hook,
    StateNotSaved,
    failure,
    hook,
    restore_command,
)
from vm_pool.providers.sandbox_criu_launch import OWN_LIMITS, staged
from vm_pool.providers.sandbox_launch import Launch, from_lasting_thread, limited

WORK_NAME = "restore"
"""Folder of a machine's disk with CRIU's log."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
"""Source: linux/sockios.h, linux/if.h."""
_CLONE_NEWNET = 0x40000000
_INTERFACE = struct.Struct("16sh22x")
"""`struct ifreq` with flags."""


def restore(criu: Criu, launch: Launch, images: Path) -> "subprocess.Popen[bytes]":
    """Start a machine with the programs of another, on a disk, frames and a journal that are copies of the other's.

    Returns the process that they end with, when all of them are there. Blocks. Raises: `StateNotSaved` with CRIU's
    reason; `HostUnfit`.
    """
    work = launch.folder.disk / WORK_NAME
    work.mkdir(mode=0o700)
    with hook("post-restore") as waiting, staged(launch, waiting.folder / STAGE_NAME) as stage:
        process = _start(launch, stage.holder, restore_command(criu, images, work, stage, waiting), waiting)
        try:
            _finish(process, waiting, work / RESTORE_LOG)
        except BaseException:
            process.kill()
            process.wait()
            raise
    return process


def end_restored_elsewhere(folder: MachineFolder) -> None:
    """Kill the CRIU of a machine that another process started; its programs end with it. Blocks."""
    work = b"\0".join((b"--work-dir", os.fsencode(folder.disk / WORK_NAME), b""))
    kill_all([pid for pid in all_pids() if work in command_line(pid)])


def _start(launch: Launch, holder: int, command: list[str], waiting: Hook) -> "subprocess.Popen[bytes]":
    entering = ["setpriv", "--pdeathsig", "KILL", "--", "nsenter", f"--mount=/proc/{holder}/ns/mnt", "--"]
    with launch.folder.log.open("ab") as output:
        return from_lasting_thread(
            lambda: subprocess.Popen(
                [*limited(launch), *entering, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=waiting.environment,
                start_new_session=True,
            )
        )


def _finish(process: "subprocess.Popen[bytes]", waiting: Hook, log: Path) -> None:
    """Ready the namespaces while nothing in them runs yet."""
    first = waiting.reached(process)
    if first is None:
        process.wait()
        raise failure(log)
    well = False
    try:
        limiting = ["nsenter", "--user", f"--target={first}", "--", "sh", "-c", OWN_LIMITS]
        subprocess.run(limiting, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        switch_loopback_on(first)
        well = True
    except (OSError, subprocess.CalledProcessError) as error:
        raise StateNotSaved(f"its namespaces could not be made ready: {error}") from error
    finally:
        waiting.go_on(well=well)
    # Not sooner: a hook that is gone when CRIU comes to its last stages makes it give up.
    if waiting.reached(process) is None:
        process.wait()
        raise failure(log)


def switch_loopback_on(pid: int) -> None:
    """In the network namespace of a process. In a thread that is not used again, since it stays in there.

    Raises: `OSError`.
    """
    with ThreadPoolExecutor(max_workers=1) as once:
        once.submit(_switch_loopback_on, pid).result()


def _switch_loopback_on(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "the network namespace could not be entered")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _INTERFACE.pack(b"lo", 0))
        flags = _INTERFACE.unpack(asked)[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _INTERFACE.pack(b"lo", flags | _IFF_UP))
