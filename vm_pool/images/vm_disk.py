"""An image for virtual machines: a tree as an ext4 disk, a kernel, and an initramfs with the drivers it needs.

Nothing is mounted and nothing of the tree is copied. The kernel and its drivers stay outside the disk: the host hands
them to the machine at its start.
"""

import lzma
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vm_pool.disk import tree_bytes
from vm_pool.errors import HostUnfit, ImageError
from vm_pool.images.apt import first_error
from vm_pool.images.cpio import Entry, archive
from vm_pool.images.recipe import BUSYBOX_PACKAGE, HERE, KERNEL_PACKAGES, Recipe

TOOLS = {
    "mkfs.ext4": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
}
"""Programs that a build needs and the packages they come in."""
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "crc32c_generic", "ext4")
"""Drivers, those that they need aside: bus, disk, control channel, random numbers, file system."""
WANTED_MODULES = ("nd_e820", "nd_pmem", "virtio_net")
"""Of memory that the host sees too, without which frames travel over the control channel; and of a network card."""
ROOM_BYTES = 4 * 2**30
"""Free space on a new disk; it costs nothing until it is used."""
_FEATURES = "^has_journal,^metadata_csum"
"""What guards against power cuts: a machine's disk is never used again after one."""


def check_tools() -> None:
    """Raises: `HostUnfit` with the command that mends it."""
    for tool, package in TOOLS.items():
        if _which(tool) is None:
            raise HostUnfit(f"{tool} is missing; run: sudo apt-get install -y {package}")


def kernel_packages(wanted: Recipe) -> list[str]:
    return [KERNEL_PACKAGES[wanted.suite.distribution], BUSYBOX_PACKAGE]


def add_kernel(folder: Path, archives: Path) -> dict[str, str]:
    """Put `vmlinuz` and `initrd.cpio` into an image's folder, from downloaded packages.

    Returns the versions of what went in. Raises: `ImageError` when a package or a driver is not there.
    """
    packages = [_newest(archives, pattern) for pattern in ("linux-image-[0-9]*.deb", f"{BUSYBOX_PACKAGE}_*.deb")]
    packages += sorted(archives.glob("linux-modules-[0-9]*.deb"))
    work = folder / "unpacked"
    work.mkdir()
    for package in packages:
        _run(["dpkg-deb", "-x", str(package), str(work)])
    shutil.copyfile(_only(work, "boot/vmlinuz-*"), folder / "vmlinuz")
    (folder / "initrd.cpio").write_bytes(archive(_initramfs(work)))
    shutil.rmtree(work)
    return dict(_name_and_version(package) for package in packages)


def make_disk(folder: Path, rootfs: Path) -> None:
    """Write `disk.qcow2`. An ordinary user's files become root's in it, as they are in machines."""
    raw = folder / "disk.raw"
    size = tree_bytes(rootfs) * 5 // 4 + ROOM_BYTES
    with raw.open("wb") as file:
        file.truncate(size)
    as_root = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--"]
    options = ["-q", "-F", "-O", _FEATURES, "-m", "0", "-E", "lazy_itable_init=1", "-d", str(rootfs)]
    _run([*as_root, _path("mkfs.ext4"), *options, str(raw)])
    _run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(folder / "disk.qcow2")])
    raw.unlink()


def load_order(wanted: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """File names in the order in which they can be loaded, by `modules.dep`: file -> files it needs."""
    by_name = {module_name(path): path for path in needs}
    order: dict[str, None] = {}
    for name in wanted:
        if name in by_name:
            _visit(by_name[name], needs, order)
    return list(order)


def _visit(path: str, needs: Mapping[str, Sequence[str]], order: dict[str, None]) -> None:
    for needed in needs[path]:
        if needed not in order:
            _visit(needed, needs, order)
    order[path] = None


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """`modules.dep`: a file and those it needs per line."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {path.strip(): needed.split() for path, needed in pairs}


def module_name(path: str) -> str:
    """The kernel writes `virtio-rng.ko.xz` as `virtio_rng`."""
    return Path(path).name.split(".ko")[0].replace("-", "_")


def _initramfs(work: Path) -> dict[str, Entry]:
    if not (work / "lib").exists():
        (work / "lib").symlink_to("usr/lib")
    modules = _only(work, "lib/modules/*")
    _run([_path("depmod"), "-b", str(work), modules.name])
    order = load_order(
        (*MODULES, *WANTED_MODULES), parse_dependencies((modules / "modules.dep").read_text(encoding="utf-8"))
    )
    _check_drivers(order, (modules / "modules.builtin").read_text(encoding="utf-8"))
    files = {f"modules/{module_name(path)}": Entry(_unpacked(modules / path)) for path in order}
    files["modules.order"] = Entry("".join(f"{module_name(path)}\n" for path in order).encode())
    files["init"] = Entry((HERE / "vm_init.sh").read_bytes(), 0o755)
    files["bin/busybox"] = Entry(_busybox(work).read_bytes(), 0o755)
    # Places to mount on: an empty file each, since archives here hold files and the folders above them.
    files |= {f"{place}/.empty": Entry(b"") for place in ("proc", "sys", "dev", "root")}
    return files


def _check_drivers(order: Sequence[str], builtin: str) -> None:
    there = {module_name(path) for path in (*order, *builtin.split())}
    if missing := [name for name in MODULES if name not in there]:
        raise ImageError(f"the kernel's packages have no driver {', '.join(missing)}")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return _run(["zstd", "-dcq", str(path)])
    return data


def _busybox(work: Path) -> Path:
    return next(path for path in (work / "usr/bin/busybox", work / "bin/busybox") if path.exists())


def _newest(archives: Path, pattern: str) -> Path:
    found = sorted(archives.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ImageError(f"apt fetched no {pattern} into {archives}")
    return found[-1]


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise ImageError(f"the kernel's packages have {len(found)} of {pattern}, not one")
    return found[0]


def _name_and_version(package: Path) -> tuple[str, str]:
    fields = _run(["dpkg-deb", "-f", str(package), "Package", "Version"]).decode()
    name, version = (line.partition(": ")[2] for line in fields.splitlines()[:2])
    return name, version


def _which(tool: str) -> str | None:
    """Also where only root's path leads."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def _path(tool: str) -> str:
    return _which(tool) or tool


def _run(command: Sequence[str]) -> bytes:
    """Raises: `ImageError` with the tool's own complaint."""
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        complaint = first_error(done.stderr.decode(errors="replace").splitlines())
        raise ImageError(f"{Path(command[0]).name} failed: {complaint}")
    return done.stdout
