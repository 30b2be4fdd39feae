"""The actions of the providers' own computer tools as ours: typed, with the points that the model itself gave. Pure.

Source: the actions of OpenAI's tool `computer` and of Anthropic's `computer_toolset_20260801` and `computer_20251124`
are those of the types in both official SDKs. OpenAI scrolls in pixels; that a notch of the wheel is 100 is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent_s3.actions import Action, Click, DragAndDrop, HoldAndPress, Hotkey, Look, MovePointer, Scroll, Type, Wait
from agent_s3.coordinates import Display, Limits, Point, View
from agent_s3.gestures import key_names
from agent_s3.parse import Rejected
from agent_s3.types import Grounding
from llm.chat import ComputerDialect, Json
from vm_pool.types import Box

LIMITS: Mapping[ComputerDialect, Limits] = {
    "openai": Limits(2048, pixels=2_073_600),
    "anthropic": Limits(1568, pixels=1_150_000),
}
"""Of the pictures sent. Larger ones would be shrunk on the provider's side, and points would mean other pixels.

Source: https://platform.claude.com/docs/en/build-with-claude/vision (all models; newer ones take more);
https://developers.openai.com/api/docs/guides/images-vision (longest side, and patches of 32 px).
"""
_PIXELS_PER_NOTCH = 100
_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0
_MOST_ACTIONS = 20
_KEYSYMS = {
    "kp_enter": "enter",
    "minus": "-",
    "plus": "+",
    "equal": "=",
    "slash": "/",
    "period": ".",
    "comma": ",",
    "prior": "pageup",
    "next": "pagedown",
    "caps_lock": "capslock",
}
"""Names of X key symbols that are called otherwise, beside those that `gestures` knows."""


class Move(NamedTuple):
    """One of our actions, and where it is done."""

    action: Action
    places: tuple[Grounding, ...] = ()


@dataclass(frozen=True)
class Sight:
    """What the model was shown when it chose its points."""

    view: View
    display: Display
    pointer: tuple[int, int] | None = None
    """In screen pixels; None: not known."""

    def place(self, x: float, y: float) -> Grounding:
        """A point of the picture on the screen. Raises: `_Unusable` for one beyond the picture."""
        at = self.view.to_frame(x, y)
        if at is None:
            size = f"{self.view.width}x{self.view.height}"
            raise _Unusable(f"({x:g}, {y:g}) lies outside the picture, which is {size} pixels")
        return _given(self.display.to_screen(at))

    def here(self) -> Grounding:
        """Where the pointer is. Raises: `_Unusable` when that is not known."""
        if self.pointer is None:
            raise _Unusable("it is not known where the pointer is; give a coordinate")
        return _given(Point(*self.pointer))


class _Unusable(Exception):
    """Why an action cannot be done here."""


def _given(at: Point) -> Grounding:
    return Grounding(phrase=f"the point ({at.x}, {at.y})", x=at.x, y=at.y, by="given")


def read_call(dialect: ComputerDialect, actions: Sequence[Json], sight: Sight) -> tuple[Move, ...] | Rejected:
    """All that a call asks for, in order; or why it cannot be done, which nothing of it then is."""
    if not actions:
        return Rejected("the call holds no action")
    if len(actions) > _MOST_ACTIONS:
        return Rejected(f"{len(actions)} actions in one call are too many; at most {_MOST_ACTIONS}")
    try:
        return tuple(move for action in actions for move in _read(dialect, action, sight))
    except _Unusable as error:
        return Rejected(str(error))


def _read(dialect: ComputerDialect, action: Json, sight: Sight) -> Iterator[Move]:
    name = str(action.get("type" if dialect == "openai" else "action"))[:40]
    try:
        if dialect == "openai":
            yield from _openai(_OPENAI.validate_python(action), sight)
        else:
            yield from _anthropic(_ANTHROPIC.validate_python(action), sight)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        known = "it is not done here" if first["type"] == "union_tag_invalid" else first["msg"]
        raise _Unusable(f"{name}: {known}") from error


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Held = Annotated[tuple[str, ...], Field(max_length=8)]

# --- OpenAI ---------------------------------------------------------------------------------------------------------


class _At(_Asked):
    x: float
    y: float
    keys: Held | None = None


class _OClick(_At):
    type: Literal["click"]
    button: Literal["left", "right", "wheel"] = "left"


class _ODouble(_At):
    type: Literal["double_click"]


class _OMove(_At):
    type: Literal["move"]


class _OScroll(_At):
    type: Literal["scroll"]
    scroll_x: float = 0
    scroll_y: float = 0


class _ODrag(_Asked):
    type: Literal["drag"]
    path: Annotated[tuple[_At, ...], Field(min_length=2, max_length=1000)]
    keys: Held | None = None


class _OKeys(_Asked):
    type: Literal["keypress"]
    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]


class _OType(_Asked):
    type: Literal["type"]
    text: str


class _OLook(_Asked):
    type: Literal["screenshot"]


class _OWait(_Asked):
    type: Literal["wait"]


_OpenAIAction = Annotated[
    _OClick | _ODouble | _OMove | _OScroll | _ODrag | _OKeys | _OType | _OLook | _OWait, Field(discriminator="type")
]
_OPENAI: TypeAdapter[_OpenAIAction] = TypeAdapter(_OpenAIAction)


def _openai(asked: _OpenAIAction, sight: Sight) -> Iterator[Move]:
    match asked:
        case _OClick():
            button = "middle" if asked.button == "wheel" else asked.button
            yield _click(sight.place(asked.x, asked.y), button=button, hold_keys=asked.keys or ())
        case _ODouble():
            yield _click(sight.place(asked.x, asked.y), num_clicks=2, hold_keys=asked.keys or ())
        case _OMove():
            place = sight.place(asked.x, asked.y)
            yield Move(MovePointer(element_description=place.phrase), (place,))
        case _OScroll():
            yield from _openai_scroll(asked, sight.place(asked.x, asked.y))
        case _ODrag():
            first, last = asked.path[0], asked.path[-1]
            yield _drag(sight.place(first.x, first.y), sight.place(last.x, last.y), asked.keys or ())
        case _OKeys():
            yield Move(Hotkey(keys=_keys(asked.keys)))
        case _OType():
            yield Move(Type(text=asked.text))
        case _OLook():
            yield Move(Look())
        case _OWait():
            yield Move(Wait(time=_WAIT_S))


def _openai_scroll(asked: _OScroll, place: Grounding) -> Iterator[Move]:
    """Down and to the right is positive there; with shift, the wheel turns sideways."""
    held = _keys(asked.keys or ())
    if set(held) - {"shift"}:
        raise _Unusable(f"scroll: the wheel is not turned with {'+'.join(held)} held here")
    down, right = _notches(asked.scroll_y), _notches(asked.scroll_x)
    down, right = (0, right or down) if held else (down, right)
    if down:
        yield _scroll(place, -down, sideways=False)
    if right or not down:
        yield _scroll(place, -right, sideways=bool(right))


def _notches(pixels: float) -> int:
    """At least one, where there is anything to scroll."""
    if not pixels:
        return 0
    size = max(1, round(abs(pixels) / _PIXELS_PER_NOTCH))
    return min(100, size) * (1 if pixels > 0 else -1)


# --- Anthropic ------------------------------------------------------------------------------------------------------

Coordinate = tuple[float, float]


class _AClick(_Asked):
    action: Literal["left_click", "right_click", "middle_click", "double_click", "triple_click"]
    coordinate: Coordinate | None = None
    text: str | None = None
    """Keys held meanwhile."""


class _ADrag(_Asked):
    action: Literal["left_click_drag"]
    start_coordinate: Coordinate | None = None
    coordinate: Coordinate
    text: str | None = None


class _AMove(_Asked):
    action: Literal["mouse_move"]
    coordinate: Coordinate


class _AScroll(_Asked):
    action: Literal["scroll"]
    scroll_direction: Literal["up", "down", "left", "right"]
    scroll_amount: Annotated[int, Field(ge=0)]
    coordinate: Coordinate | None = None
    text: str | None = None


class _AKey(_Asked):
    action: Literal["key"]
    text: Annotated[str, Field(min_length=1, max_length=100)]
    repeat: Annotated[int, Field(ge=1, le=50)] = 1


class _AType(_Asked):
    action: Literal["type"]
    text: str


class _AWait(_Asked):
    action: Literal["wait"]
    duration: Annotated[float, Field(gt=0)]


class _ALook(_Asked):
    action: Literal["screenshot"]


class _AZoom(_Asked):
    action: Literal["zoom"]
    region: tuple[float, float, float, float]


_AnthropicAction = Annotated[
    _AClick | _ADrag | _AMove | _AScroll | _AKey | _AType | _AWait | _ALook | _AZoom, Field(discriminator="action")
]
_ANTHROPIC: TypeAdapter[_AnthropicAction] = TypeAdapter(_AnthropicAction)
_COUNTS = {"double_click": 2, "triple_click": 3}
_BUTTONS = {"right_click": "right", "middle_click": "middle"}


def _anthropic(asked: _AnthropicAction, sight: Sight) -> Iterator[Move]:
    match asked:
        case _AClick():
            place = _where(asked.coordinate, sight)
            count, button = _COUNTS.get(asked.action, 1), _BUTTONS.get(asked.action, "left")
            yield _click(place, num_clicks=count, button=button, hold_keys=_split(asked.text))
        case _ADrag():
            yield _drag(_where(asked.start_coordinate, sight), sight.place(*asked.coordinate), _split(asked.text))
        case _AMove():
            place = sight.place(*asked.coordinate)
            yield Move(MovePointer(element_description=place.phrase), (place,))
        case _AScroll():
            yield _anthropic_scroll(asked, _where(asked.coordinate, sight))
        case _AKey():
            yield from _pressed(_split(asked.text), asked.repeat)
        case _AType():
            yield Move(Type(text=asked.text))
        case _AWait():
            yield Move(Wait(time=min(asked.duration, _LONGEST_WAIT_S)))
        case _ALook():
            yield Move(Look())
        case _AZoom():
            yield Move(Look(part=_part(asked.region, sight.view)))


def _anthropic_scroll(asked: _AScroll, place: Grounding) -> Move:
    if set(held := _split(asked.text)) - {"shift"}:
        raise _Unusable(f"scroll: the wheel is not turned with {'+'.join(held)} held here")
    amount = min(100, asked.scroll_amount) * (1 if asked.scroll_direction in ("up", "left") else -1)
    return _scroll(place, amount, sideways=bool(held) or asked.scroll_direction in ("left", "right"))


def _where(coordinate: Coordinate | None, sight: Sight) -> Grounding:
    return sight.here() if coordinate is None else sight.place(*coordinate)


def _split(text: str | None) -> tuple[str, ...]:
    return _keys((text,)) if text else ()


def _pressed(keys: tuple[str, ...], times: int) -> Iterator[Move]:
    if times > 1 and len(keys) == 1:
        yield Move(HoldAndPress(hold_keys=(), press_keys=keys * times))
        return
    if times > _MOST_ACTIONS:
        raise _Unusable(f"key: a combination is pressed at most {_MOST_ACTIONS} times in a row")
    yield from (Move(Hotkey(keys=keys)) for _ in range(times))


def _part(region: tuple[float, float, float, float], view: View) -> Box:
    """A region of the picture, from corner to corner, in pixels of the frame."""
    left, top, right, bottom = region
    first, last = view.to_frame(left, top), view.to_frame(min(right, view.width) - 1, min(bottom, view.height) - 1)
    if first is None or last is None or right <= left or bottom <= top:
        raise _Unusable(f"zoom: {list(region)} is no region of the picture, which is {view.width}x{view.height} pixels")
    return Box(x=first.x, y=first.y, width=last.x - first.x + 1, height=last.y - first.y + 1)


# --- both -----------------------------------------------------------------------------------------------------------


def _click(place: Grounding, *, button: Any = "left", num_clicks: int = 1, hold_keys: Sequence[str] = ()) -> Move:
    held = _keys(hold_keys)
    click = Click(element_description=place.phrase, button_type=button, num_clicks=num_clicks, hold_keys=held)
    return Move(click, (place,))


def _drag(start: Grounding, end: Grounding, held: Sequence[str]) -> Move:
    drag = DragAndDrop(
        starting_description=start.phrase, ending_description=end.phrase, hold_keys=_keys(held) if held else ()
    )
    return Move(drag, (start, end))


def _scroll(place: Grounding, clicks: int, *, sideways: bool) -> Move:
    return Move(Scroll(element_description=place.phrase, clicks=clicks, shift=sideways), (place,))


def _keys(keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(_KEYSYMS.get(key, key) for key in key_names(keys)) if keys else ()
