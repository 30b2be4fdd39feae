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
from vm_pool.provider import OnThisHost, Provider

_WEIGHTS = {"dockerd": 0.15, "pool": 0.3}
"""Of kinds whose death costs many leases; 1 for the others."""


class Victim(NamedTuple):
    kind: str
    pid: int


async def choose(
    rng: random.Random, providers: Sequence[Provider], workers: Sequence[Worker], daemon: OwnDaemon | None
) -> Victim | None:
    """A kind that there is, and one process of it."""
    folders: list[Path] = []
    for provider in providers:
        if isinstance(provider, OnThisHost):
            with suppress(VMPoolError):
                folders += (await provider.footprint()).folders
    found: dict[str, list[int]] = {}
    for pid, command in await asyncio.to_thread(running, folders):
        found.setdefault(kind_of(command), []).append(pid)
    for worker in workers:
        if worker.pid is not None:
            found.setdefault("pool", []).append(worker.pid)
    if daemon is not None and daemon.pid is not None:
        found["dockerd"] = [daemon.pid]
    if not found:
        return None
    kinds = sorted(found)
    kind = rng.choices(kinds, [_WEIGHTS.get(kind, 1.0) for kind in kinds])[0]
    return Victim(kind, rng.choice(found[kind]))


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
    for worker in workers:
        if worker.pid == victim.pid:
            worker.killed = True
    with suppress(ProcessLookupError):
        os.kill(victim.pid, signal.SIGKILL)
