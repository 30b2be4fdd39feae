"""Our image trees in a Docker daemon: imported once, under a tag that names their content.

What differs from the tree: the desktop's user has the id that machines have on this host, so that root never backs a
guest and an ordinary user's own files and sockets are his; the home directory is there; no program is set-uid.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

from vm_pool.errors import ImageError
from vm_pool.guest_code import USER
from vm_pool.images import Image
from vm_pool.images.store import MANIFEST
from vm_pool.local_state import Places, machine_uid
from vm_pool.providers.docker_daemon import Daemon, NotInDocker

REPOSITORY = "agent-s3"
KIND, IMAGE, UID = "agent-s3.kind", "agent-s3.image", "agent-s3.uid"
"""Labels of imported images."""
_FORMAT = 1
"""Raised when what is made of a tree changes."""
_CHUNK = 1 << 20


def reference(image: Image) -> str:
    """Repository and tag of an image in a daemon, e.g. `agent-s3:slim-0f3c...-1b2d...`.

    Two builds of one recipe on different days hold different packages; the manifest tells them apart.
    """
    digest = hashlib.sha256((image.path / MANIFEST).read_bytes())
    digest.update(f"{machine_uid()} {_FORMAT}".encode())
    return f"{REPOSITORY}:{image.id}-{digest.hexdigest()[:16]}"


def ensure(daemon: Daemon, places: Places, image: Image) -> str:
    """Import an image unless it is there; one import at a time. Blocks, for 10 s and more the first time.

    The tag appears when the import is complete, so nothing half-made is ever found under it. Raises: `ImageError`.
    """
    wanted = reference(image)
    if _is_there(daemon, wanted):
        return wanted
    with (places.state / "import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_there(daemon, wanted):
            _import(daemon, image, wanted)
    return wanted


def remove(daemon: Daemon, docker_id: str) -> None:
    """Delete an imported image; idempotent. Raises: `HostUnfit` when machines still run from it."""
    with contextlib.suppress(NotInDocker), daemon.client("remove an imported image") as client:
        client.remove_image(docker_id)


def archive(rootfs: Path) -> Generator[bytes]:
    """The tree as a tar stream, made while it is read. Raises: `ImageError`, and then the stream has no end."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="docker-import") as aside:
        with os.fdopen(reading, "rb", buffering=0) as source:
            written = aside.submit(_write, rootfs, os.fdopen(writing, "wb", buffering=_CHUNK))
            while chunk := source.read(_CHUNK):
                yield chunk
        try:
            written.result()
        except OSError as error:  # not as it is: the HTTP library would take it for a lost connection
            raise ImageError(f"{rootfs} cannot be read: {error}; build the image again") from error


def _is_there(daemon: Daemon, wanted: str) -> bool:
    try:
        with daemon.client("look for an image") as client:
            client.inspect_image(wanted)
    except NotInDocker:
        return False
    return True


def _import(daemon: Daemon, image: Image, wanted: str) -> None:
    repository, _, tag = wanted.partition(":")
    labels = " ".join(f"{key}={value}" for key, value in ((KIND, "base"), (IMAGE, image.id), (UID, machine_uid())))
    with daemon.client(f"import {image.id}") as client:
        tree = archive(image.rootfs)
        said = client.import_image_from_stream(tree, repository=repository, tag=tag, changes=[f"LABEL {labels}"])
    if trouble := _complaint(str(said)):
        raise ImageError(f"importing {image.id} into Docker failed: {trouble}")


def _complaint(said: str) -> str | None:
    """The daemon answers 200 before it begins, and says in its answer how it went on."""
    for line in said.splitlines():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict) and (reason := cast("dict[str, object]", report).get("error")):
            return " ".join(str(reason).split())
    return None


def _write(rootfs: Path, pipe: IO[bytes]) -> None:
    by_root = rootfs.stat().st_uid == 0
    uid = machine_uid()

    def as_in_image(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
            return None
        path = rootfs / entry.name
        if entry.name in ("etc/passwd", "etc/group") or not (entry.issym() or _readable(path)):
            return None
        # To the nanosecond, which tarfile's floats are not: font caches know their folders by it.
        seconds, rest = divmod(path.lstat().st_mtime_ns, 10**9)
        entry.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
        entry.mode &= 0o1777
        entry.uname = entry.gname = ""
        if not by_root:
            entry.uid = entry.gid = 0
        return entry

    def as_the_users(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = uid
        entry.uname = entry.gname = ""
        return entry

    with pipe, tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(rootfs.iterdir()):
            tar.add(path, path.name, filter=as_in_image)
        tar.add(rootfs / "etc/skel", f"home/{USER}", filter=as_the_users)
        for name in ("etc/passwd", "etc/group"):
            text = "".join(_renumbered((rootfs / name).read_text(encoding="utf-8").splitlines(), uid)).encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))


def _readable(path: Path) -> bool:
    """A tree that root built has a few files for root alone, which a desktop could not read either."""
    return os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)


def _renumbered(lines: list[str], uid: int) -> Iterator[str]:
    """Lines of passwd or group; the user's own number, and in passwd its group's, become `uid`."""
    for line in lines:
        fields = line.split(":")
        if fields[0] == USER:
            fields[2:4] = [str(uid) if field.isdecimal() else field for field in fields[2:4]]
        yield ":".join(fields) + "\n"
