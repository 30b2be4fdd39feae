"""The image store: a cache directory with one folder per content address.

`<cache>/images/<id>/` holds `manifest.json` and `rootfs/`, or for virtual machines `disk.qcow2`, `vmlinuz` and
`initrd.cpio`; `<id>.partial/` is a build under way or cut short, and
`<id>.lock` keeps two builders apart. `<cache>/apt/` keeps downloaded packages for the next build.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vm_pool.disk import delete_tree
from vm_pool.errors import ConfigError, ImageError
from vm_pool.images.recipe import RECIPES, VM_RECIPES, VM_SUFFIX, Recipe, recipe
from vm_pool.types import Frozen

SYSTEM_CACHE = Path("/var/cache/agent-s3")
MANIFEST = "manifest.json"
PARTIAL = ".partial"
_NAMES = (*RECIPES, *VM_RECIPES)


class Image(Frozen):
    """A finished image, or the remains of a build that was cut short."""

    id: str
    name: str
    path: Path
    """Its folder in the store."""
    state: Literal["ready", "partial"] = "ready"
    bytes: int = 0
    """Size of its files, hard links counted once."""
    created: datetime
    packages: int = 0
    """How many distribution packages it holds."""
    recipe: Recipe | None = None
    """None for a partial build."""

    @property
    def rootfs(self) -> Path:
        """The tree; images for virtual machines have none."""
        return self.path / "rootfs"

    @property
    def is_vm(self) -> bool:
        """Whether virtual machines start from it, and nothing else does."""
        return self.name in VM_RECIPES

    @property
    def disk(self) -> Path:
        return self.path / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.path / "initrd.cpio"


class Manifest(Frozen):
    """`manifest.json`: what an image was made from and what it holds."""

    schema_version: Literal[1] = 1
    id: str
    created: datetime
    bytes: int
    recipe: Recipe
    recipe_sha256: str
    versions: dict[str, str]
    """Exact version of every installed package."""


def cache_dir() -> Path:
    """Where this user's images are built: `AGENT_S3_CACHE`, else the system's for root and the user's own otherwise."""
    if configured := os.environ.get("AGENT_S3_CACHE"):
        return Path(configured).absolute()
    if os.geteuid() == 0:
        return SYSTEM_CACHE
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-s3"


def images_dir() -> Path:
    return cache_dir() / "images"


def find(name_or_id: str) -> Image:
    """A finished image by recipe name or by id; images that root built for all users count too.

    Raises: `ConfigError` for a name that is neither a recipe nor an id, `ImageError` when it is not built yet.
    """
    is_name = name_or_id in _NAMES
    image_id = recipe(name_or_id).image_id if is_name else name_or_id
    for store in _stores():
        if _is_image_id(image_id) and (store / image_id / MANIFEST).is_file():
            return _ready(store / image_id)
    if is_name:
        raise ImageError(f"image {name_or_id!r} is not built; run: {build_command(name_or_id)}")
    known = [image.id for image in ls() if image.state == "ready"]
    raise ConfigError(f"no image {name_or_id!r}; names: {', '.join(RECIPES)}; ids: {', '.join(known) or 'none'}")


def build_command(name: str) -> str:
    """What builds the image of a recipe's name."""
    command = f"agent-s3 pool image build {name.removesuffix(VM_SUFFIX)}"
    return f"{command} --format vm" if name in VM_RECIPES else command


def ls() -> list[Image]:
    """All images in reach, newest first; what builds and removals that were cut short left is `partial`, and damage."""
    folders = [path for store in _stores() if store.is_dir() for path in store.iterdir() if path.is_dir()]
    images = [_image_in(path) for path in folders if _is_image_id(_id_of(path))]
    return sorted(filter(None, images), key=lambda image: image.created, reverse=True)


def rm(image_id: str) -> None:
    """Delete an image and all that is left of builds of it. Raises: `ConfigError` when there is none of that id."""
    if not _is_image_id(image_id):
        raise ConfigError(f"{image_id!r} is not an image id; list them with: agent-s3 pool image ls")
    with lock(image_id):
        folders = _folders_of(image_id)
        if not folders:
            raise ConfigError(f"no image {image_id!r} in {images_dir()}; list them with: agent-s3 pool image ls")
        for folder in folders:
            delete_tree(folder)


def rm_remains(image_id: str) -> None:
    """Delete what a build or a removal that was cut short left of an image; a finished one stays; idempotent."""
    with lock(image_id):
        for folder in _folders_of(image_id):
            image = _image_in(folder)
            if image is not None and image.state == "partial":
                delete_tree(folder)


def read_manifest(folder: Path) -> Manifest:
    """Raises: `ImageError` when the manifest is missing or damaged."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ImageError(f"damaged image: {path}: {error}; remove the folder and build again") from error


@contextlib.contextmanager
def lock(image_id: str) -> Generator[int]:
    """Only one builder or remover per image. Yields the descriptor that holds the lock.

    Raises: `ImageError` at once when another holds it.
    """
    images_dir().mkdir(parents=True, exist_ok=True)
    path = images_dir() / f"{image_id}.lock"
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ImageError(f"image {image_id} is being built or removed by another process; wait for it") from error
        yield handle.fileno()


def being_built(image_id: str) -> bool:
    """Whether a builder or remover is at work on it now."""
    try:
        with lock(image_id):
            return False
    except ImageError:
        return True


def _stores() -> list[Path]:
    return list(dict.fromkeys([images_dir(), SYSTEM_CACHE / "images"]))


def _folders_of(image_id: str) -> list[Path]:
    return [path for path in images_dir().iterdir() if path.is_dir() and _id_of(path) == image_id]


def _id_of(folder: Path) -> str:
    """`<id>`, `<id>.partial` and the hidden names of folders that are being deleted all belong to an image."""
    return folder.name.lstrip(".").partition(".")[0]


def _is_image_id(text: str) -> bool:
    name, _, digest = text.rpartition("-")
    return name in _NAMES and len(digest) == 16 and all(char in "0123456789abcdef" for char in digest)


def _image_in(folder: Path) -> Image | None:
    """None when the folder went meanwhile, as one does whose build ends."""
    if folder.name != _id_of(folder):
        return _partial(folder)
    try:
        return _ready(folder)
    except ImageError:
        return _partial(folder)


def _ready(folder: Path) -> Image:
    manifest = read_manifest(folder)
    return Image(
        id=manifest.id,
        name=manifest.recipe.name,
        path=folder,
        bytes=manifest.bytes,
        created=manifest.created,
        packages=len(manifest.versions),
        recipe=manifest.recipe,
    )


def _partial(folder: Path) -> Image | None:
    image_id = _id_of(folder)
    try:
        created = datetime.fromtimestamp(folder.stat().st_mtime, tz=UTC)
    except FileNotFoundError:
        return None
    return Image(id=image_id, name=image_id.rpartition("-")[0], path=folder, state="partial", created=created)
