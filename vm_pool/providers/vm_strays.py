"""What virtual machines left on this host: their folders, and libvirt's own of processes that have ended. Blocks."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.disk_strays import strays_in
from vm_pool.local_state import folders_in
from vm_pool.provider import Stray
from vm_pool.providers import vm_disk, vm_lost
from vm_pool.providers.vm_connection import Choice
from vm_pool.providers.vm_places import VmPlaces


def find(places: VmPlaces, choice: Choice | None = None) -> list[Stray]:
    """Oldest first. `choice`: with what that libvirt has without a folder, and with libvirt's own folders, which all
    state folders of a user share; None: one provider tells of these for all.
    """
    found = strays_in(folders_in(places.machines), folders_in(places.snapshots))
    if choice:
        found += filter(None, map(_dead_host, places.dead_hosts()))
        found += vm_lost.lost_domains(choice, places)
    return sorted(found, key=lambda stray: stray.created)


def remove(places: VmPlaces, choice: Choice, stray: Stray) -> None:
    """End what runs on it, and delete it; idempotent."""
    if stray.kind == vm_lost.KIND:
        vm_lost.remove_domain(choice, places, stray)
        return
    if stray.kind == "host":
        delete_tree(places.hosts / stray.id)
        return
    folder = (places.machines if stray.kind == "machine" else places.snapshots) / stray.id
    vm_disk.end_elsewhere(folder)
    delete_tree(folder)


def _dead_host(folder: Path) -> Stray | None:
    """None when it went meanwhile."""
    with suppress(FileNotFoundError):
        made = datetime.fromtimestamp(folder.stat().st_mtime, tz=UTC)
        pid = int(folder.name.lstrip(".").partition("-")[0])
        size = tree_bytes(folder)
        return Stray(
            kind="host", id=folder.name, owner_pid=pid, created=made, expires=None, path=str(folder), bytes_on_disk=size
        )
    return None
