"""Checks a batch of input events wholly before any of it is sent. Pure: values in, values out.

The wire form is the JSON of `vm_pool.events`; this module knows it without pydantic.
"""

from collections.abc import Callable
from typing import Any

from .keys import keysym_of_character, keysym_of_key, typed_form

MAX_EVENTS = 1000
MAX_TEXT = 100_000
BUTTONS = {"left": 1, "middle": 2, "right": 3}

Event = dict[str, Any]
Check = Callable[[Any], "str | None"]


class BadBatch(ValueError):
    """The batch was refused; the message names the event and what is wrong with it."""


def check_batch(batch: object, *, width: int, height: int) -> list[Event]:
    """The batch with defaults filled in.

    `width` and `height` are the screen's, in pixels. Raises: `BadBatch` on the first thing that is wrong.
    """
    if not isinstance(batch, list):
        raise BadBatch("events must be a list")
    if len(batch) > MAX_EVENTS:
        raise BadBatch(f"a batch holds at most {MAX_EVENTS} events, not {len(batch)}")
    forms = _forms(width, height)
    return [_check_event(number, event, forms) for number, event in enumerate(batch)]


def _check_event(number: int, event: object, forms: dict[str, dict[str, tuple[Check, Any]]]) -> Event:
    if not isinstance(event, dict):
        raise BadBatch(f"event {number} is not an object")
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in forms:
        raise BadBatch(f"event {number} has an unknown type {kind!r}; known: {', '.join(sorted(forms))}")
    fields = forms[kind]
    for name in event:
        if name != "type" and name not in fields:
            raise BadBatch(f"event {number} ({kind}) has an unknown field {name!r}")
    checked: Event = {"type": kind}
    for name, (check, default) in fields.items():
        value = event.get(name, default)
        wrong = check(value)
        if wrong:
            raise BadBatch(f"event {number} ({kind}): {name} {wrong}")
        checked[name] = value
    return checked


_MISSING = object()


def _forms(width: int, height: int) -> dict[str, dict[str, tuple[Check, Any]]]:
    """For each event type: field name -> (check, default)."""
    x = (_pixel(width, "wide"), _MISSING)
    y = (_pixel(height, "high"), _MISSING)
    button = (_button, "left")
    notches = (_whole(-100, 100), 0)
    key = (_key, _MISSING)
    return {
        "move": {"x": x, "y": y},
        "click": {"x": x, "y": y, "button": button, "count": (_whole(1, 3), 1)},
        "press": {"button": button},
        "release": {"button": button},
        "drag": {"x": x, "y": y, "to_x": x, "to_y": y, "button": button, "milliseconds": (_whole(0, 10_000), 300)},
        "scroll": {"x": x, "y": y, "dx": notches, "dy": notches},
        "key_down": {"key": key},
        "key_up": {"key": key},
        "chord": {"keys": (_keys, _MISSING)},
        "text": {"text": (_text, _MISSING)},
    }


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pixel(limit: int, dimension: str) -> Check:
    def check(value: Any) -> str | None:
        if not _is_whole(value):
            return "must be a whole number of pixels"
        return None if 0 <= value < limit else f"= {value} lies outside the screen, which is {limit} px {dimension}"

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        return None if _is_whole(value) and low <= value <= high else f"must be a whole number from {low} to {high}"

    return check


def _button(value: Any) -> str | None:
    known = isinstance(value, str) and value in BUTTONS
    return None if known else f"= {value!r} is no button; known: {', '.join(BUTTONS)}"


def _key(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "must be a key name"
    return None if keysym_of_key(value) is not None else f"= {value!r} is no key name"


def _keys(value: Any) -> str | None:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 10:
        return "must be a list of 1 to 10 key names"
    return next((wrong for wrong in map(_key, value) if wrong), None)


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters; write it to a file or use the clipboard"
    untypable = next((c for c in typed_form(value) if keysym_of_character(c) is None), None)
    return None if untypable is None else f"holds {untypable!r}, which no key types"
