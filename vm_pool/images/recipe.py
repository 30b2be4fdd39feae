"""Recipes: what goes into an image, and the content address that follows from it."""

import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path

from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.types import Frozen

FORMAT_VERSION = 3
"""Raised when the build itself changes in a way that the inputs below do not show."""

RECIPES: dict[str, tuple[str, ...]] = {"slim": ("slim",), "desktop": ("slim", "desktop")}
"""Image names and the layers each is made of; a layer is `<layer>.txt` and the tree `files/<layer>`."""
VM_SUFFIX = "-vm"
"""`slim-vm` is `slim` as a disk with a kernel, for virtual machines."""
VM_RECIPES = tuple(f"{name}{VM_SUFFIX}" for name in RECIPES)
KERNEL_PACKAGES = {"debian": "linux-image-amd64", "ubuntu": "linux-image-generic"}
"""What draws in the newest kernel of a distribution."""
BUSYBOX_PACKAGE = "busybox-static"

HERE = Path(__file__).parent
GUEST_PACKAGES = HERE.parent / "guest" / "PACKAGES.txt"
REQUIREMENTS = HERE / "guest_requirements.txt"
MISSING_ON_UBUNTU = frozenset({"chromium"})
"""Packages that Ubuntu has only as a snap, which cannot run inside an image."""

PATH_EXCLUDES = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/help/*",
    "/usr/share/gnome/help/*",
    "/usr/share/lintian/*",
)
PATH_INCLUDES = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")


class Suite(Frozen):
    """The distribution release that an image is made from: the host's own."""

    distribution: str
    """`debian` or `ubuntu`."""
    codename: str
    architecture: str
    """As `platform.machine()` says it, e.g. `x86_64`."""


class Recipe(Frozen):
    """Everything that decides what an image holds, apart from the day's package versions."""

    name: str
    suite: Suite
    packages: tuple[str, ...]
    layers: tuple[str, ...]
    files_sha256: str
    format_version: int = FORMAT_VERSION

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def image_id(self) -> str:
        """Name and content address, e.g. `slim-0f3c...` with 16 hex digits."""
        return f"{self.name}-{self.sha256[:16]}"

    @property
    def tree_name(self) -> str:
        """Name of the image that its tree is, or comes from."""
        return self.name.removesuffix(VM_SUFFIX)

    @property
    def is_vm(self) -> bool:
        return self.name in VM_RECIPES


def recipe(name: str, suite: Suite | None = None) -> Recipe:
    """The recipe of that name for a suite (None: the host's).

    Raises: `ConfigError` for an unknown name, `HostUnfit` for virtual machines of other processors than x86-64.
    """
    if name in VM_RECIPES:
        return _vm_recipe(recipe(name.removesuffix(VM_SUFFIX), suite))
    if name not in RECIPES:
        raise ConfigError(f"unknown image {name!r}; known images: {', '.join(RECIPES)}")
    suite = suite or host_suite()
    layers = RECIPES[name]
    packages = {package for layer in layers for package in _package_list(HERE / f"{layer}.txt")}
    packages |= set(_package_list(GUEST_PACKAGES))
    if suite.distribution == "ubuntu":
        packages -= MISSING_ON_UBUNTU
    return Recipe(
        name=name,
        suite=suite,
        packages=tuple(sorted(packages)),
        layers=layers,
        files_sha256=_files_sha256(layers),
    )


def _vm_recipe(tree: Recipe) -> Recipe:
    """The tree's content address is part of this one's."""
    if tree.suite.architecture != "x86_64":
        raise HostUnfit(f"images for virtual machines are made for x86_64 only, and this is {tree.suite.architecture}")
    digest = hashlib.sha256(tree.sha256.encode())
    for name in ("vm_disk.py", "vm_init.sh", "cpio.py"):
        digest.update((HERE / name).read_bytes())
    packages = {*tree.packages, KERNEL_PACKAGES[tree.suite.distribution], BUSYBOX_PACKAGE}
    return tree.model_copy(
        update={
            "name": f"{tree.name}{VM_SUFFIX}",
            "packages": tuple(sorted(packages)),
            "files_sha256": digest.hexdigest(),
        }
    )


def host_suite(os_release: Path = Path("/etc/os-release")) -> Suite:
    """Raises: `HostUnfit` on hosts other than Debian and Ubuntu."""
    facts = _os_release(os_release)
    family = [facts.get("ID", ""), *facts.get("ID_LIKE", "").split()]
    distribution = next((name for name in ("ubuntu", "debian") if name in family), None)
    codename = facts.get("UBUNTU_CODENAME") or facts.get("VERSION_CODENAME")
    if distribution is None or not codename:
        raise HostUnfit(
            f"images are built from Debian or Ubuntu packages and this host is {facts.get('PRETTY_NAME', 'unknown')!r};"
            " build on a Debian or Ubuntu host and copy its cache directory"
        )
    return Suite(distribution=distribution, codename=codename, architecture=platform.machine())


def layer_files(layer: str) -> Path:
    """The tree that is copied over the installed packages."""
    return HERE / "files" / layer


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip().strip("\"'") for key, value in pairs}


def _package_list(path: Path) -> tuple[str, ...]:
    """Package names of a list with `#` comments; a list that is not there is empty."""
    if not path.exists():
        return ()
    lines = (line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


def _files_sha256(layers: tuple[str, ...]) -> str:
    digest = hashlib.sha256(REQUIREMENTS.read_bytes())
    digest.update((HERE / "customise.py").read_bytes())
    digest.update("\n".join((*PATH_EXCLUDES, *PATH_INCLUDES)).encode())
    for layer in layers:
        for path in sorted(_files_below(layer_files(layer))):
            name = path.relative_to(HERE).as_posix()
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files_below(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_symlink() or path.is_file())
