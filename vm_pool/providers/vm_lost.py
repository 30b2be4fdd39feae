"""Machines that a daemon has or had and nobody's files tell of any more: found by what was noted in them.

The others are found by their folders, whatever started them. Those of all providers that use libvirt are alike here.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from pydantic import ValidationError

from vm_pool.local_state import DiskState
from vm_pool.owner import Owner, process_started
from vm_pool.provider import Stray
from vm_pool.providers.vm_connection import Choice
from vm_pool.providers.vm_daemon import DaemonLink, OwnDaemon
from vm_pool.providers.vm_domain import METADATA
from vm_pool.providers.vm_library import libvirt, run_event_loop
from vm_pool.providers.vm_places import VmPlaces

KIND = "domain"
_OWNER, _FOLDER, _CREATED, _LABELS = "owner", "state", "created", "labels"


def notes_of(state: DiskState, folder: Path) -> dict[str, str]:
    """What is noted in a machine that libvirt starts."""
    notes = {_FOLDER: str(folder), _CREATED: state.created.isoformat(), _LABELS: json.dumps(dict(state.labels))}
    return {**notes, **({_OWNER: state.owner.model_dump_json()} if state.owner else {})}


def lost_domains(choice: Choice, places: VmPlaces) -> list[Stray]:
    """Those at a daemon whose folders are gone, and what a dead daemon of ours holds of machines that are. Blocks."""
    if choice.kind == "embed":
        return []
    run_event_loop()
    link = DaemonLink(choice, places)
    connection = link.open_if_there()
    if connection is None:
        return _remains(link.own) if link.own else []
    try:
        return [stray for domain in connection.listAllDomains() if (stray := _lost(domain))]
    finally:
        connection.close()


def remove_domain(choice: Choice, places: VmPlaces, stray: Stray) -> None:
    """End it, or remove what a dead daemon holds of it; nothing when it went meanwhile. Blocks."""
    run_event_loop()
    link = DaemonLink(choice, places)
    connection = link.open_if_there()
    if connection is None:
        for path in _files_of(link.own, stray.id) if link.own else ():
            path.unlink(missing_ok=True)
        return
    try:
        with suppress(libvirt.libvirtError):  # it went meanwhile
            connection.lookupByName(stray.id).destroy()
    finally:
        connection.close()


def _lost(domain: Any) -> Stray | None:
    """None for machines that are not ours, or have a folder."""
    with suppress(libvirt.libvirtError, Xml.ParseError, ValidationError, ValueError, KeyError):
        notes = notes_in(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA))
        if Path(notes[_FOLDER]).exists():
            return None
        owner = Owner.model_validate_json(notes[_OWNER])
        return Stray(
            kind=KIND,
            id=domain.name(),
            owner_pid=owner.pid,
            owner_alive=owner.alive,
            created=datetime.fromisoformat(notes[_CREATED]),
            expires=None,
            labels=json.loads(notes[_LABELS]),
            path=notes[_FOLDER],
        )
    return None


def notes_in(element: str) -> dict[str, str]:
    """What is noted in a machine, from its description. Raises: `xml.etree.ElementTree.ParseError`."""
    root = Xml.fromstring(element)  # noqa: S314  # a daemon of this host keeps what we wrote
    return {note.get("name", ""): note.text or "" for note in root.iter() if note.tag.endswith("note")}


def _files_of(own: OwnDaemon, name: str) -> list[Path]:
    return [own.folder / "run/qemu" / f"{name}{suffix}" for suffix in (".xml", ".pid")]


def _remains(own: OwnDaemon) -> list[Stray]:
    found: list[Stray] = []
    for noted in (own.folder / "run/qemu").glob("*-*.xml"):
        with suppress(OSError, ValueError):
            pid = int(noted.with_suffix(".pid").read_text())
            if process_started(pid) is None:
                found.append(_remainder(noted, pid))
    return found


def _remainder(noted: Path, pid: int) -> Stray:
    created = datetime.fromtimestamp(noted.stat().st_mtime, tz=UTC)
    return Stray(
        kind=KIND, id=noted.stem, owner_pid=pid, owner_alive=False, created=created, expires=None, path=str(noted)
    )
