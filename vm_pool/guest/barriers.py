"""Waits until others have dealt with the events that were sent so far: the focused program, or the window manager."""

import select
import time
from collections.abc import Callable
from typing import Any

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.error import XError
from Xlib.protocol import event as xevent

_CLIENT_S = 20.0
"""A word processor takes a long text slowly, the more so on a busy host."""
_DEAF_S = 0.3
"""What a client gets that does not answer pings."""
_MANAGER_S = 1.0
_SENT_EVENT = 0x80


class ClientBarrier:
    """Waits until the focused window's client has taken every event sent so far from its queue.

    Source: Extended Window Manager Hints, `_NET_WM_PING`.
    """

    def __init__(self, display: Display):
        self._display = display
        self._root = display.screen().root
        self._protocols = display.intern_atom("WM_PROTOCOLS")
        self._ping = display.intern_atom("_NET_WM_PING")
        self._active = display.intern_atom("_NET_ACTIVE_WINDOW")
        self._count = 0

    def wait(self) -> bool:
        """False when that cannot be known: no window is active, or its client does not answer pings."""
        active = self._root.get_full_property(self._active, X.AnyPropertyType)
        if active is None or not active.value[0] or not self._answers_pings(active.value[0]):
            time.sleep(_DEAF_S)
            return False
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask)
        try:
            return self._answered(active.value[0])
        finally:
            self._root.change_attributes(event_mask=X.NoEventMask)
            self._display.sync()
            _drain(self._display)

    def _answers_pings(self, window_id: int) -> bool:
        try:
            return self._ping in self._display.create_resource_object("window", window_id).get_wm_protocols()
        except XError:
            return False

    def _answered(self, window_id: int) -> bool:
        self._count += 1
        window = self._display.create_resource_object("window", window_id)
        data = (32, [self._ping, self._count, window_id, 0, 0])
        window.send_event(xevent.ClientMessage(window=window, client_type=self._protocols, data=data))
        return _wait_for(self._display, self._is_answer, _CLIENT_S)

    def _is_answer(self, event: Any) -> bool:
        if event.type & ~_SENT_EVENT != X.ClientMessage or event.client_type != self._protocols:
            return False
        return list(event.data[1][:2]) == [self._ping, self._count]


class ManagerBarrier:
    """Waits until the window manager has dealt with every event sent so far.

    A manager that raises windows by click holds the pointer from each press until it has looked at it; keys that are
    sent meanwhile would overtake the click, and go to the window that had the focus before. It answers a question about
    frame sizes in the order of its events.
    Source: Extended Window Manager Hints, `_NET_REQUEST_FRAME_EXTENTS`.
    """

    def __init__(self, display: Display):
        self._display = display
        self._root = display.screen().root
        self._request = display.intern_atom("_NET_REQUEST_FRAME_EXTENTS")
        self._extents = display.intern_atom("_NET_FRAME_EXTENTS")
        self._window = self._root.create_window(0, 0, 1, 1, 0, display.screen().root_depth)
        self._window.change_attributes(event_mask=X.PropertyChangeMask)

    def wait(self) -> bool:
        """False when no window manager answered within a second."""
        self._window.change_property(self._extents, Xatom.CARDINAL, 32, [0])
        self._display.sync()
        _drain(self._display)
        question = xevent.ClientMessage(window=self._window, client_type=self._request, data=(32, [0] * 5))
        self._root.send_event(question, event_mask=X.SubstructureRedirectMask | X.SubstructureNotifyMask)
        return _wait_for(self._display, self._is_answer, _MANAGER_S)

    def _is_answer(self, event: Any) -> bool:
        return event.type == X.PropertyNotify and event.atom == self._extents


def _wait_for(display: Display, wanted: Callable[[Any], bool], timeout_s: float) -> bool:
    """Take events off the queue until the wanted one has come; False when it has not come in time."""
    display.flush()
    deadline = time.monotonic() + timeout_s
    while True:
        if any(wanted(event) for event in _drain(display)):
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        select.select([display.fileno()], [], [], left)


def _drain(display: Display) -> list[Any]:
    return [display.next_event() for _ in range(display.pending_events())]
