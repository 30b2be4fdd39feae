"""Which process is killed next."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.chaos.dockerd import OwnDaemon
from benchmarks.chaos.worker import Worker
from vm_pool.errors import VMPoolError
from vm_pool.holdings import running
from vm_pool.local_state import libvirt_folder
from vm_pool.owner import process_started
from vm_pool.provider import OnThisHost, Provider

INSIDE = "guest server in a virtual machine"
_WEIGHTS = {"dockerd": 0.15, "libvirtd": 0.15, "pool": 0.3, INSIDE: 0.5}
"""Of kinds whose death costs many leases, or that others bring about as well; 1 for the others."""
_KERNELS_OF_THEIR_OWN = frozenset({"libvirt"})
"""Providers with processes in machines that this host does not see."""


class Victim(NamedTuple):
    kind: str
    pid: int


async def choose(
    rng: random.Random, providers: Sequence[Provider], workers: Sequence[Worker], daemon: OwnDaemon | None
) -> Victim | None:
    """A provider, a kind of process that it has, and one such process; None when it has none now."""
    at = rng.randrange(len(providers))
    provider, worker = providers[at], workers[at]
    folders: list[Path] = []
    if isinstance(provider, OnThisHost):
        with suppress(VMPoolError):
            folders += (await provider.footprint()).folders
    found: dict[str, list[int]] = {}
    for pid, command in await asyncio.to_thread(running, folders):
        found.setdefault(kind_of(command), []).append(pid)
    if worker.pid is not None:
        found["pool"] = [worker.pid]
    if worker.pid is not None and worker.lends and provider.name in _KERNELS_OF_THEIR_OWN:
        found[INSIDE] = [worker.pid]
    if provider.name == "docker" and daemon is not None and daemon.pid is not None:
        found["dockerd"] = [daemon.pid]
    if (libvirtd := _libvirtd_of(worker.provider)) is not None:
        found["libvirtd"] = [libvirtd]
    if not found:
        return None
    kinds = sorted(found)
    kind = rng.choices(kinds, [_WEIGHTS.get(kind, 1.0) for kind in kinds])[0]
    return Victim(kind, rng.choice(found[kind]))


def _libvirtd_of(name: str) -> int | None:
    """The daemon that a provider started for itself; this host's own is left alone. None where there is none."""
    if name.partition(":")[2] in ("", "embed"):
        return None
    with suppress(OSError, ValueError):
        pid = int((libvirt_folder() / "daemon" / "pid").read_text())
        return pid if process_started(pid) is not None else None
    return None


def kind_of(command: str) -> str:
    """What a process of a machine is, by its command line."""
    for mark, kind in (
        ("qemu-system", "qemu"),
        ("Xvfb", "Xvfb"),
        ("agent-s3/guest/main.py", "guest server"),
        ("qemu-img", "disk tool"),
    ):
        if mark in command.split(" --", 1)[0]:
            return kind
    return "sandbox" if command.startswith(("bwrap", "unshare", "setpriv")) else "program"


def kill(victim: Victim, workers: Sequence[Worker]) -> None:
    """At once; of what runs inside of a machine, as soon as its user does something there."""
    inside = victim.kind == INSIDE
    for worker in workers:
        if worker.pid == victim.pid and not inside:
            worker.killed = True
    with suppress(ProcessLookupError):
        os.kill(victim.pid, signal.SIGUSR1 if inside else signal.SIGKILL)
