"""What machines hold on a host: counted before and after, the difference is what leaked.

    before = await holdings(providers)
    ...
    leaked = await holdings(providers) - before

Processes and mount namespaces are known by the folders that providers name: on the command line, or mounted.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from vm_pool.host_processes import all_pids, command_line
from vm_pool.provider import Footprint, OnThisHost, Provider
from vm_pool.types import Frozen

_COMMAND_LIMIT = 200


class Holdings(Frozen):
    """Names of everything that is held, by kind. An empty one is false."""

    processes: frozenset[str] = frozenset()
    """Those of machines, and others whose command line names a folder of a provider; not this process and its parents.
    As `PID STARTED COMMAND`, so that a later process with the same id is another."""
    namespaces: frozenset[str] = frozenset()
    """Mount namespaces of machines that run."""
    mounts: frozenset[str] = frozenset()
    """In the namespace of this process."""
    sockets: frozenset[str] = frozenset()
    """Unix sockets that are open in the network namespace of this process."""
    files: frozenset[str] = frozenset()
    """Entries of the folders in which providers keep one for each machine or snapshot."""
    cgroups: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    """In a container daemon."""
    networks: frozenset[str] = frozenset()
    """In a container daemon."""
    domains: frozenset[str] = frozenset()
    """Of a hypervisor."""
    strays: frozenset[str] = frozenset()
    """All that providers list themselves, in use or not, as `PROVIDER KIND ID`."""

    def __sub__(self, before: Self) -> "Holdings":
        """What is held here and was not held then."""
        return Holdings(**{kind: names - getattr(before, kind) for kind, names in self})

    def __bool__(self) -> bool:
        return any(names for _, names in self)

    def counts(self) -> dict[str, int]:
        return {kind: len(names) for kind, names in self}

    def lines(self) -> list[str]:
        """One for each thing, for people."""
        return [f"{kind}: {name}" for kind, names in self for name in sorted(names)]


async def holdings(providers: Sequence[Provider], *, folders: Sequence[Path] = ()) -> Holdings:
    """Count what these providers hold on this host, and what else names `folders`; takes some 10 ms.

    Raises: what the providers raise when they cannot say what there is.
    """
    local = [provider for provider in providers if isinstance(provider, OnThisHost)]
    prints = [*await asyncio.gather(*(provider.footprint() for provider in local)), Footprint(folders=tuple(folders))]
    listings = await asyncio.gather(*(provider.strays() for provider in providers))
    strays = {
        f"{provider.name} {stray.kind} {stray.id}"
        for provider, listing in zip(providers, listings, strict=True)
        for stray in listing
    }
    seen = await asyncio.to_thread(_seen_by_this_host, prints)
    return seen.model_copy(update={"strays": frozenset(strays)})


def running(folders: Iterable[Path]) -> list[tuple[int, str]]:
    """Processes that name these folders or live in a mount namespace that does: id and command line, by id. Blocks."""
    marks = list({mark for folder in folders for mark in _marks(folder)})
    named = (name.split(maxsplit=2) for name in _processes(marks)[0])
    return sorted((int(words[0]), " ".join(words[2:])) for words in named)


def _seen_by_this_host(prints: Sequence[Footprint]) -> Holdings:
    folders = [folder for one in prints for folder in one.folders]
    marks = list({mark for folder in folders for mark in _marks(folder)})
    processes, namespaces = _processes(marks)
    found = {
        "processes": processes,
        "namespaces": namespaces,
        "mounts": frozenset(_mounts(marks)),
        "sockets": frozenset(_sockets(marks)),
        "files": frozenset(_entries(folders)),
    }
    for one in prints:
        for kind, names in one.named.items():
            found[kind] = found.get(kind, frozenset()) | names
    return Holdings(**found)


def _marks(folder: Path) -> Iterator[bytes]:
    """A folder's name as command lines have it, and as mounts have it, which leave out where its file system lies."""
    yield os.fsencode(folder)
    mount = next((parent for parent in (folder, *folder.parents) if parent.is_mount()), None)
    if mount is not None and folder.relative_to(mount).parts:
        yield os.fsencode(f"/{folder.relative_to(mount)}")


def _processes(marks: Sequence[bytes]) -> tuple[frozenset[str], frozenset[str]]:
    spared, own = _lineage(os.getpid()), _link("/proc/self/ns/mnt")
    found: set[str] = set()
    namespaces: dict[str, bool] = {own: False}
    for pid in all_pids():
        if pid in spared:
            continue
        namespace, command = _link(f"/proc/{pid}/ns/mnt"), command_line(pid)
        if namespace and namespace not in namespaces:
            namespaces[namespace] = _names(marks, _read(f"/proc/{pid}/mountinfo"))
        if namespaces.get(namespace, False) or _names(marks, command):
            found.update(_name_of(pid, command))
    return frozenset(found), frozenset(name for name, ours in namespaces.items() if ours)


def _name_of(pid: int, command: bytes) -> Iterator[str]:
    """Nothing when it has ended meanwhile, or waits for its parent to notice that."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if fields and fields[0] not in (b"Z", b"X"):
        words = command.replace(b"\0", b" ").decode(errors="replace").strip()
        yield f"{pid} {int(fields[19])} {words[:_COMMAND_LIMIT]}"


def _lineage(pid: int) -> set[int]:
    """A process and those above it."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if fields else 0
    return found


def _mounts(marks: Sequence[bytes]) -> Iterator[str]:
    for line in _read("/proc/self/mountinfo").splitlines():
        if _names(marks, line):
            yield line.split()[4].decode(errors="replace")


def _sockets(marks: Sequence[bytes]) -> Iterator[str]:
    for line in _read("/proc/net/unix").splitlines():
        path = line.partition(b" /")[2]
        if path and _names(marks, b"/" + path):
            yield f"/{path.decode(errors='replace')} {line.split()[6].decode()}"


def _entries(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        with suppress(FileNotFoundError):
            yield from (str(path) for path in folder.iterdir())


def _names(marks: Sequence[bytes], text: bytes) -> bool:
    return any(mark in text for mark in marks)


def _read(path: str) -> bytes:
    """Of /proc; empty when the process has gone or belongs to somebody else."""
    with suppress(OSError):
        return Path(path).read_bytes()
    return b""


def _link(path: str) -> str:
    with suppress(OSError):
        return str(Path(path).readlink())
    return ""
