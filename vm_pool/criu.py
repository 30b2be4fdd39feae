"""CRIU, which saves and restores running programs: the host's own from version 4 on, else that of the next release.

The latter is fetched from the host's package sources with their signatures checked, and unpacked with its libraries
into our cache: nothing of it is installed. Older versions do not know the vDSO of kernels that are in use now.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm_pool.disk import delete_tree
from vm_pool.errors import HostUnfit, ImageError
from vm_pool.images.apt import PackageCache, first_error, host_sources, source_lines
from vm_pool.images.progress import OnProgress
from vm_pool.images.recipe import Suite, host_suite
from vm_pool.images.store import SYSTEM_CACHE, cache_dir

FETCH = "agent-s3 pool criu"
"""The command that fetches it."""
OLDEST = (4, 0)
NEXT_RELEASE = {"bookworm": "trixie"}
"""Releases whose CRIU is too old, and the one after them."""
_VERSION = re.compile(r"Version: (\d+)\.(\d+)")
_PROBE_S = 20.0


@dataclass(frozen=True)
class Criu:
    """A CRIU that is new enough; whether it works with this kernel is what `check` says."""

    argv: tuple[str, ...]
    """How it is started."""
    version: str

    def check(self) -> None:
        """Raises: `HostUnfit` with its own complaint when this kernel or user cannot save and restore programs."""
        if os.geteuid() != 0:
            raise HostUnfit("saving running programs needs root; run: sudo agent-s3 ...")
        done = _run([*self.argv, "check"])
        if done.returncode != 0:
            complaints = [line for line in done.stderr.splitlines() if "Error" in line] or ["it does not say why"]
            raise HostUnfit(f"CRIU {self.version} does not work with this kernel: {complaints[-1]}")


def find_criu(search: str | None = None, caches: Sequence[Path] | None = None) -> Criu:
    """The host's own, or the one that was fetched. Raises: `HostUnfit` with the command that mends it.

    `search` is a list of folders as in `PATH`, None is that of this process and the system's; `caches` None are this
    user's and the system's.
    """
    if found := _found(search, caches):
        return found
    raise HostUnfit(f"there is no CRIU {OLDEST[0]} or newer; run: {_mend()}")


def fetch_criu(on_progress: OnProgress) -> Criu:
    """Find it, or fetch that of the next release: about 30 MB, in a few seconds.

    Raises: `HostUnfit` where no release is known to have it or root is missing, `ImageError` when it cannot be fetched.
    """
    if there := _found(None, None):
        return there
    suite = host_suite()
    if suite.codename not in NEXT_RELEASE:
        raise HostUnfit(f"there is no CRIU {OLDEST[0]} or newer; run: {_mend()}")
    later = suite.model_copy(update={"codename": NEXT_RELEASE[suite.codename]})
    sources = [source for source in host_sources(suite) if source.release == suite.codename]
    lines = source_lines([source.model_copy(update={"release": later.codename}) for source in sources], suite)
    packages = PackageCache(cache_dir() / "apt", later)
    packages.download(["criu"], lines, on_progress)
    tree = _tree_in(cache_dir(), later)
    _unpack(sorted(packages.archives.glob("*.deb")), tree)
    if found := _in_tree(tree):
        return found
    raise ImageError(f"the CRIU of {later.codename} does not run here; remove {tree} and report this")


def _found(search: str | None, caches: Sequence[Path] | None) -> Criu | None:
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin" if search is None else search
    trees = _trees(dict.fromkeys((cache_dir(), SYSTEM_CACHE)) if caches is None else caches)
    return next((criu for criu in (_on_host(search), *map(_in_tree, trees)) if criu), None)


def _on_host(search: str) -> Criu | None:
    program = shutil.which("criu", path=search)
    return None if program is None else _of_version((program,))


def _trees(caches: Iterable[Path]) -> list[Path]:
    try:
        suite = host_suite()
    except HostUnfit:
        return []
    if suite.codename not in NEXT_RELEASE:
        return []
    later = suite.model_copy(update={"codename": NEXT_RELEASE[suite.codename]})
    return [_tree_in(cache, later) for cache in caches]


def _tree_in(cache: Path, suite: Suite) -> Path:
    return cache / "criu" / f"{suite.codename}-{suite.architecture}"


def _in_tree(tree: Path) -> Criu | None:
    """Started by its own loader with its own libraries, since the host's C library is older."""
    program = tree / "usr/sbin/criu"
    for loader in tree.glob(f"usr/lib/{platform.machine()}-linux-gnu/ld-linux-*.so.*"):
        return _of_version((str(loader), "--library-path", str(loader.parent), str(program)))
    return None


def _of_version(argv: Sequence[str]) -> Criu | None:
    """None when it does not run, or is too old."""
    found = _VERSION.search(_run([*argv, "--version"]).stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        return None
    return Criu(tuple(argv), f"{found[1]}.{found[2]}")


def _unpack(packages: Sequence[Path], tree: Path) -> None:
    partial = tree.with_name(f"{tree.name}.partial")
    delete_tree(partial)
    partial.mkdir(parents=True)
    for package in packages:
        done = _run(["dpkg-deb", "--extract", str(package), str(partial)])
        if done.returncode != 0:
            raise ImageError(f"{package.name} could not be unpacked: {first_error(done.stderr.splitlines())}")
    delete_tree(tree)
    partial.rename(tree)


def _mend() -> str:
    try:
        suite = host_suite()
    except HostUnfit:
        return "your distribution's installer for the package criu"
    if suite.codename in NEXT_RELEASE:
        return FETCH
    return "sudo apt-get install -y criu  (Debian 13 and newer have it)"


def _run(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_PROBE_S
    )
