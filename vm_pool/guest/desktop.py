"""All that requests work on: one object per part of the desktop, opened when it is first needed."""

import contextlib
import threading
from functools import cached_property
from typing import Any

from Xlib import X
from Xlib.display import Display

from .accessibility import Accessibility
from .clipboard import Clipboard
from .dbus_messages import BusError
from .inputs import Inputs
from .journal import Journal
from .once import Once
from .processes import Processes
from .screen import Screen
from .session import AT_SPI_LAUNCHER, SessionConfig, wait_for
from .settling import Settler
from .windows import Windows

BACKGROUND = 0x3A6EA5
"""Colour of the root window, RGB."""
_BUS_S = 10.0
_LET_GO_S = 2.0
"""How long keys stay down after the last client has gone: a client that reconnects has not let go of them."""


class Desktop:
    """The running session as seen by the request handlers."""

    def __init__(self, config: SessionConfig, processes: Processes, journal: Journal):
        self.config = config
        self.processes = processes
        self.home = processes.home
        self.accessibility = Accessibility(
            processes.env["DBUS_SESSION_BUS_ADDRESS"], lambda *window: self.windows.locate(*window)
        )
        self.journal = journal
        self.performed: Once[dict[str, Any]] = Once(keep=1024)
        self.completed: Once[dict[str, Any]] = Once(keep=64)
        self.started: Once[int] = Once(keep=256)
        self._display = Display()
        self._root = self._display.screen().root
        self._display_lock = threading.Lock()
        self._accessible = threading.Event()
        self._was_ready = False
        self._release_timer: threading.Timer | None = None
        self._paint_root()
        self.screen = Screen(config.frames)
        self.inputs = Inputs(Display())

    @cached_property
    def windows(self) -> Windows:
        return Windows(Display())

    @cached_property
    def settler(self) -> Settler:
        return Settler(Display(), self.screen)

    @cached_property
    def clipboard(self) -> Clipboard:
        return Clipboard()

    def not_ready(self) -> str | None:
        """What the desktop still waits for; None when it is ready for input, and for ever after."""
        if not self._was_ready:
            if missing := self._missing():
                return missing
            self._was_ready = True
        return None

    def _missing(self) -> str | None:
        with self._display_lock:
            if not self._has_root_property("_NET_CLIENT_LIST"):
                return "the window manager"
        if not self._accessible.is_set():
            return "the accessibility bus"
        if not self.journal.started:
            return "the first look at the files"
        return "the first picture" if self.screen.is_black() else None

    def prepare(self) -> None:
        """Take stock of the files and switch accessibility on; until both are done the desktop is not ready."""
        self.journal.start()
        if AT_SPI_LAUNCHER.exists():
            wait_for(self._has_accessibility_bus, _BUS_S)
            with contextlib.suppress(BusError):
                self.accessibility.enable()
        self._accessible.set()

    def let_go_soon(self) -> None:
        """Release held keys and buttons, unless a client comes back in time."""
        self.keep_hold()
        self._release_timer = threading.Timer(_LET_GO_S, self.inputs.release_all)
        self._release_timer.daemon = True
        self._release_timer.start()

    def keep_hold(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()

    def _paint_root(self) -> None:
        self._root.change_attributes(background_pixel=BACKGROUND)
        self._root.clear_area()
        self._display.sync()

    def _has_accessibility_bus(self) -> bool:
        with self._display_lock:
            return self._has_root_property("AT_SPI_BUS")

    def _has_root_property(self, name: str) -> bool:
        return self._root.get_full_property(self._display.intern_atom(name), X.AnyPropertyType) is not None
