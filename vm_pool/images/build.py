"""Building an image: fetch packages, install them with mmdebstrap, customise, rename into the store."""

import os
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vm_pool.disk import delete_tree, tree_bytes
from vm_pool.errors import HostUnfit, ImageError
from vm_pool.images import vm_disk
from vm_pool.images.apt import PackageCache, first_error, host_sources, keeping, source_lines
from vm_pool.images.customise import customise, fetch_guest_packages
from vm_pool.images.progress import BuildProgress, OnProgress, silent
from vm_pool.images.recipe import PATH_EXCLUDES, PATH_INCLUDES, Recipe, recipe
from vm_pool.images.store import (
    MANIFEST,
    PARTIAL,
    Image,
    Manifest,
    cache_dir,
    find,
    images_dir,
    lock,
    read_manifest,
)

NEEDED_BYTES = {"slim": 3 * 2**30, "desktop": 6 * 2**30, "slim-vm": 3 * 2**30, "desktop-vm": 5 * 2**30}
"""Free space asked for before a build: packages, the tree, and the tree's archive for an ordinary user."""
_TOOLS = ("mmdebstrap", "bwrap", "tar")


def build(name: str, *, on_progress: OnProgress = silent) -> Image:
    """Build the image of that name, or return it at once when it is there. Takes minutes; blocks.

    One for virtual machines is made from the tree of the same name, which is built first where it is missing.
    Nothing half-made is ever found under an image's id. Packages that were downloaded are kept for the next build.
    Raises: `ConfigError` for an unknown name, `HostUnfit` when a tool or permission is missing, `ImageError` otherwise.
    """
    wanted = recipe(name)
    with lock(wanted.image_id) as lock_fd:
        if (images_dir() / wanted.image_id / MANIFEST).is_file():
            on_progress(BuildProgress(stage="cached", message=f"{wanted.image_id} is already built", percent=100))
            return find(wanted.image_id)
        tree = build(wanted.tree_name, on_progress=on_progress) if wanted.is_vm else None
        _check_host(wanted)
        with building(wanted.image_id) as folder:
            if tree:
                _fill_vm(folder, wanted, tree, on_progress)
            else:
                _fill(folder, wanted, on_progress, lock_fd)
    on_progress(BuildProgress(stage="done", message=f"built {wanted.image_id}", percent=100))
    return find(wanted.image_id)


def _fill(folder: Path, wanted: Recipe, on_progress: OnProgress, lock_fd: int) -> None:
    lines = source_lines(host_sources(wanted.suite), wanted.suite)
    packages = PackageCache(cache_dir() / "apt", wanted.suite)
    with ThreadPoolExecutor(max_workers=1) as aside:
        wheels = aside.submit(fetch_guest_packages, folder / "wheels")
        packages.download(wanted.packages, lines, on_progress)
        _collect(packages.archives, folder / "debs")
        _install(folder, wanted, lines, on_progress, lock_fd)
        wheels.result()
    on_progress(BuildProgress(stage="customise", message="adding the user, wrappers and pyautogui"))
    customise(folder / "rootfs", wanted, folder / "wheels")
    shutil.rmtree(folder / "wheels")
    shutil.rmtree(folder / "debs")
    rootfs = folder / "rootfs"
    _write_manifest(folder, wanted, size=tree_bytes(rootfs), versions=installed_versions(rootfs))


def _fill_vm(folder: Path, wanted: Recipe, tree: Image, on_progress: OnProgress) -> None:
    """The tree as a disk, and a kernel that starts it."""
    lines = source_lines(host_sources(wanted.suite), wanted.suite)
    packages = PackageCache(cache_dir() / "apt", wanted.suite)
    packages.download(vm_disk.kernel_packages(wanted), lines, on_progress)
    on_progress(BuildProgress(stage="customise", message="unpacking the kernel"))
    kernel = vm_disk.add_kernel(folder, packages.archives)
    on_progress(BuildProgress(stage="customise", message="writing the disk"))
    vm_disk.make_disk(folder, tree.rootfs)
    of_tree = read_manifest(tree.path)
    versions = {**of_tree.versions, **kernel}
    _write_manifest(folder, wanted, size=tree_bytes(folder), versions=versions)


def _check_host(wanted: Recipe) -> None:
    """Raises: `HostUnfit`, `ImageError` when there is too little space."""
    if wanted.is_vm:
        vm_disk.check_tools()
    for tool in () if wanted.is_vm else _TOOLS:
        if shutil.which(tool) is None:
            raise HostUnfit(f"{tool} is missing; run: sudo apt-get install -y mmdebstrap bubblewrap uidmap")
    if os.geteuid() != 0 and not wanted.is_vm and (missing := missing_for_user_builds()):
        raise HostUnfit(missing)
    images_dir().mkdir(parents=True, exist_ok=True)
    check_space(images_dir(), NEEDED_BYTES[wanted.name])


def check_space(folder: Path, needed: int) -> None:
    """Raises: `ImageError` when there are fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ImageError(
            f"disk full: {folder} has {free / 2**30:.1f} GiB free and the build needs {needed / 2**30:.0f} GiB;"
            " free some or set AGENT_S3_CACHE to a larger disk"
        )


def missing_for_user_builds(subuid: Path = Path("/etc/subuid"), subgid: Path = Path("/etc/subgid")) -> str | None:
    """What keeps an ordinary user from building images, with the mending command; None when nothing does."""
    import pwd  # not on Windows, where this module is imported but never builds

    if shutil.which("newuidmap") is None:
        return "building an image as an ordinary user needs newuidmap; run: sudo apt-get install -y uidmap"
    user = pwd.getpwuid(os.getuid()).pw_name
    for path in (subuid, subgid):
        owners = [line.split(":")[0] for line in path.read_text().splitlines()] if path.exists() else []
        if user not in owners and str(os.getuid()) not in owners:
            return (
                f"{user!r} has no range in {path}, which building an image as an ordinary user needs; run:"
                f" sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
                " (or let root build it: sudo agent-s3 pool image build)"
            )
    return None


@contextmanager
def building(image_id: str) -> Generator[Path]:
    """A fresh folder that becomes the image on success, goes on failure and stays to be seen when interrupted."""
    folder = images_dir() / f"{image_id}{PARTIAL}"
    if folder.exists():
        delete_tree(folder)
    folder.mkdir(mode=0o755, parents=True)
    try:
        yield folder
    except OSError as error:
        delete_tree(folder)
        raise ImageError(f"building {image_id} failed: {error.strerror or error}; {folder.parent}") from error
    except Exception:
        delete_tree(folder)
        raise
    folder.rename(images_dir() / image_id)


def _collect(archives: Path, target: Path) -> None:
    """Hard links to the downloaded packages alone, without apt's lock and work files."""
    target.mkdir()
    for package in archives.glob("*.deb"):
        (target / package.name).hardlink_to(package)


def _install(folder: Path, wanted: Recipe, lines: Sequence[str], on_progress: OnProgress, lock_fd: int) -> None:
    sources = folder / "sources.list"
    sources.write_text("\n".join(lines) + "\n", encoding="utf-8")
    install = _install_as_root if os.geteuid() == 0 else _install_as_user

    def run(arguments: Sequence[str], stdout: int | None) -> subprocess.Popen[str]:
        # The descriptor keeps the lock of a build whose parent was killed until the last child is gone.
        return subprocess.Popen(
            ["mmdebstrap", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[lock_fd],
        )

    output = install(folder, mmdebstrap_options(wanted), [wanted.suite.codename, str(sources)], run, on_progress)
    if output is not None:
        raise ImageError(f"mmdebstrap failed: {first_error(output)}; {images_dir()}")
    sources.unlink()


Run = Callable[[Sequence[str], int | None], "subprocess.Popen[str]"]


def mmdebstrap_options(wanted: Recipe) -> list[str]:
    """What the two ways to install have in common."""
    exclude = [f"--dpkgopt=path-exclude={pattern}" for pattern in PATH_EXCLUDES]
    include = [f"--dpkgopt=path-include={pattern}" for pattern in PATH_INCLUDES]
    apt = ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"']
    packages = f"--include={','.join(wanted.packages)}"
    return ["--variant=minbase", "--skip=download/empty", *apt, *exclude, *include, packages]


def _install_as_root(
    folder: Path, options: list[str], place: list[str], run: Run, on_progress: OnProgress
) -> deque[str] | None:
    """Straight into `rootfs`. Returns the tool's last words when it failed, else None."""
    debs = shlex.quote(str(folder / "debs"))
    hook = f'mkdir -p "$1/var/cache/apt/archives" && cp -ln {debs}/. "$1/var/cache/apt/archives/" -r'
    suite, sources = place
    arguments = ["--mode=root", "--format=directory", f"--setup-hook={hook}", *options]
    process = run([*arguments, suite, str(folder / "rootfs"), sources], None)
    words = _watch(process, on_progress)
    return words if process.returncode != 0 else None


def _install_as_user(
    folder: Path, options: list[str], place: list[str], run: Run, on_progress: OnProgress
) -> deque[str] | None:
    """By way of an archive that this user unpacks, so that the user owns the whole tree."""
    (folder / "rootfs").mkdir()
    make = 'mkdir -p "$1/var/cache/apt/archives"'
    fill = f"sync-in {shlex.quote(str(folder / 'debs'))} /var/cache/apt/archives/"
    suite, sources = place
    arguments = ["--mode=unshare", "--format=tar", f"--setup-hook={make}", f"--setup-hook={fill}", *options]
    process = run([*arguments, suite, "-", sources], subprocess.PIPE)
    unpack = ["tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", str(folder / "rootfs")]
    unpacking = subprocess.Popen(unpack, stdin=process.stdout)
    assert process.stdout is not None
    process.stdout.close()
    words = _watch(process, on_progress)
    return words if unpacking.wait() != 0 or process.returncode != 0 else None


def _watch(process: "subprocess.Popen[str]", on_progress: OnProgress) -> deque[str]:
    """Report the tool's stages until it ends; returns its last words."""
    words: deque[str] = deque(maxlen=200)
    with process:
        assert process.stderr is not None
        for line in keeping(process.stderr, words):
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                message = line.removeprefix("I: ").strip().removesuffix("...")
                on_progress(BuildProgress(stage="install", message=message))
    return words


def _write_manifest(folder: Path, wanted: Recipe, *, size: int, versions: dict[str, str]) -> None:
    manifest = Manifest(
        id=wanted.image_id,
        created=datetime.now(UTC),
        bytes=size,
        recipe=wanted,
        recipe_sha256=wanted.sha256,
        versions=versions,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def installed_versions(rootfs: Path) -> dict[str, str]:
    """Package versions in dpkg's own record of a tree."""
    status = (rootfs / "var/lib/dpkg/status").read_text(encoding="utf-8")
    versions: dict[str, str] = {}
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            versions[fields["Package"]] = fields["Version"]
    return versions
