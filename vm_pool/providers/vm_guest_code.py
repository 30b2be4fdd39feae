"""The initramfs of machines: an image's drivers with this package's guest server behind them.

The kernel unpacks archives that follow each other over one another. So images need not be built again when the guest
server changes, and the server is always the one that the host speaks with.

Machines that get their memory from elsewhere have their kernel in it. QEMU wants one all the same, and would read and
hold another copy of it for each of them: they are started with the kernel's first kilobytes.
"""

import fcntl
import hashlib
from pathlib import Path
from typing import NamedTuple

from vm_pool.images import Image
from vm_pool.images.cpio import Entry, archive
from vm_pool.providers.vm_places import VmPlaces

GUEST_SOURCE = Path(__file__).parent.parent / "guest"
_SECTOR = 512
_SETUP_SECTORS, _SETUP_SECTORS_IF_NONE = 0x1F1, 4
_LEAST_READ = 8192


class StartFiles(NamedTuple):
    """What machines of an image are started with."""

    initrd: Path
    kernel_stub: Path
    """For those that get their memory from elsewhere: as much of the kernel as QEMU looks at."""


def start_files(places: VmPlaces, image: Image) -> StartFiles:
    """Made once for each image and version of the guest server."""
    code = archive(guest_files(GUEST_SOURCE))
    digest = hashlib.sha256(image.id.encode() + code).hexdigest()[:16]
    files = StartFiles(places.guests / digest / "initrd", places.guests / digest / "kernel-stub")
    with (places.guests / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.initrd.parent.mkdir(exist_ok=True)
        files.initrd.parent.chmod(0o755)
        if not files.initrd.exists():
            _write_whole(files.initrd, image.initrd.read_bytes() + code)
        if not files.kernel_stub.exists():
            _write_whole(files.kernel_stub, kernel_stub(image.kernel.read_bytes()))
    return files


def kernel_stub(kernel: bytes) -> bytes:
    """The part of a kernel that sets it up, and a little of the rest.

    Source: the kernel's Documentation/arch/x86/boot.rst (`setup_sects`); QEMU, hw/i386/x86.c, x86_load_linux.
    """
    sectors = kernel[_SETUP_SECTORS] or _SETUP_SECTORS_IF_NONE
    return kernel[: max((sectors + 1) * _SECTOR, _LEAST_READ) + _SECTOR]


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.chmod(0o644)  # QEMU's user reads it, and it is no secret
    partial.replace(path)


def guest_files(source: Path) -> dict[str, Entry]:
    """The server's files as they lie in the initramfs."""
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return {f"guest/{path.relative_to(source).as_posix()}": Entry(path.read_bytes()) for path in paths}
