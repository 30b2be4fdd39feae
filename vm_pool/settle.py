"""Waits for a quiet screen by looking at frames, for machines whose guest cannot do it itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from vm_pool.types import Box, Frame, Settled

CARET_WIDTH = 24
CARET_HEIGHT = 64
"""Pixels. Changes that stay within a region no larger than this, such as a blinking caret, are not movement."""
_POLL_S = 0.05


def changed_box(before: Frame, after: Frame) -> Box | None:
    """Smallest box around all pixels that differ; None when there are none. A new screen size is all of it."""
    if before.pixels.shape != after.pixels.shape:
        return Box(x=0, y=0, width=after.width, height=after.height)
    differs = (before.pixels != after.pixels).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return None
    left, top = int(columns[0]), int(rows[0])
    return Box(x=left, y=top, width=int(columns[-1]) - left + 1, height=int(rows[-1]) - top + 1)


def joined(first: Box, second: Box | None) -> Box:
    """Smallest box around both."""
    if second is None:
        return first
    left, top = min(first.x, second.x), min(first.y, second.y)
    right = max(first.x + first.width, second.x + second.width)
    bottom = max(first.y + first.height, second.y + second.height)
    return Box(x=left, y=top, width=right - left, height=bottom - top)


class Stillness:
    """Tells from one frame after another since when the screen has been still. Times in seconds, of one clock."""

    def __init__(self, first: Frame, now_s: float):
        self._frame = first
        self._small: Box | None = None
        self.since_s = now_s
        self.last: Box | None = None
        """What moved last, carets aside; None: nothing so far."""

    def see(self, frame: Frame, now_s: float) -> None:
        box = changed_box(self._frame, frame)
        self._frame = frame
        if box is None:
            return
        together = joined(box, self._small)
        if together.width <= CARET_WIDTH and together.height <= CARET_HEIGHT:
            self._small = together
            return
        self._small, self.last, self.since_s = None, box, now_s


async def settle_by_frames(take: Callable[[], Awaitable[Frame]], *, quiet_ms: int, timeout_ms: int) -> Settled:
    """Look until nothing has moved for `quiet_ms`, at most for `timeout_ms`; raises what `take` raises."""
    started = time.monotonic()
    stillness = Stillness(await take(), started)
    while True:
        now = time.monotonic()
        if now - stillness.since_s >= quiet_ms / 1000:
            reason = f"nothing moved for {quiet_ms} ms"
            return Settled(quiet=True, seconds=round(now - started, 4), reason=reason)
        if now - started >= timeout_ms / 1000:
            return Settled(quiet=False, seconds=round(now - started, 4), reason=_still_moving(stillness.last))
        await asyncio.sleep(_POLL_S)
        stillness.see(await take(), time.monotonic())


def _still_moving(last: Box | None) -> str:
    if last is None:
        return "the time was shorter than the quiet that was asked for"
    return f"still moving: {last.width}x{last.height} px at ({last.x}, {last.y})"
