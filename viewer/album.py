"""Pictures inside one page: each distinct picture is scaled, encoded and embedded once, as a CSS class.

Picture files come from a run folder and are read as PNG only; a file that is missing or damaged is shown as missing.
"""

import base64
import io
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from agent_s3.paths import RunPaths
from agent_s3.types import FrameRef

BYTES_AT_MOST = 7_000_000
"""Of all encoded pictures; base64 adds a third."""
WIDTHS = ((60, 960), (150, 720), (400, 480))
"""Up to so many frames are embedded with so many pixels of width."""
SMALLEST_WIDTH = 320
QUALITY = 60
WORKERS = 2
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Shot(NamedTuple):
    """A picture as a page shows it."""

    css: str
    """Name of the class that holds it; empty: not embedded."""
    href: str
    """Relative address of the file in full size; empty: there is no such file."""


MISSING = Shot("", "")


class Album:
    """Collects pictures, the most important first, and writes their style sheet."""

    def __init__(self, paths: RunPaths, *, bytes_at_most: int = BYTES_AT_MOST) -> None:
        self._paths = paths
        self._bytes_at_most = bytes_at_most
        self._names: dict[Path, str] = {}

    def collect(self, refs: Iterable[FrameRef | None]) -> None:
        """Ask for frames in the order in which they matter: what does not fit is left out from the end."""
        for ref in refs:
            if ref is not None and (path := self._frame_file(ref)):
                self._names.setdefault(path, f"p{len(self._names)}")

    def encode(self) -> str:
        """Encode all collected pictures. Returns the style sheet; afterwards `frame` and `file` answer."""
        width = next((width for most, width in WIDTHS if len(self._names) <= most), SMALLEST_WIDTH)
        with ThreadPoolExecutor(WORKERS) as pool:
            encoded = pool.map(partial(_encode, width=width), self._names)
        holders: dict[bytes, list[str]] = {}
        room = self._bytes_at_most
        for path, data in zip(list(self._names), encoded, strict=True):
            room -= 0 if data is None or data in holders else len(data)
            if data is None or room < 0:
                del self._names[path]
            else:
                holders.setdefault(data, []).append(f".{self._names[path]}")
        return "\n".join(_rule(",".join(names), data) for data, names in holders.items())

    def frame(self, ref: FrameRef | None) -> Shot:
        """Where a frame is to be seen."""
        path = self._frame_file(ref) if ref is not None else None
        return MISSING if path is None else Shot(self._names.get(path, ""), self._href(path))

    def add_file(self, path: Path) -> None:
        """Ask for a picture file of the run folder, such as a crop."""
        if path.is_file():
            self._names.setdefault(path, f"p{len(self._names)}")

    def file(self, path: Path) -> Shot:
        """Where a picture file is to be seen."""
        return Shot(self._names.get(path, ""), self._href(path)) if path.is_file() else MISSING

    def _frame_file(self, ref: FrameRef) -> Path | None:
        path = self._paths.frame(ref.sha256)
        return path if _SHA256.fullmatch(ref.sha256) and path.is_file() else None

    def _href(self, path: Path) -> str:
        return path.relative_to(self._paths.root).as_posix()


def _encode(path: Path, width: int) -> bytes | None:
    """The picture as WebP, at most `width` pixels wide; None when it cannot be read."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            picture = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    if picture.width > width:
        picture = picture.resize((width, max(1, picture.height * width // picture.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=3)
    return buffer.getvalue()


def _rule(selectors: str, data: bytes) -> str:
    return f"{selectors}{{background-image:url(data:image/webp;base64,{base64.b64encode(data).decode('ascii')})}}"
