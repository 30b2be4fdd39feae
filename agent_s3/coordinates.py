"""The three kinds of pixels, and the way between them. Pure.

- **Screen px**: what input events are given in. One monitor of several may begin anywhere, also left of 0.
- **Frame px**: of the picture that was taken. On a dense display they are smaller than those of the screen.
- **Model px**: of the picture that a model was shown: a part of the frame, scaled. Some models answer in thousandths of
  the picture's sides instead.

A pixel is an area, so it is its middle that is mapped: the nearest pixel comes out, and no edge leads outside.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from vm_pool.types import Box

_ALMOST = 1e-9
"""So that 1080 x 0.75 is not cut to 809."""


class Point(NamedTuple):
    x: int
    y: int


class Size(NamedTuple):
    width: int
    height: int


@dataclass(frozen=True)
class Limits:
    """What a picture must keep to, so that nobody shrinks it further on the way and we know its scale."""

    longest: int = 1440
    """Longest side, in px."""
    pixels: int | None = None
    """Most pixels in all; None: no limit beside the side."""
    multiple: int = 1
    """Both sides are multiples of this: models that cut pictures into patches stretch others until they are."""


def fit(size: Size, limits: Limits, *, enlarge: float = 1.0) -> Size:
    """The largest size of about the same shape within the limits, at most `enlarge` times as large."""
    scale = min(enlarge, limits.longest / max(size))
    if limits.pixels is not None:
        scale = min(scale, math.sqrt(limits.pixels / (size.width * size.height)))
    step = limits.multiple
    return Size(*(max(step, int(side * scale / step + _ALMOST) * step) for side in size))


@dataclass(frozen=True)
class View:
    """A part of a frame, as a picture that is shown to a model."""

    part: Box
    """In frame px."""
    width: int
    """Of the picture, in model px."""
    height: int

    @classmethod
    def of(cls, part: Box, limits: Limits, *, enlarge: float = 1.0) -> "View":
        """The part as large as the limits allow, at most `enlarge` times its own size."""
        return cls(part, *fit(Size(part.width, part.height), limits, enlarge=enlarge))

    @property
    def scale(self) -> float:
        """Model px per frame px; below 1: details were lost."""
        return min(self.width / self.part.width, self.height / self.part.height)

    def to_frame(self, x: float, y: float) -> Point | None:
        """From model px to frame px; None outside of the picture."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            return None
        part = self.part
        return Point(
            part.x + _scaled(int(x), self.width, part.width), part.y + _scaled(int(y), self.height, part.height)
        )

    def share_to_frame(self, x: float, y: float, *, of: int) -> Point | None:
        """From shares of the sides, where `of` is a whole side, to frame px; None outside of the picture."""
        if not (0 <= x <= of and 0 <= y <= of):
            return None
        return self.to_frame(min(x * self.width / of, self.width - 1), min(y * self.height / of, self.height - 1))

    def to_model(self, point: Point) -> Point:
        """From frame px to model px; what lies outside of the part comes out at the picture's edge."""
        x = _scaled(point.x - self.part.x, self.part.width, self.width)
        y = _scaled(point.y - self.part.y, self.part.height, self.height)
        return Point(min(max(x, 0), self.width - 1), min(max(y, 0), self.height - 1))


@dataclass(frozen=True)
class Display:
    """How a frame lies on the screen."""

    frame: Size
    screen: Box
    """What the frame shows, in screen px."""

    def to_screen(self, point: Point) -> Point:
        """From frame px to screen px."""
        x = _scaled(point.x, self.frame.width, self.screen.width)
        y = _scaled(point.y, self.frame.height, self.screen.height)
        return Point(self.screen.x + x, self.screen.y + y)

    def to_frame(self, point: Point) -> Point:
        """From screen px to frame px."""
        x = _scaled(point.x - self.screen.x, self.screen.width, self.frame.width)
        y = _scaled(point.y - self.screen.y, self.screen.height, self.frame.height)
        return Point(x, y)

    def box_to_screen(self, box: Box) -> Box:
        """The smallest box in screen px that holds a box in frame px."""
        left, right = _edges(box.x, box.width, self.frame.width, self.screen.width)
        top, bottom = _edges(box.y, box.height, self.frame.height, self.screen.height)
        return Box(x=self.screen.x + left, y=self.screen.y + top, width=right - left, height=bottom - top)

    def box_to_frame(self, box: Box) -> Box:
        """The smallest box in frame px that holds a box in screen px."""
        left, right = _edges(box.x - self.screen.x, box.width, self.screen.width, self.frame.width)
        top, bottom = _edges(box.y - self.screen.y, box.height, self.screen.height, self.frame.height)
        return Box(x=left, y=top, width=right - left, height=bottom - top)


def around(middle: Point, size: Size, within: Box) -> Box:
    """A box of a size about a point, shifted to lie within another, and no larger than that."""
    width, height = min(size.width, within.width), min(size.height, within.height)
    x = min(max(middle.x - width // 2, within.x), within.x + within.width - width)
    y = min(max(middle.y - height // 2, within.y), within.y + within.height - height)
    return Box(x=x, y=y, width=width, height=height)


def _scaled(at: int, side: int, to_side: int) -> int:
    """The pixel of the other side in which the middle of a pixel lies."""
    return (2 * at + 1) * to_side // (2 * side)


def _edges(start: int, length: int, side: int, to_side: int) -> tuple[int, int]:
    return start * to_side // side, -(-(start + length) * to_side // side)
