"""Machines and snapshots on this host's disk, in use or left behind, by their state files. Blocks."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from vm_pool.disk import tree_bytes
from vm_pool.local_state import DiskState, read_state
from vm_pool.provider import Stray

BEING_MADE = timedelta(minutes=2)
"""For so long what nothing is known of is left alone."""


def strays_in(machines: Iterable[Path], snapshots: Iterable[Path]) -> list[Stray]:
    """What these folders hold and take, without those that went meanwhile."""
    found = [stray_of(folder, "machine", tree_bytes(folder)) for folder in machines]
    found += [stray_of(folder, "snapshot", tree_bytes(folder)) for folder in snapshots]
    return [stray for stray in found if stray is not None]


def stray_of(folder: Path, kind: Literal["machine", "snapshot"], size: int) -> Stray | None:
    """What a folder holds; without a readable state file it is being made, or was cut short while it was made.

    Its name is its id: a folder that was cut short while it was deleted has another than its state says. None when it
    went meanwhile.
    """
    if (state := read_state(folder)) is not None:
        return stray_by(state, kind, folder.name, str(folder), size)
    try:
        changed = datetime.fromtimestamp(folder.stat().st_mtime, tz=UTC)
    except FileNotFoundError:
        return None
    expires = changed + BEING_MADE
    return Stray(kind=kind, id=folder.name, created=changed, expires=expires, path=str(folder), bytes_on_disk=size)


def stray_by(state: DiskState, kind: str, name: str, path: str, size: int) -> Stray:
    """What lies in a place of which this is known."""
    return Stray(
        kind=kind,
        id=name,
        owner_pid=state.owner.pid if state.owner else None,
        owner_alive=state.owner is not None and state.owner.alive,
        created=state.created,
        expires=state.expires,
        labels=state.labels,
        image=state.image_id,
        path=path,
        bytes_on_disk=size,
    )
