"""The keyboard: key symbols to key codes, with spare codes bound to whatever character the layout lacks.

A client looks a key up in the keyboard map when it takes the key event from its queue, not when the event was made.
A spare code may therefore get a new meaning only after the client has taken all earlier keys; `ClientBarrier` finds
that out by pinging the focused window, whose answer comes in the order of its events.
Bindings stay until they are recycled or the server ends: undoing them after each text would race the client again.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import count, takewhile

from Xlib import X
from Xlib.display import Display
from Xlib.ext import xtest

from .barriers import ClientBarrier
from .keys import keysym_of_character, keysym_of_key, typed_form

_SHIFT = 0xFFE1
_CAPS_LOCK = 0xFFE5
_IDLE_S = 0.05


class Stroke:
    """One key with what it takes to reach its symbol."""

    __slots__ = ("keycode", "shifted")

    def __init__(self, keycode: int, shifted: bool):
        self.keycode = keycode
        self.shifted = shifted


class Keyboard:
    """Presses keys by XTEST. Not for several threads at once."""

    def __init__(self, display: Display):
        self._display = display
        self._barrier = ClientBarrier(display)
        self._layout: dict[int, Stroke] = {}
        self._spare: list[int] = []
        self._bound: OrderedDict[int, int] = OrderedDict()
        """Key symbol -> spare code, least recently used first."""
        self._held: dict[str, list[int]] = {}
        """Key name -> codes that are down for it, in the order they were pressed."""
        self._read_layout()
        self._shift = self._layout[_SHIFT].keycode

    def _read_layout(self) -> None:
        info = self._display.display.info
        rows = self._display.get_keyboard_mapping(info.min_keycode, info.max_keycode - info.min_keycode + 1)
        for keycode, row in enumerate(rows, info.min_keycode):
            if not any(row):
                self._spare.append(keycode)
            for level, keysym in enumerate(row[:2]):
                if keysym:
                    self._layout.setdefault(keysym, Stroke(keycode, level == 1))

    def type_text(self, text: str) -> None:
        """Type characters; all of them must have a key symbol. Caps Lock, which inverts letters, is off meanwhile."""
        keysyms = [keysym_of_character(character) for character in typed_form(text)]
        locked = self._caps_lock_is_on()
        if locked:
            self._tap(self._layout[_CAPS_LOCK].keycode)
        for run in self._runs_that_fit(keysyms):
            self._type_run([self._stroke(keysym) for keysym in self._bind_all(run)])
        if locked:
            self._tap(self._layout[_CAPS_LOCK].keycode)

    def let_shortcuts_work(self) -> None:
        """Wait until the focused program has done what the shortcuts that were sent ask of it.

        LibreOffice does that when it has nothing else to do: letters that come right behind a shortcut overtake it, and
        "select all, delete" deletes them too. After an answer its queue is empty; two such moments are long enough.
        """
        for _ in range(2):
            self._barrier.wait()
            time.sleep(_IDLE_S)
        self._barrier.wait()

    def down(self, name: str) -> None:
        """Press a key and keep it down; a key that is down stays down."""
        if name.lower() in self._held:
            return
        [keysym] = self._bind_all([keysym_of_key(name)])
        stroke = self._stroke(keysym)
        codes = [self._shift, stroke.keycode] if stroke.shifted else [stroke.keycode]
        for code in codes:
            self._fake(X.KeyPress, code)
        self._held[name.lower()] = codes

    def up(self, name: str) -> None:
        """Release a key; a key that is up stays up."""
        for code in reversed(self._held.pop(name.lower(), [])):
            self._fake(X.KeyRelease, code)

    def chord(self, names: Iterable[str]) -> None:
        """Press keys in order, release them in reverse order."""
        names = list(names)
        if len(names) > 1:
            # `ctrl+A` means the key A; whoever wants shift says so.
            names = [name.lower() for name in names]
        pressed = [name for name in names if name.lower() not in self._held]
        for name in pressed:
            self.down(name)
        for name in reversed(pressed):
            self.up(name)

    def release_all(self) -> None:
        for name in list(self._held):
            self.up(name)

    def restore_layout(self) -> None:
        """Take all bindings of spare codes back."""
        for keycode in self._bound.values():
            self._display.change_keyboard_mapping(keycode, [(X.NoSymbol, X.NoSymbol)])
            self._spare.append(keycode)
        self._bound.clear()

    def _runs_that_fit(self, keysyms: list[int]) -> Iterator[list[int]]:
        """Cut a text where it needs more new symbols than there are spare codes."""
        capacity = len(self._spare) + len(self._bound)
        run: list[int] = []
        new: set[int] = set()
        for keysym in keysyms:
            if keysym not in self._layout and keysym not in new:
                if len(new) == capacity:
                    yield run
                    run, new = [], set()
                new.add(keysym)
            run.append(keysym)
        yield run

    def _bind_all(self, keysyms: list[int]) -> list[int]:
        """Give every symbol that the layout lacks a spare code, all at once."""
        wanted = dict.fromkeys(keysym for keysym in keysyms if keysym not in self._layout)
        for keysym in wanted:
            if keysym in self._bound:
                self._bound.move_to_end(keysym)
        missing = [keysym for keysym in wanted if keysym not in self._bound]
        if len(missing) > len(self._spare):
            self._barrier.wait()
            self._free(len(missing) - len(self._spare))
        bound = {self._spare.pop(0): keysym for keysym in missing}
        self._bound.update((keysym, keycode) for keycode, keysym in bound.items())
        self._give(bound)
        return keysyms

    def _give(self, symbols: dict[int, int]) -> None:
        """Give key codes their symbols, neighbours in one request: all programs read the whole map after each.

        A window manager that does so sixty times in a row deals with no click for seconds.
        """
        for first in (code for code in sorted(symbols) if code - 1 not in symbols):
            run = list(takewhile(symbols.__contains__, count(first)))
            # The same symbol on both levels, so that a Shift that is held does not change the character.
            self._display.change_keyboard_mapping(first, [(symbols[code], symbols[code]) for code in run])
        if symbols:
            self._display.sync()

    def _free(self, count: int) -> None:
        for _ in range(count):
            _, keycode = self._bound.popitem(last=False)
            self._spare.append(keycode)

    def _stroke(self, keysym: int) -> Stroke:
        return self._layout.get(keysym) or Stroke(self._bound[keysym], shifted=False)

    def _type_run(self, strokes: list[Stroke]) -> None:
        if any(self._shift in codes for codes in self._held.values()):
            # Shift is the caller's for as long as he holds it: the text comes out as on a real keyboard.
            strokes = [Stroke(stroke.keycode, shifted=False) for stroke in strokes]
        shifted = False
        for stroke in strokes:
            if stroke.shifted != shifted:
                shifted = stroke.shifted
                self._fake(X.KeyPress if shifted else X.KeyRelease, self._shift)
            self._tap(stroke.keycode)
        if shifted:
            self._fake(X.KeyRelease, self._shift)

    def _caps_lock_is_on(self) -> bool:
        mask = self._display.screen().root.query_pointer().mask
        return bool(mask & X.LockMask) and _CAPS_LOCK in self._layout

    def _tap(self, keycode: int) -> None:
        self._fake(X.KeyPress, keycode)
        self._fake(X.KeyRelease, keycode)

    def _fake(self, event_type: int, keycode: int) -> None:
        xtest.fake_input(self._display, event_type, keycode)
