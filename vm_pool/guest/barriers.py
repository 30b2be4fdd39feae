"""Waits until others have dealt with the events that were sent so far: the focused program, or the window manager."""

import contextlib
import itertools
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.error import XError
from Xlib.protocol import event as xevent

_CLIENT_S = 20.0
"""A word processor takes a long text slowly, the more so on a busy host."""
_DEAF_S = 0.3
"""What a client gets that does not answer pings."""
_AGAIN_S = 0.1
"""How long to wait for a client before looking whether it still has the focus."""
_MANAGER_S = 10.0
"""One that reads a new keyboard map has no time for clicks; keys must not overtake them meanwhile."""
_SENT_EVENT = 0x80
_numbers = itertools.count(1)
"""Of pings, of all barriers together: everybody who listens hears the answers to all."""


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

    def wait(self) -> bool:
        """False when that cannot be known: no window is active, or its client does not answer pings."""
        window_id = self._focused()
        if window_id is None:
            time.sleep(_DEAF_S)
            return False
        with self._listening():
            return self._answered(window_id, next(_numbers), _CLIENT_S)

    def caught_up(self, timeout_s: float) -> bool:
        """False when the client is not done in time; True as well when there is none that answers pings.

        The focus is looked at again and again: what the client does may be to close its window.
        """
        deadline = time.monotonic() + timeout_s
        first = next(_numbers)
        with self._listening():
            while (window_id := self._focused()) is not None:
                if self._answered(window_id, first, max(0.0, min(_AGAIN_S, deadline - time.monotonic()))):
                    return True
                if time.monotonic() >= deadline:
                    return False
        return True

    def _focused(self) -> int | None:
        """The active window; None when there is none or its client does not answer pings."""
        active = self._root.get_full_property(self._active, X.AnyPropertyType)
        if active is None or not active.value[0]:
            return None
        window = self._display.create_resource_object("window", active.value[0])
        try:
            return active.value[0] if self._ping in window.get_wm_protocols() else None
        except XError:
            return None

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask)
        try:
            yield
        finally:
            self._root.change_attributes(event_mask=X.NoEventMask)
            self._display.sync()
            _drain(self._display)

    def _answered(self, window_id: int, first: int, timeout_s: float) -> bool:
        """Ping a window; any answer to a ping of number `first` or later is one."""
        window = self._display.create_resource_object("window", window_id)
        data = (32, [self._ping, next(_numbers), window_id, 0, 0])
        window.send_event(xevent.ClientMessage(window=window, client_type=self._protocols, data=data))
        return _wait_for(self._display, lambda event: self._is_answer(event, first), timeout_s)

    def _is_answer(self, event: Any, first: int) -> bool:
        if event.type & ~_SENT_EVENT != X.ClientMessage or event.client_type != self._protocols:
            return False
        return event.data[1][0] == self._ping and event.data[1][1] >= first


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
        self._manager = display.intern_atom("_NET_SUPPORTING_WM_CHECK")

    def wait(self) -> bool:
        """False when there is no window manager, or none that answered in time."""
        if self._root.get_full_property(self._manager, X.AnyPropertyType) is None:
            return False
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
