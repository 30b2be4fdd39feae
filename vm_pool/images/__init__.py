"""Images: read-only Debian or Ubuntu trees that sandbox machines start from, and the same as disks for virtual ones.

`build` makes one from a recipe and the host's own package mirror, `find` looks one up, `ls` and `rm` manage the store.
"""

from vm_pool.images.build import build
from vm_pool.images.progress import BuildProgress
from vm_pool.images.recipe import RECIPES
from vm_pool.images.store import Image, find, ls, rm, rm_remains

__all__ = ["RECIPES", "BuildProgress", "Image", "build", "find", "ls", "rm", "rm_remains"]
