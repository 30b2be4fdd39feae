"""Waits until the screen is quiet, driven by what the X server reports as drawn.

DAMAGE says where something was drawn; the framebuffer says whether it looks different afterwards. Only changes that can
be seen count, and changes confined to one small region, such as a blinking caret, do not. Nothing is read while
nothing is drawn, so that sixteen waiting desktops cost nothing. A program that is busy with a long text draws nothing
meanwhile: the wait for quiet begins when the focused program has dealt with its input.
"""

import select
import threading
import time
from typing import Any

from Xlib.display import Display
from Xlib.ext import damage

from .barriers import ClientBarrier
from .regions import Region, changed_region
from .screen import Screen

_COALESCE_S = 0.008
"""Drawing comes in bursts; one look serves a burst."""


class Settler:
    """Waits on its own X connection, one caller at a time."""

    def __init__(self, display: Display, screen: Screen):
        self._display = display
        self._screen = screen
        self._root = display.screen().root
        self._barrier = ClientBarrier(display)
        self._lock = threading.Lock()
        self._handle = 0
        display.damage_query_version()

    def settle(self, quiet_s: float, timeout_s: float) -> dict[str, Any]:
        """The fields of `vm_pool.types.Settled`."""
        with self._lock:
            started = time.monotonic()
            if not self._barrier.caught_up(timeout_s):
                return _settled(started, quiet=False, reason="the focused program has not dealt with its input yet")
            self._handle = self._root.damage_create(damage.DamageReportBoundingBox)
            try:
                return self._watch(started, quiet_s, timeout_s)
            finally:
                self._display.damage_destroy(self._handle)
                self._display.sync()
                self._reports()

    def _watch(self, started: float, quiet_s: float, timeout_s: float) -> dict[str, Any]:
        quiet_since = time.monotonic()
        before = bytearray(self._screen.bgrx())
        small: Region | None = None
        last: Region | None = None
        while True:
            now = time.monotonic()
            if now - quiet_since >= quiet_s:
                return _settled(started, quiet=True, reason=f"nothing moved for {quiet_s * 1000:.0f} ms")
            if now - started >= timeout_s:
                return _settled(started, quiet=False, reason=_still_moving(last))
            self._wait_drawn(min(quiet_since + quiet_s, started + timeout_s))
            region = self._see_change(before)
            if region is None:
                continue
            if region.joined(small).is_small():
                small = region.joined(small)
                continue
            small, last, quiet_since = None, region, time.monotonic()

    def _wait_drawn(self, deadline: float) -> None:
        """Until something is drawn and its burst is over, or until the deadline."""
        if not self._display.pending_events():
            select.select([self._display.fileno()], [], [], max(0.0, deadline - time.monotonic()))
        if self._display.pending_events():
            time.sleep(max(0.0, min(_COALESCE_S, deadline - time.monotonic())))

    def _see_change(self, before: bytearray) -> Region | None:
        """What looks different in the rows that were drawn; `before` is brought up to date."""
        rows = self._drawn_rows()
        if rows is None:
            return None
        top, bottom = max(0, rows[0]), min(self._screen.height, rows[1])
        if bottom <= top:
            return None
        stride = 4 * self._screen.width
        after = self._screen.rows(top, bottom - top)
        old = bytes(before[top * stride : bottom * stride])
        before[top * stride : bottom * stride] = after
        return changed_region(old, after, self._screen.width, top)

    def _drawn_rows(self) -> tuple[int, int] | None:
        """First and last-plus-one row of all that was drawn since the last call.

        The server's account is cleared before the pixels are read: what is drawn in between is seen, if not reported.
        """
        reports = self._reports()
        if not reports:
            return None
        self._display.damage_subtract(self._handle)
        self._display.sync()
        reports += self._reports()
        return min(top for top, _ in reports), max(bottom for _, bottom in reports)

    def _reports(self) -> list[tuple[int, int]]:
        """First and last-plus-one rows in the events that have come; takes them off the queue."""
        events = [self._display.next_event() for _ in range(self._display.pending_events())]
        code = self._display.extension_event.DamageNotify
        areas = [event.area for event in events if event.type & 0x7F == code]
        return [(area.y, area.y + area.height) for area in areas]


def _settled(started: float, *, quiet: bool, reason: str) -> dict[str, Any]:
    return {"quiet": quiet, "seconds": round(time.monotonic() - started, 4), "reason": reason}


def _still_moving(last: Region | None) -> str:
    if last is None:
        return "the time was shorter than the quiet that was asked for"
    size = f"{last.right - last.left}x{last.bottom - last.top}"
    return f"still moving: {size} px at ({last.left}, {last.top})"
