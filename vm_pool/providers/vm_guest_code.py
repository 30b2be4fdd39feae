"""The initramfs of machines: an image's drivers with this package's guest server behind them.

The kernel unpacks archives that follow each other over one another. So images need not be built again when the guest
server changes, and the server is always the one that the host speaks with.
"""

import fcntl
import hashlib
from pathlib import Path

from vm_pool.images import Image
from vm_pool.images.cpio import Entry, archive
from vm_pool.providers.vm_places import VmPlaces

GUEST_SOURCE = Path(__file__).parent.parent / "guest"


def initrd_for(places: VmPlaces, image: Image) -> Path:
    """Made once for each image and version of the guest server."""
    code = archive(guest_files(GUEST_SOURCE))
    digest = hashlib.sha256(image.id.encode() + code).hexdigest()[:16]
    target = places.guests / digest / "initrd"
    with (places.guests / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            partial = target.with_suffix(".partial")
            partial.write_bytes(image.initrd.read_bytes() + code)
            partial.replace(target)
    return target


def guest_files(source: Path) -> dict[str, Entry]:
    """The server's files as they lie in the initramfs."""
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return {f"guest/{path.relative_to(source).as_posix()}": Entry(path.read_bytes()) for path in paths}
