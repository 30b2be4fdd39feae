"""Pointer and keyboard actions -> input events. Pure: what is planned here is what is sent and recorded."""

import re
from collections.abc import Sequence

from agent_s3.actions import Action, Click, DragAndDrop, HoldAndPress, Hotkey, MovePointer, Scroll, Type
from agent_s3.types import Grounding
from vm_pool import events as ev
from vm_pool.events import InputEvent

_PLUS = re.compile(r"(?<=.)\+(?=.)")
_ALIASES = {
    "control": "ctrl",
    "ctl": "ctrl",
    "return": "enter",
    "escape": "esc",
    "del": "delete",
    "ins": "insert",
    "super": "win",
    "meta": "win",
    "cmd": "win",
    "command": "win",
    "windows": "win",
    "option": "alt",
    "page_up": "pageup",
    "page_down": "pagedown",
    "pgup": "pageup",
    "pgdn": "pagedown",
    "arrowup": "up",
    "arrowdown": "down",
    "arrowleft": "left",
    "arrowright": "right",
    "spacebar": "space",
    "back": "backspace",
    "bksp": "backspace",
    "print": "printscreen",
}
"""Names that models write for keys that are called otherwise."""


def phrases(action: Action) -> tuple[str, ...]:
    """What must be grounded before the action can be planned, in the order of use."""
    match action:
        case Click() | Scroll() | MovePointer():
            return (action.element_description,)
        case Type():
            return (action.element_description,) if action.element_description else ()
        case DragAndDrop():
            return (action.starting_description, action.ending_description)
        case _:
            return ()


def plan(action: Action, places: Sequence[Grounding]) -> tuple[InputEvent, ...]:
    """The events of an action that is done by pointer and keyboard alone; empty for all others."""
    match action:
        case Click():
            click = ev.Click(x=places[0].x, y=places[0].y, button=action.button_type, count=action.num_clicks)
            return _holding(action.hold_keys, [click])
        case Type():
            return _typing(action, places)
        case Scroll():
            return (_scroll(action, places[0]),)
        case DragAndDrop():
            start, end = places
            return _holding(action.hold_keys, [ev.Drag(x=start.x, y=start.y, to_x=end.x, to_y=end.y)])
        case MovePointer():
            return (ev.Move(x=places[0].x, y=places[0].y),)
        case Hotkey():
            return (ev.Chord(keys=key_names(action.keys)),)
        case HoldAndPress():
            # As in a combination, `A` under ctrl means the key A; whoever wants shift says so.
            pressed = key_names([k.lower() for k in action.press_keys] if action.hold_keys else action.press_keys)
            return _holding(action.hold_keys, [ev.Chord(keys=(k,)) for k in pressed])
        case _:
            return ()


def key_names(keys: Sequence[str]) -> tuple[str, ...]:
    """pyautogui names, from the spellings that models use; `ctrl+s` and `ctrl++` in one string are taken apart."""
    parts = [part for key in keys for part in _PLUS.split(key)]
    lowered = [part.strip() if len(part.strip()) <= 1 else part.strip().lower() for part in parts]
    return tuple(_ALIASES.get(part, part) for part in lowered if part) or tuple(keys)


def _typing(action: Type, places: Sequence[Grounding]) -> tuple[InputEvent, ...]:
    events: list[InputEvent] = [ev.Click(x=p.x, y=p.y) for p in places]
    if action.overwrite:
        events += _emptying(places[0].element if places else "")
    if action.text:
        events.append(ev.Text(text=action.text))
    if action.enter:
        events.append(ev.Chord(keys=("enter",)))
    return tuple(events)


def _emptying(element: str) -> list[InputEvent]:
    """What removes what is there: all of a text, or the line that is typed at a shell's prompt.

    Typing replaces a cell of itself, and "select all" there means the whole sheet.
    """
    if element.startswith("table-cell"):
        return []
    if element.startswith("terminal"):
        return [ev.Chord(keys=("ctrl", "e")), ev.Chord(keys=("ctrl", "u"))]
    return [ev.Chord(keys=("ctrl", "a")), ev.Chord(keys=("backspace",))]


def _scroll(action: Scroll, place: Grounding) -> InputEvent:
    if action.shift:
        return ev.Scroll(x=place.x, y=place.y, dx=-action.clicks)
    return ev.Scroll(x=place.x, y=place.y, dy=action.clicks)


def _holding(keys: Sequence[str], events: Sequence[InputEvent]) -> tuple[InputEvent, ...]:
    """Keys go down before and come up after, in reverse, within one batch, so that none stays down."""
    held = key_names(keys) if keys else ()
    return (*(ev.KeyDown(key=k) for k in held), *events, *(ev.KeyUp(key=k) for k in reversed(held)))
