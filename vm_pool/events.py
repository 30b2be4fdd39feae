"""Input events: what is sent to a machine's pointer and keyboard, as data.

Coordinates are integers in screen pixels, origin at the top left of the screen, x to the right, y down.
Key names are pyautogui's (`ctrl`, `enter`, `pageup`, `f5`, `a`); the guest maps them to its own key symbols.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Button = Literal["left", "middle", "right"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Move(_Event):
    """Put the pointer at a pixel without pressing anything."""

    type: Literal["move"] = "move"
    x: int = Field(ge=0)
    y: int = Field(ge=0)


class Click(_Event):
    """Press and release a button at a pixel, `count` times within the toolkit's double-click window."""

    type: Literal["click"] = "click"
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    button: Button = "left"
    count: int = Field(default=1, ge=1, le=3)


class Press(_Event):
    """Press a pointer button where the pointer is and keep it down."""

    type: Literal["press"] = "press"
    button: Button = "left"


class Release(_Event):
    """Release a pointer button where the pointer is."""

    type: Literal["release"] = "release"
    button: Button = "left"


class Drag(_Event):
    """Press at one pixel, travel to another with intermediate motion, release there."""

    type: Literal["drag"] = "drag"
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    to_x: int = Field(ge=0)
    to_y: int = Field(ge=0)
    button: Button = "left"
    milliseconds: int = Field(default=300, ge=0, le=10_000)
    """How long the pointer travels; toolkits need some motion events to begin a drag."""


class Scroll(_Event):
    """Turn the wheel at a pixel. Unit: notches. `dy` > 0 scrolls up, `dx` > 0 scrolls right."""

    type: Literal["scroll"] = "scroll"
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    dx: int = Field(default=0, ge=-100, le=100)
    dy: int = Field(default=0, ge=-100, le=100)


class KeyDown(_Event):
    """Press a key and keep it down, across batches and actions, until a `KeyUp`."""

    type: Literal["key_down"] = "key_down"
    key: str = Field(min_length=1)


class KeyUp(_Event):
    """Release a key."""

    type: Literal["key_up"] = "key_up"
    key: str = Field(min_length=1)


class Chord(_Event):
    """Press keys in order and release them in reverse order; one key is a plain key press."""

    type: Literal["chord"] = "chord"
    keys: tuple[str, ...] = Field(min_length=1)


class Text(_Event):
    """Type text as a person would; any Unicode, newline is Enter and tab is Tab."""

    type: Literal["text"] = "text"
    text: str


InputEvent = Annotated[
    Move | Click | Press | Release | Drag | Scroll | KeyDown | KeyUp | Chord | Text,
    Field(discriminator="type"),
]
