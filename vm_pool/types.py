"""What machines answer: frames, accessibility trees, windows, file changes, finished commands.

All boxes are integers in screen pixels with the origin at the top left of the screen.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, FailFast, Field

_MOST_PIXELS = 2**26
"""Of a picture file: small files can hold enormous pictures."""


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error.

    Lists that come from guests are `FailFast`: a kilobyte of error for each of a million elements is too much.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


Platform = Literal["linux", "windows", "android", "macos"]


class MachineInfo(Frozen):
    """Facts about a machine that do not change while it runs."""

    machine_id: str
    """Unique among all machines of all pools on this host."""
    provider: str
    image: str
    """Content address of the image it was started from, or a name for images that we did not build."""
    platform: Platform
    width: int
    """Screen width in pixels."""
    height: int
    """Screen height in pixels."""
    scale: float = 1.0
    """Device pixels per logical pixel."""
    origin: tuple[int, int] = (0, 0)
    """Where the top left of its frames lies in the coordinates of its input events; elsewhere than (0, 0) when frames
    show one monitor of several."""
    user: str
    home: str
    """Home directory of `user` inside the machine."""
    capabilities: frozenset[str] = frozenset()
    """Beyond the OSWorld routes: any of `v1`, `tree`, `journal`, `clipboard`, `settle`, `internet`."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the whole screen, pointer included.

    `pixels` is height x width x 3, uint8, RGB. `taken_at` is the host's `time.time()` in seconds.
    """

    pixels: NDArray[np.uint8]
    taken_at: float

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @cached_property
    def sha256(self) -> str:
        """Hash of size and pixels; equal pictures have equal hashes whatever file format they came from."""
        digest = hashlib.sha256(f"{self.width}x{self.height}:".encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    def png(self, *, compress_level: int = 1) -> bytes:
        """The frame as a PNG file; level 1 is 4-6 times faster than 9 and about half as large again."""
        buffer = io.BytesIO()
        self.image().save(buffer, "PNG", compress_level=compress_level)
        return buffer.getvalue()

    @classmethod
    def from_image_file(cls, data: bytes, *, taken_at: float) -> "Frame":
        """Raises: `PIL.UnidentifiedImageError` when it is no PNG, JPEG or WebP file; `ValueError` when it is huge."""
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"a picture of {image.width}x{image.height} px is larger than any screen")
                return cls(np.asarray(image.convert("RGB")), taken_at)
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from error


class Box(Frozen):
    """A rectangle: left, top, width and height in screen pixels."""

    x: int
    y: int
    width: int = Field(ge=0)
    height: int = Field(ge=0)

    @property
    def center(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    def contains(self, x: int, y: int) -> bool:
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


class Node(Frozen):
    """One element of the accessibility tree."""

    id: str
    """Stable for the life of the element within one machine: application and object path."""
    role: str
    """AT-SPI role with spaces as hyphens, e.g. `push-button`, `text`, `menu-item`."""
    name: str = ""
    text: str | None = None
    """Content of text elements; None when the element has no text interface."""
    value: float | None = None
    box: Box | None = None
    """None when the element is not showing on screen."""
    states: Annotated[frozenset[str], FailFast()] = frozenset()
    """AT-SPI states, e.g. `focused`, `checked`, `enabled`, `editable`, `selected`, `expanded`."""
    description: str = ""
    attributes: dict[str, str] = {}
    actions: Annotated[tuple[str, ...], FailFast()] = ()
    children: Annotated[tuple["Node", ...], FailFast()] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all below it, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree(Frozen):
    """The accessibility tree of the desktop: one child of `root` per application."""

    root: Node
    truncated: bool = False
    """True when a limit of nodes, depth or time cut the walk short."""


class Window(Frozen):
    """A top-level window as the window manager lists it."""

    id: str
    title: str
    app: str
    """WM_CLASS class part, e.g. `Mousepad`."""
    pid: int | None
    box: Box
    active: bool = False
    minimized: bool = False


class Completed(Frozen):
    """A finished command in the machine. A non-zero return code is an answer, not an error."""

    returncode: int
    """Negative: killed by that signal, as in `subprocess`."""
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    truncated: bool = False
    """True when output was cut to the byte limit; the beginning and the end are kept."""


FileChangeKind = Literal["created", "modified", "deleted"]


class FileChange(Frozen):
    """One file that differs from what it was, net of all changes in between."""

    path: str
    """Absolute path inside the machine."""
    kind: FileChangeKind
    size_before: int | None = None
    size: int | None = None
    """Bytes; None when the file is deleted (or was not there, for `size_before`)."""
    sha256_before: str | None = None
    sha256: str | None = None
    """None when absent, not a regular file, unreadable, or larger than the journal hashes."""
    mode_before: int | None = None
    mode: int | None = None
    """Permission bits, e.g. 0o644."""
    text_before: str | None = None
    text: str | None = None
    """Whole content of small UTF-8 text files (at most 16 KiB); None otherwise, or when one answer holds much text."""


class FileChanges(Frozen):
    """What the file journal saw since a cursor."""

    cursor: str
    """Pass as `since` to the next call."""
    changes: Annotated[tuple[FileChange, ...], FailFast()] = ()
    dropped: int = 0
    """How many further changes were left out because of the limit."""


class Performed(Frozen):
    """Receipt for a batch of input events."""

    request_id: str
    executed: int
    """How many events of the batch were sent to the display server."""
    repeated: bool = False
    """True when this request id had been executed before: nothing was sent again."""
    pointer: tuple[int, int] | None = None
    """Where the pointer is afterwards."""
    milliseconds: float = 0.0
    """Time inside the guest."""


class Settled(Frozen):
    """Outcome of waiting for a quiet screen. False when the deadline came first; `reason` says what still moved."""

    quiet: bool
    seconds: float
    reason: str

    def __bool__(self) -> bool:
        return self.quiet


@dataclass(frozen=True)
class Look:
    """Everything observed of a machine at one moment, in one round trip. None: not asked for or not available."""

    frame: Frame | None = None
    tree: Tree | None = None
    windows: tuple[Window, ...] | None = None
    clipboard: str | None = None
    files: FileChanges | None = None
    pointer: tuple[int, int] | None = None


LookPart = Literal["frame", "tree", "windows", "clipboard", "files"]
