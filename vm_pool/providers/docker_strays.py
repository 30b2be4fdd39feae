"""What the `docker` provider left on this host: its folders, and what carries its labels in the daemon. Blocks."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vm_pool import images
from vm_pool.disk_strays import BEING_MADE, stray_by, stray_of
from vm_pool.local_state import Places, folders_in, machine_uid
from vm_pool.provider import Footprint, Stray
from vm_pool.providers.docker_container import ID, PLACE, state_in
from vm_pool.providers.docker_daemon import Daemon
from vm_pool.providers.docker_image import IMAGE, KIND, UID, reference


def find(daemon: Daemon, places: Places) -> list[Stray]:
    """Machines and snapshots of this state folder; imported images that no image here is the source of any more, and
    networks, as far as nothing uses them; oldest first."""
    ours = {"label": f"{PLACE}={places.state}"}
    with daemon.client("list what there is") as client:
        containers = client.containers(all=True, size=True, filters=ours)
        saved = client.images(filters={"label": [ours["label"], f"{KIND}=snapshot"]})
        bases = client.images(filters={"label": [f"{KIND}=base", f"{UID}={machine_uid()}"]})
        networks = [
            network
            for network in client.networks(filters={"label": f"{KIND}=network"})
            if not client.containers(all=True, filters={"network": network["Id"]})
        ]
        parents = {image["ParentId"] for image in client.images(all=True)}
        used = {one["ImageID"] for one in client.containers(all=True)}
    base_bytes = {base["Labels"][IMAGE]: int(base["Size"]) for base in bases}
    found = [
        *_of("machine", containers, places.machine_folders(), {}),
        *_of("snapshot", saved, _snapshots(places), base_bytes),
    ]
    found += [*_orphaned([base for base in bases if base["Id"] not in parents | used]), *map(_unused_network, networks)]
    return sorted(found, key=lambda stray: stray.created)


def footprint(daemon: Daemon, places: Places) -> Footprint:
    """Of this state folder; networks are shared by all of a daemon."""
    ours = f"{PLACE}={places.state}"
    with daemon.client("list what there is") as client:
        containers = client.containers(all=True, filters={"label": ours})
        saved = client.images(filters={"label": ours})
        networks = client.networks(filters={"label": f"{KIND}=network"})
    return Footprint(
        folders=(places.machines, places.snapshots),
        named={
            "files": frozenset(str(path) for path in places.runtimes()),
            "containers": frozenset(str(one["Id"]) for one in containers),
            "images": frozenset(str(one["Id"]) for one in saved),
            "networks": frozenset(str(one["Name"]) for one in networks),
        },
    )


def _snapshots(places: Places) -> dict[str, Path]:
    return {path.name: path for path in folders_in(places.snapshots)}


def _of(
    kind: Literal["machine", "snapshot"],
    listed: list[dict[str, Any]],
    folders: Mapping[str, Path],
    base_bytes: Mapping[str, int],
) -> Iterator[Stray]:
    """By folder where there is one, which knows the present owner; by label where it is gone."""
    sizes = {one["Labels"].get(ID, ""): _bytes_of(one, base_bytes) for one in listed}
    for name, folder in folders.items():
        if stray := stray_of(folder, kind, sizes.get(name, 0)):
            yield stray
    for one in listed:
        state = state_in(one["Labels"])
        if state is None or state.kind != kind or state.id in folders:
            continue
        yield stray_by(state, kind, state.id, str(one["Id"]), sizes[state.id])


def _bytes_of(one: Mapping[str, Any], base_bytes: Mapping[str, int]) -> int:
    """What a container or a snapshot adds to its image."""
    if "SizeRw" in one or "RepoTags" not in one:
        return int(one.get("SizeRw") or 0)
    state = state_in(one["Labels"])
    return max(0, int(one["Size"]) - base_bytes.get(state.image_id if state else "", 0))


def _orphaned(bases: list[dict[str, Any]]) -> Iterator[Stray]:
    wanted = {reference(image) for image in images.ls() if image.state == "ready" and not image.is_vm}
    for base in bases:
        image_id, created = base["Labels"][IMAGE], datetime.fromtimestamp(base["Created"], tz=UTC)
        if wanted.isdisjoint(base["RepoTags"] or ()):
            yield Stray(
                kind="image",
                id=image_id,
                created=created,
                expires=created,
                path=str(base["Id"]),
                bytes_on_disk=int(base["Size"]),
            )


def _unused_network(network: Mapping[str, Any]) -> Stray:
    """Made again when it is needed."""
    created = datetime.fromisoformat(network["Created"][:19] + "+00:00")
    return Stray(
        kind="network",
        id=str(network["Name"]),
        created=created,
        expires=created + BEING_MADE,
        path=str(network["Id"]),
    )
