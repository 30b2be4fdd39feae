"""What our own guest server answers at `/v1/`, besides what `vm_pool.types` has: read from a guest, so not believed."""

from typing import Annotated, Literal

from pydantic import FailFast, Field

from vm_pool.types import FileChanges, Frozen, Tree, Window


class Readiness(Frozen):
    """At `ready`."""

    ready: bool
    waiting_for: str | None
    width: int
    height: int


class GuestInfo(Frozen):
    """At `info`: what a guest says about itself."""

    version: Literal[1]
    platform: str
    width: int
    height: int
    user: str
    home: str
    capabilities: Annotated[frozenset[str], FailFast()]


class Seen(Frozen):
    """At `look`, the frame aside. None: not asked for."""

    pointer: tuple[int, int] | None = None
    tree: Tree | None = None
    windows: tuple[Window, ...] | None = Field(default=None, fail_fast=True)
    clipboard: str | None = None
    files: FileChanges | None = None


class Started(Frozen):
    """At `launch`."""

    pid: int


class Launched(Frozen):
    """At `launched`: command lines, oldest first."""

    launched: Annotated[list[Annotated[list[str], FailFast()]], FailFast()]


class Written(Frozen):
    """At `write`."""

    bytes_written: int = Field(alias="bytes")


class Nothing(Frozen):
    """Where there is nothing to say."""
