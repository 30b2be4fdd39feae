"""Sends checked input events to the X server by XTEST."""

import threading
import time
from collections.abc import Callable
from typing import Any

from Xlib import X
from Xlib.display import Display
from Xlib.ext import xtest

from .barriers import ManagerBarrier
from .batches import BUTTONS, Event
from .keyboard import Keyboard

_WHEEL_UP, _WHEEL_DOWN, _WHEEL_LEFT, _WHEEL_RIGHT = 4, 5, 6, 7
_KEY_EVENTS = frozenset({"key_down", "key_up", "chord", "text"})
_DOUBLE_CLICK_S = 0.55
"""GTK's, Qt's and LibreOffice's are 0.4 s, Chromium's 0.5 s."""
_SAME_SPOT = 8
"""Pixels; toolkits take clicks that are further apart for separate ones."""
_BETWEEN_CLICKS_S = 0.02
"""Chromium takes two presses within one of the X server's milliseconds for the same press."""
_DRAG_STEP_S = 0.016
_DRAG_LEAST_STEPS = 4


class Inputs:
    """Pointer and keyboard of one desktop; keys and buttons stay down from one batch to the next."""

    def __init__(self, display: Display):
        self._display = display
        self._root = display.screen().root
        self._keyboard = Keyboard(display)
        self._manager = ManagerBarrier(display)
        self._buttons_down: set[int] = set()
        self._last_click: tuple[Event, float] = ({"button": "", "x": 0, "y": 0}, 0.0)
        self._presses_under_way = 0
        """How many presses the window manager may not have seen yet."""
        self._lock = threading.Lock()
        self._senders: dict[str, Callable[[Event], None]] = {
            "move": lambda event: self._move(event["x"], event["y"]),
            "click": self._click,
            "press": lambda event: self._button(BUTTONS[event["button"]], down=True),
            "release": lambda event: self._button(BUTTONS[event["button"]], down=False),
            "drag": self._drag,
            "scroll": self._scroll,
            "key_down": lambda event: self._keyboard.down(event["key"]),
            "key_up": lambda event: self._keyboard.up(event["key"]),
            "chord": lambda event: self._keyboard.chord(event["keys"]),
            "text": lambda event: self._keyboard.type_text(event["text"]),
        }

    def perform(self, events: list[Event]) -> dict[str, Any]:
        """Send checked events in order; returns the receipt without its request id."""
        started = time.monotonic()
        with self._lock:
            for before, event in zip([{"type": ""}, *events], events, strict=False):
                if event["type"] in _KEY_EVENTS:
                    self._let_presses_arrive()
                if (before["type"], event["type"]) == ("chord", "text"):
                    self._keyboard.let_shortcuts_work()
                self._senders[event["type"]](event)
            self._let_presses_arrive()
            self._display.sync()
            pointer = self._pointer()
        milliseconds = round((time.monotonic() - started) * 1000, 3)
        return {"executed": len(events), "pointer": pointer, "milliseconds": milliseconds}

    def pointer(self) -> list[int]:
        """Where the pointer is: x and y in screen pixels."""
        with self._lock:
            return self._pointer()

    def release_all(self) -> None:
        """Let go of every key and button that is held down."""
        with self._lock:
            self._keyboard.release_all()
            for button in list(self._buttons_down):
                self._button(button, down=False)
            self._display.sync()

    def close(self) -> None:
        self.release_all()
        with self._lock:
            self._keyboard.restore_layout()
            self._display.sync()

    def _let_presses_arrive(self) -> None:
        """Each answer of the manager lets one more press through: it holds the pointer again at the next."""
        for _ in range(self._presses_under_way):
            if not self._manager.wait():
                break
        self._presses_under_way = 0

    def _pointer(self) -> list[int]:
        answer = self._root.query_pointer()
        return [answer.root_x, answer.root_y]

    def _move(self, x: int, y: int) -> None:
        xtest.fake_input(self._display, X.MotionNotify, x=x, y=y)

    def _button(self, button: int, *, down: bool) -> None:
        xtest.fake_input(self._display, X.ButtonPress if down else X.ButtonRelease, button)
        self._presses_under_way += down and button in BUTTONS.values()
        (self._buttons_down.add if down else self._buttons_down.discard)(button)

    def _tap_button(self, button: int, count: int) -> None:
        for _ in range(count):
            self._button(button, down=True)
            self._button(button, down=False)

    def _click(self, event: Event) -> None:
        self._keep_apart(event)
        self._move(event["x"], event["y"])
        self._tap_button(BUTTONS[event["button"]], 1)
        for _ in range(event["count"] - 1):
            self._display.sync()
            time.sleep(_BETWEEN_CLICKS_S)  # time passing is what makes them two clicks
            self._tap_button(BUTTONS[event["button"]], 1)
        self._last_click = (event, time.monotonic())

    def _keep_apart(self, event: Event) -> None:
        """Toolkits would take two clicks on one spot for a double click; who wants that says `count`."""
        last, at = self._last_click
        if last["button"] != event["button"] or max(abs(last[axis] - event[axis]) for axis in "xy") > _SAME_SPOT:
            return
        time.sleep(max(0.0, at + _DOUBLE_CLICK_S - time.monotonic()))

    def _scroll(self, event: Event) -> None:
        self._move(event["x"], event["y"])
        dx, dy = event["dx"], event["dy"]
        self._tap_button(_WHEEL_UP if dy > 0 else _WHEEL_DOWN, abs(dy))
        self._tap_button(_WHEEL_RIGHT if dx > 0 else _WHEEL_LEFT, abs(dx))

    def _drag(self, event: Event) -> None:
        """Travel at an even pace: toolkits tell a drag from a click by motion that takes time."""
        self._keep_apart(event)
        self._move(event["x"], event["y"])
        self._button(BUTTONS[event["button"]], down=True)
        seconds = event["milliseconds"] / 1000
        steps = max(_DRAG_LEAST_STEPS, int(seconds / _DRAG_STEP_S))
        started = time.monotonic()
        for step in range(1, steps + 1):
            self._move(
                _between(event["x"], event["to_x"], step, steps), _between(event["y"], event["to_y"], step, steps)
            )
            self._display.sync()
            time.sleep(max(0.0, started + seconds * step / steps - time.monotonic()))
        self._button(BUTTONS[event["button"]], down=False)


def _between(start: int, end: int, step: int, steps: int) -> int:
    return start + round((end - start) * step / steps)
