"""The words on a screen, of which only the parts that changed since an earlier look are read again."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from agent_s3.delta import changed_regions
from agent_s3.ocr import Word, words
from vm_pool.types import Box, Frame

Read = Callable[[Frame, Box | None], tuple[Word, ...]]

KEPT = 4
"""So many screens are remembered: going back to one that was left a moment ago costs nothing."""
MOST_PARTS = 12
MOST_SHARE = 0.5
"""When more parts, or more of the screen, must be read again, reading all of it at once is quicker."""
_AROUND = 14
"""A changed part is read with a line's height around it: letters at the very edge of a picture are misread."""


class _Known(NamedTuple):
    frame: Frame
    words: tuple[Word, ...]


class ScreenReader:
    """Reads the screens of one rollout. Safe to use from one event loop."""

    def __init__(self, read: Read = words) -> None:
        """`read` reads a part of a frame, None: all of it, and is called in a thread."""
        self._read = read
        self._known: list[_Known] = []

    async def words(self, frame: Frame) -> tuple[Word, ...]:
        """All words of a frame. Raises: `agent_s3.ocr.OcrMissing`."""
        known = next((k for k in reversed(self._known) if k.frame.sha256 == frame.sha256), None)
        found = known.words if known else await asyncio.to_thread(self._look, frame)
        self._known = [*(k for k in self._known if k.frame.sha256 != frame.sha256), _Known(frame, found)][-KEPT:]
        return found

    def _look(self, frame: Frame) -> tuple[Word, ...]:
        earlier = next((k for k in reversed(self._known) if k.frame.pixels.shape == frame.pixels.shape), None)
        parts = None if earlier is None else to_read(earlier, frame)
        if earlier is None or parts is None:
            return self._read(frame, None)
        kept = [word for word in earlier.words if not any(_touch(word.box, part) for part in parts)]
        fresh = [word for part in parts for word in self._read(frame, part) if not _cut_off(word.box, part, frame)]
        return (*kept, *fresh)


def to_read(earlier: _Known, frame: Frame) -> list[Box] | None:
    """The parts of a frame to read again, whole words of before included; None: all of it."""
    regions = changed_regions(earlier.frame, frame)
    if len(regions) > 4 * MOST_PARTS:
        return None
    parts = _apart([_grown(_widened(region.box, frame), earlier.words, frame) for region in regions])
    share = sum(part.width * part.height for part in parts) / (frame.width * frame.height)
    return None if len(parts) > MOST_PARTS or share > MOST_SHARE else parts


def _grown(part: Box, known: Sequence[Word], frame: Frame) -> Box:
    """With all words that it touches, and those that these touch by then."""
    touched = [word.box for word in known if _touch(word.box, part)]
    grown = part
    for box in touched:
        grown = _union(grown, _widened(box, frame, by=2))
    return grown if grown == part else _grown(grown, known, frame)


def _widened(box: Box, frame: Frame, *, by: int = _AROUND) -> Box:
    left, top = max(0, box.x - by), max(0, box.y - by)
    right, bottom = min(frame.width, box.x + box.width + by), min(frame.height, box.y + box.height + by)
    return Box(x=left, y=top, width=right - left, height=bottom - top)


def _apart(parts: list[Box]) -> list[Box]:
    """Parts that touch are one, until none does."""
    for one, other in combinations(parts, 2):
        if _touch(one, other):
            rest = [part for part in parts if part is not one and part is not other]
            return _apart([*rest, _union(one, other)])
    return parts


def _touch(one: Box, other: Box) -> bool:
    beside = one.x < other.x + other.width and other.x < one.x + one.width
    return beside and one.y < other.y + other.height and other.y < one.y + one.height


def _union(one: Box, other: Box) -> Box:
    x, y = min(one.x, other.x), min(one.y, other.y)
    to_x, to_y = max(one.x + one.width, other.x + other.width), max(one.y + one.height, other.y + other.height)
    return Box(x=x, y=y, width=to_x - x, height=to_y - y)


def _cut_off(word: Box, part: Box, frame: Frame) -> bool:
    """Whether a word goes on beyond the part that was read; at the frame's own edge there is nothing beyond."""
    return (
        (word.x <= part.x and part.x > 0)
        or (word.y <= part.y and part.y > 0)
        or (word.x + word.width >= part.x + part.width and part.x + part.width < frame.width)
        or (word.y + word.height >= part.y + part.height and part.y + part.height < frame.height)
    )
