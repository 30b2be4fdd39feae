"""What stands in the changed places of a screen, read by OCR for narrator and judge: numbers and signs in small type.

A model that looks at a whole screen misses a minus sign; a reader that looks at the few lines that changed does not.
Only what changed is read, with room around it so that whole words are seen.

Source: arXiv 2510.02250 names such misreadings as most of its narrator's mistakes, a minus sign among them.
"""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from agent_s3 import ocr
from agent_s3.delta import MAX_REGIONS
from agent_s3.ocr import Word
from agent_s3.types import Region
from bbon.quoting import quoted
from vm_pool.types import Box, Frame

log = logging.getLogger(__name__)

_AROUND_X, _AROUND_Y = 80, 12
"""Pixels beside and above a change that are read as well: a new sign belongs to the number behind it."""
_MOST_PIXELS = 120_000
"""Read of one screen, in all; at most about 0.2 s of one processor."""
_REMEMBERED = 512
_LINES, _LINE = 24, 120


class TextReader(Protocol):
    """Whoever reads words from a part of a frame. Blocks; safe to call from several threads."""

    def read(self, frame: Frame, region: Box) -> Sequence[Word]:
        """The words in `region`, in reading order, boxes in pixels of the frame. Raises: `agent_s3.ocr.OcrMissing`."""
        ...


class ScreenReader:
    """By Tesseract, in this process.

    Rollouts begin alike and often do the same: what stood in the same place before is not read again. Readings take
    turns, as Tesseract itself does, so that of two rollouts in step the second finds what the first one read.
    """

    def __init__(self, words: Callable[[Frame, Box], Sequence[Word]] = ocr.words) -> None:
        """`words` does the work."""
        self._words = words
        self._known: OrderedDict[tuple[Box, bytes], tuple[Word, ...]] = OrderedDict()
        self._turn = threading.Lock()

    def read(self, frame: Frame, region: Box) -> Sequence[Word]:
        key = region, _digest(frame, region)
        with self._turn:
            if key not in self._known:
                self._known[key] = tuple(self._words(frame, region))
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            return self._known[key]


def _digest(frame: Frame, region: Box) -> bytes:
    left, top = max(0, region.x), max(0, region.y)
    part = frame.pixels[top : region.y + region.height, left : region.x + region.width]
    return hashlib.blake2b(part.tobytes(), digest_size=16).digest()


class WrittenReader:
    """Says what it was given, as far as it lies in the region: for tests and demos."""

    def __init__(self, words: Iterable[Word]) -> None:
        self._words = tuple(words)

    def read(self, frame: Frame, region: Box) -> Sequence[Word]:  # noqa: ARG002
        return [word for word in self._words if region.contains(*word.box.center)]


class Reading(NamedTuple):
    """What was read of one screen."""

    words: tuple[Word, ...]
    whole: bool
    """Whether all that changed was read, so that what is not among the words is not among the changes."""


class Places(NamedTuple):
    """Which parts of a screen are to be read."""

    boxes: tuple[Box, ...]
    whole: bool
    """Whether they hold all that changed."""


@cache
def installed_reader() -> TextReader | None:
    """The reader of this installation; None, said once in the log, when something is missing for it."""
    if lack := ocr.missing():
        log.warning("narrators are not told what is written on the screen: %s; run: %s", *lack)
        return None
    return ScreenReader()


def places(regions: Sequence[Region], *, crop: Box | None, width: int, height: int) -> Places:
    """Where to read on a screen of `width` x `height` px: what changed, and of changes that are too large the crop."""
    boxes: list[Box] = []
    room, whole = _MOST_PIXELS, len(regions) < MAX_REGIONS
    for region in regions:
        box = _widened(region.box, width, height)
        if _area(box) > room:
            whole, box = False, _common(box, crop) if crop else _nothing(box)
        if 0 < _area(box) <= room and not any(_inside(box, other) for other in boxes):
            boxes.append(box)
            room -= _area(box)
    return Places(tuple(boxes), whole)


def read(reader: TextReader, frame: Frame, where: Places) -> Reading:
    """Read all places. Raises: `agent_s3.ocr.OcrMissing`."""
    found = [word for box in where.boxes for word in reader.read(frame, box)]
    return Reading(tuple(dict.fromkeys(found)), where.whole)


def lines(reading: Reading) -> list[str]:
    """What was read, one quoted line of the screen each, the first `_LINES`."""
    rows = ocr.lines(reading.words)
    return [quoted(" ".join(word.text for word in row), _LINE) for row in rows[:_LINES]]


def texts(reading: Reading) -> list[str]:
    """What was read, by lines of the screen, each once more without the gap that a reader leaves behind a sign."""
    rows = [" ".join(word.text for word in row) for row in ocr.lines(reading.words)]
    return [*rows, *(row.replace("- ", "-") for row in rows if "- " in row)]


def _widened(box: Box, width: int, height: int) -> Box:
    left, top = max(0, box.x - _AROUND_X), max(0, box.y - _AROUND_Y)
    right, bottom = min(width, box.x + box.width + _AROUND_X), min(height, box.y + box.height + _AROUND_Y)
    return Box(x=left, y=top, width=max(0, right - left), height=max(0, bottom - top))


def _common(one: Box, other: Box) -> Box:
    left, top = max(one.x, other.x), max(one.y, other.y)
    right, bottom = min(one.x + one.width, other.x + other.width), min(one.y + one.height, other.y + other.height)
    return Box(x=left, y=top, width=max(0, right - left), height=max(0, bottom - top))


def _nothing(box: Box) -> Box:
    return Box(x=box.x, y=box.y, width=0, height=0)


def _area(box: Box) -> int:
    return box.width * box.height


def _inside(box: Box, other: Box) -> bool:
    return _common(box, other) == box
