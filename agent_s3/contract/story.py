"""The X event log in words: what another X client saw of an action, short enough for a table. Pure.

`left click x2 at 40,51`, `ctrl+shift+left click at 40,51`, `types 'héllo⏎'`, `ctrl+s`, `drag left 1,2 -> 30,40`,
`wheel down x3 at 40,51`. Motion without a button tells nothing and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from vm_pool.contract.witness import Seen

_MODIFIERS = {
    "Control_L": "ctrl",
    "Control_R": "ctrl",
    "Shift_L": "shift",
    "Shift_R": "shift",
    "Alt_L": "alt",
    "Alt_R": "alt",
    "Super_L": "win",
}
_BUTTONS = {"1": "left", "2": "middle", "3": "right"}
_WHEEL = {"4": "up", "5": "down", "6": "left", "7": "right"}
_TEXT_SHOWN = 60


@dataclass(frozen=True)
class Deed:
    """One thing that was done, as the X server told it."""

    what: str
    """`click`, `drag`, `wheel`, `key` or `text`."""
    detail: str
    """Name of button, direction or key; the text itself."""
    held: tuple[str, ...] = ()
    """Modifiers that were down, in the order they were pressed."""
    at: tuple[int, int] | None = None
    """Screen pixels; None: keys have no place."""
    to: tuple[int, int] | None = None
    """Where a drag ended."""
    count: int = 1

    def __str__(self) -> str:
        if self.what == "text":
            return f"types {_shortened(self.detail)!r}"
        words = "+".join((*self.held, self.detail))
        times = f" x{self.count}" if self.count > 1 else ""
        match self.what:
            case "click":
                return f"{words} click{times} at {_point(self.at)}"
            case "drag":
                return f"{words} drag {_point(self.at)} -> {_point(self.to)}"
            case "wheel":
                return f"wheel {words}{times} at {_point(self.at)}"
            case _:
                return f"{words}{times}"


def click(x: int, y: int, *, button: str = "left", count: int = 1, held: Sequence[str] = ()) -> Deed:
    """What a click must look like; `x` and `y` in screen pixels."""
    return Deed("click", button, tuple(held), (x, y), count=count)


def drag(x: int, y: int, to_x: int, to_y: int, *, held: Sequence[str] = ()) -> Deed:
    """What a drag with the left button must look like, in screen pixels."""
    return Deed("drag", "left", tuple(held), (x, y), (to_x, to_y))


def wheel(direction: str, x: int, y: int, *, count: int) -> Deed:
    """What turning the wheel `up`, `down`, `left` or `right` by so many notches must look like."""
    return Deed("wheel", direction, at=(x, y), count=count)


def key(name: str, *, held: Sequence[str] = (), count: int = 1) -> Deed:
    """What pressing a key must look like; `name` is that of its symbol, e.g. `Return`."""
    return Deed("key", name, tuple(held), count=count)


def text(typed: str) -> Deed:
    """What typing must look like."""
    return Deed("text", typed)


def story(events: Sequence[Seen]) -> tuple[Deed, ...]:
    """The deeds of a log, equal ones in a row counted as one."""
    return tuple(_together(_Reader().read(events)))


def tell(deeds: Sequence[Deed]) -> str:
    """One line for a table."""
    return ", ".join(map(str, deeds)) or "no device event"


@dataclass
class _Reader:
    held: list[str] = field(default_factory=list[str])
    used: bool = True
    """Whether something was pressed while the modifiers were down."""
    pressed: Seen | None = None
    moved: bool = False

    def read(self, events: Sequence[Seen]) -> Iterator[Deed]:
        for event in events:
            match event.what:
                case "motion":
                    self.moved = True
                case "press":
                    self.pressed, self.moved, self.used = event, False, True
                case "release":
                    yield from self._released(event)
                case "key_down":
                    yield from self._key_down(event)
                case _:
                    yield from self._key_up(event)

    def _released(self, event: Seen) -> Iterator[Deed]:
        start = self.pressed
        self.pressed = None
        if start is None or start.detail != event.detail:
            return
        at, to, held = (start.x, start.y), (event.x, event.y), tuple(self.held)
        if event.detail in _WHEEL:
            yield Deed("wheel", _WHEEL[event.detail], held, at)
        elif self.moved and at != to:
            yield Deed("drag", _BUTTONS.get(event.detail, event.detail), held, at, to)
        else:
            yield Deed("click", _BUTTONS.get(event.detail, event.detail), held, at)

    def _key_down(self, event: Seen) -> Iterator[Deed]:
        if modifier := _MODIFIERS.get(event.detail):
            self.held.append(modifier)
            self.used = False
            return
        self.used = True
        if event.types:
            yield Deed("text", event.types)
        else:
            yield Deed("key", event.detail, tuple(self.held))

    def _key_up(self, event: Seen) -> Iterator[Deed]:
        modifier = _MODIFIERS.get(event.detail)
        if modifier is None or modifier not in self.held:
            return
        self.held.remove(modifier)
        if not self.used:
            self.used = True
            yield Deed("key", event.detail, tuple(self.held))


def _together(deeds: Iterator[Deed]) -> Iterator[Deed]:
    """Characters become one text; equal clicks, notches and keys become one with a count."""
    for is_text, run in groupby(deeds, key=lambda deed: deed.what == "text"):
        if is_text:
            yield Deed("text", "".join(deed.detail for deed in run))
            continue
        for deed, same in groupby(run):
            count = len(list(same))
            yield deed if count == 1 else Deed(deed.what, deed.detail, deed.held, deed.at, deed.to, count)


def _shortened(typed: str) -> str:
    shown = typed.replace("\n", "⏎").replace("\t", "⇥")
    if len(shown) <= _TEXT_SHOWN:
        return shown
    return f"{shown[: _TEXT_SHOWN // 2]}… ({len(shown)} characters)"


def _point(place: tuple[int, int] | None) -> str:
    return "?" if place is None else f"{place[0]},{place[1]}"
