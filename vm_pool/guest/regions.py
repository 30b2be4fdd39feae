"""Which part of the screen looks different. Pure."""

from typing import NamedTuple

CARET_WIDTH = 24
CARET_HEIGHT = 64
"""Pixels. A region that is no larger in either direction may keep changing without counting as movement."""


class Region(NamedTuple):
    """A rectangle in screen pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def joined(self, other: "Region | None") -> "Region":
        if other is None:
            return self
        return Region(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def is_small(self) -> bool:
        return self.right - self.left <= CARET_WIDTH and self.bottom - self.top <= CARET_HEIGHT


def changed_region(before: bytes, after: bytes, width: int, top: int) -> Region | None:
    """Smallest rectangle around all differences of two blocks of BGRX rows; None when they are equal.

    `width` in pixels; `top` is the screen row of the first row of both blocks.
    """
    if before == after:
        return None
    stride = 4 * width
    rows = [row for row in range(len(after) // stride) if _row(before, row, stride) != _row(after, row, stride)]
    left, right = width, 0
    # Many changed rows are a large region whatever their exact width: a sample of them will do.
    for row in rows[:: max(1, len(rows) // CARET_HEIGHT)]:
        old, new = _row(before, row, stride), _row(after, row, stride)
        left = min(left, _common_prefix(old, new) // 4)
        right = max(right, width - _common_prefix(old[::-1], new[::-1]) // 4)
    return Region(left, top + rows[0], right, top + rows[-1] + 1)


def _row(block: bytes, row: int, stride: int) -> bytes:
    return block[row * stride : (row + 1) * stride]


def _common_prefix(first: bytes, second: bytes) -> int:
    """How many leading bytes two different strings of equal length share."""
    low, high = 0, len(first)
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low
