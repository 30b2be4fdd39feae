"""The accessibility tree of the desktop, asked of all applications at once.

Each application answers on the accessibility bus for itself, so each is walked by a generator that yields questions
and is given the answers; one loop sends the questions of all walks together and ends them at a deadline. A walk takes
the toolkit's own cache (`org.a11y.atspi.Cache.GetItems`) in one answer, asks one by one only for what the cache lacks,
and asks for boxes, texts and values of what is on the screen.
Source: at-spi2-core, `xml/*.xml` (the D-Bus interfaces).
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from .accessible_app import AppWalk, LocateWindow, Walk
from .dbus_messages import BusError, Call, Reply
from .dbus_wire import Bus

_REGISTRY = "org.a11y.atspi.Registry"
_ROOT_PATH = "/org/a11y/atspi/accessible/root"
_LISTENERS_PATH = "/org/a11y/atspi/registry"
_EVENT = "object:children-changed"
_TIMEOUT_S = 3.0
_SUSPECT_S = 0.3
"""What an application gets that did not answer the last time: one that hangs must not slow every look down."""
MAX_NODES = 4000
_BULKY_NODES = 500


class Accessibility:
    """Reads trees; one reader at a time, since toolkits do not bear several."""

    def __init__(self, session_bus: str, locate_window: LocateWindow):
        self._session_bus = session_bus
        self._locate_window = locate_window
        self._lock = threading.Lock()
        self._bus: Bus | None = None
        self._suspects: set[str] = set()
        """Applications that did not answer in time the last time."""
        self._bulky: set[str] = set()

    def tree(self, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """The fields of `vm_pool.types.Tree`. Raises: `BusError` when there is no accessibility bus."""
        with self._lock:
            try:
                return self._read(self._connected(), timeout_s)
            except BusError:
                self._disconnect()
                raise

    def enable(self) -> None:
        """Tell toolkits that somebody reads: GTK, Qt and Chromium ask before they offer a tree. Raises: `BusError`."""
        with self._lock:
            self._connected()
        bus = Bus(self._session_bus)
        try:
            for name in ("IsEnabled", "ScreenReaderEnabled"):
                arguments = ("org.a11y.Status", name, True)
                member = ("org.a11y.Bus", "/org/a11y/bus", "org.freedesktop.DBus.Properties", "Set", "ssv", arguments)
                bus.ask(Call(*member), timeout_s=2.0)
        finally:
            bus.close()

    def _connected(self) -> Bus:
        if self._bus is None:
            session = Bus(self._session_bus)
            try:
                address = session.ask(Call("org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus", "GetAddress"), 2.0)
            finally:
                session.close()
            if address is None or address.error:
                raise BusError("the accessibility bus does not say where it is")
            self._bus = Bus(address.values[0])
            # GTK 3 keeps no cache to be asked for until somebody listens. No match rule: no event is sent to us.
            self._bus.ask(Call(_REGISTRY, _LISTENERS_PATH, _REGISTRY, "RegisterEvent", "s", (_EVENT,)), 2.0)
        return self._bus

    def _walk(self, bus_name: str, path: str) -> AppWalk:
        """Where a cache is mostly closed menus, asking for what is on the screen is quicker than taking it whole."""
        use_cache = bus_name not in self._suspects and bus_name not in self._bulky
        return AppWalk(bus_name, path, MAX_NODES, self._locate_window, use_cache=use_cache)

    def _disconnect(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _read(self, bus: Bus, timeout_s: float) -> dict[str, Any]:
        question = Call(_REGISTRY, _ROOT_PATH, "org.a11y.atspi.Accessible", "GetChildren")
        applications = bus.ask(question, timeout_s)
        if applications is None or applications.error:
            raise BusError("the accessibility registry does not answer")
        walks = [self._walk(name, path) for name, path in applications.values[0]]
        signs_of_life = [_SUSPECT_S if walk.bus_name in self._suspects else timeout_s for walk in walks]
        finished = run_together(bus, [walk.steps() for walk in walks], signs_of_life, timeout_s)
        self._suspects = {walk.bus_name for walk, done in zip(walks, finished, strict=True) if not done}
        self._bulky |= {walk.bus_name for walk in walks if walk.cached > _BULKY_NODES}
        children = [walk.node() for walk in walks if walk.root is not None]
        truncated = not all(finished) or any(walk.truncated for walk in walks)
        return {"root": {"id": "desktop", "role": "desktop-frame", "children": children}, "truncated": truncated}


class _Running:
    """A walk under way: its generator, and the answers of its current round."""

    def __init__(self, steps: Walk, sign_of_life: float, deadline: float):
        self.deadline = sign_of_life
        """When it is cut short: soon, as long as it has not answered its first questions."""
        self.missing = 0
        self.serials: set[int] = set()
        self.finished = False
        self._steps = steps
        self._last_deadline = deadline
        self._answers: list[Reply | None] | None = None

    def advance(self, bus: Bus) -> bool:
        """Give the answers of the round to the walk and send its next questions; False when it has ended."""
        if self._answers is not None:
            self.deadline = self._last_deadline
        try:
            questions = self._steps.send(self._answers)
            while not questions:
                questions = self._steps.send([])
        except StopIteration:
            self.finished = True
            return False
        self._answers = [None] * len(questions)
        self.missing = len(questions)
        self.serials = {bus.submit(call, self._taker(number)) for number, call in enumerate(questions)}
        return True

    def cut_short(self, bus: Bus) -> None:
        """Let the walk use the answers that have come, and end it."""
        bus.forget(self.serials)
        with contextlib.suppress(StopIteration):
            self._steps.send(self._answers)
        self._steps.close()

    def _taker(self, number: int) -> Callable[[Reply], None]:
        answers = self._answers

        def take(reply: Reply) -> None:
            if answers is not None:
                answers[number] = reply
            self.missing -= 1

        return take


def run_together(bus: Bus, walks: list[Walk], signs_of_life_s: list[float], timeout_s: float) -> list[bool]:
    """Run generators that yield lists of calls and are sent the replies in the same order, None for missing ones.

    Each has to answer something within its sign of life, and everything within the timeout. Returns for each whether
    it came to its end; one that did not has been given what answers there were.
    """
    started = time.monotonic()
    runs = [
        _Running(walk, started + min(alive, timeout_s), started + timeout_s)
        for walk, alive in zip(walks, signs_of_life_s, strict=True)
    ]
    running = [run for run in runs if run.advance(bus)]
    while running:
        now = time.monotonic()
        for run in running:
            if run.missing and now >= run.deadline:
                run.cut_short(bus)
        running = [run for run in running if not (run.missing and now >= run.deadline)]
        running = [run for run in running if run.missing or run.advance(bus)]
        if running:
            bus.pump(min(run.deadline for run in running) - time.monotonic())
    return [run.finished for run in runs]
