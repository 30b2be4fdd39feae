"""Input events as what a virtual machine's own tablet and keyboard send, in QEMU's words. Pure.

Only what comes out the same whatever the guest's keyboard layout is: the pointer, and keys that have no letter on them.
Text and what is held down across calls are left to the guest server, which knows the layout.
Source of the words: QEMU, qapi/ui.json (`InputEvent`, `QKeyCode`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vm_pool.events import Chord, Click, Drag, InputEvent, Move, Scroll

Words = list[dict[str, Any]]
"""Arguments of one `input-send-event`."""
_FULL = 0x7FFF
"""Where an axis ends. Source: QEMU, include/ui/input.h (`INPUT_EVENT_ABS_MAX`)."""
_DRAG_STEPS = 8
_MOST_KEYS = 4
"""Of one chord: a keyboard's queue holds 16 events, and what does not fit is dropped."""
# fmt: off
_SAME = (
    "esc", "tab", "backspace", "home", "end", "insert", "delete", "up", "down", "left", "right", "ctrl", "shift", "alt",
    "pause", "pgup", "pgdn",
)
_OTHERS = {
    "enter": "ret", "return": "ret", "escape": "esc", "space": "spc", "del": "delete", "ins": "insert",
    "pageup": "pgup", "pagedown": "pgdn", "page_up": "pgup", "page_down": "pgdn", "ctrlleft": "ctrl",
    "ctrlright": "ctrl_r", "control": "ctrl", "shiftleft": "shift", "shiftright": "shift_r", "altleft": "alt",
    "win": "meta_l", "winleft": "meta_l", "winright": "meta_r", "super": "meta_l", "arrowup": "up",
    "arrowdown": "down", "arrowleft": "left", "arrowright": "right", "capslock": "caps_lock",
    "numlock": "num_lock", "scrolllock": "scroll_lock", "printscreen": "print", "prtsc": "print",
    "apps": "compose",
}
"""Our names to QEMU's."""
# fmt: on
_KEYS = {name: name for name in (*_SAME, *(f"f{number}" for number in range(1, 13)))} | _OTHERS


class Sent(NamedTuple):
    """One thing to send, after which the machine is given time to take it."""

    words: Words
    at: tuple[int, int] | None
    """Where the pointer is then, in pixels; None: where it was."""
    after_ms: int = 0
    """How long to wait before it, as the event says."""


def sent_for(events: Sequence[InputEvent], width: int, height: int) -> list[Sent] | None:
    """All that a batch is; None when some of it is for the guest server, which then gets all of it."""
    found: list[Sent] = []
    for event in events:
        some = _sent(event, width, height)
        if some is None:
            return None
        found += some
    return found


def move_to(x: int, y: int, width: int, height: int) -> Words:
    return [_axis("x", x, width), _axis("y", y, height)]


def _sent(event: InputEvent, width: int, height: int) -> list[Sent] | None:
    match event:
        case Move():
            return [Sent(move_to(event.x, event.y, width, height), (event.x, event.y))]
        case Click():
            pressed = [Sent([_button(event.button, down=down)], None) for down in (True, False)]
            return [Sent(move_to(event.x, event.y, width, height), (event.x, event.y)), *pressed * event.count]
        case Drag():
            return _drag(event, width, height)
        case Scroll():
            turns = [
                *[_wheel("up", "down", event.dy)] * abs(event.dy),
                *[_wheel("right", "left", event.dx)] * abs(event.dx),
            ]
            moved = Sent(move_to(event.x, event.y, width, height), (event.x, event.y))
            return [moved, *(Sent([_button(turn, down=down)], None) for turn in turns for down in (True, False))]
        case Chord():
            return _chord(event)
        case _:
            return None


def _drag(event: Drag, width: int, height: int) -> list[Sent]:
    places = [
        (
            event.x + round((event.to_x - event.x) * step / _DRAG_STEPS),
            event.y + round((event.to_y - event.y) * step / _DRAG_STEPS),
        )
        for step in range(1, _DRAG_STEPS + 1)
    ]
    pause = event.milliseconds // _DRAG_STEPS
    return [
        Sent(move_to(event.x, event.y, width, height), (event.x, event.y)),
        Sent([_button(event.button, down=True)], None),
        *(Sent(move_to(x, y, width, height), (x, y), pause) for x, y in places),
        Sent([_button(event.button, down=False)], None),
    ]


def _chord(event: Chord) -> list[Sent] | None:
    codes = [_KEYS.get(key if len(key) == 1 else key.lower()) for key in event.keys]
    known = [code for code in codes if code is not None]
    if len(known) < len(codes) or len(codes) > _MOST_KEYS:
        return None
    return [
        Sent([_key(code, down=True) for code in known] + [_key(code, down=False) for code in reversed(known)], None)
    ]


def _axis(name: str, place: int, size: int) -> dict[str, Any]:
    return {"type": "abs", "data": {"axis": name, "value": round(place * _FULL / max(1, size - 1))}}


def _button(name: str, *, down: bool) -> dict[str, Any]:
    return {"type": "btn", "data": {"button": name, "down": down}}


def _key(code: str, *, down: bool) -> dict[str, Any]:
    return {"type": "key", "data": {"key": {"type": "qcode", "data": code}, "down": down}}


def _wheel(more: str, less: str, notches: int) -> str:
    return f"wheel-{more if notches > 0 else less}"
