"""Ways in which rollouts go well or go wrong, each with a desktop, a task and a simulated agent that falls for it.

The simulated agent goes on in its wrong way until it is told that something is wrong. So its success says whether a
policy speaks up in time, and nothing about how well a model takes advice. A model that is named instead gets the same
tasks on the same desktops and does what it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.reflection.form import Form

Act = Mapping[str, Any]


def press(what: str) -> Act:
    return {"action": "click", "element_description": what}


def write(text: str, into: str) -> Act:
    return {"action": "type", "element_description": into, "text": text, "overwrite": True}


def keys(*names: str) -> Act:
    return {"action": "hotkey", "keys": list(names)}


DONE: Act = {"action": "done"}
SAVE_BY_KEY = keys("ctrl", "s")


@dataclass(frozen=True)
class Situation:
    """A trap, or none."""

    name: str
    right: tuple[Act, ...]
    """What does the task."""
    wrong: tuple[Act, ...] = ()
    """What the simulated agent does instead, over and over."""
    after: int = 0
    """How many right steps it takes before that."""
    notices: int | None = None
    """After so many wrong steps it goes on rightly by itself; None: never."""
    dead: frozenset[str] = field(default_factory=frozenset[str])
    """Buttons that do nothing on this desktop."""
    subscribed: bool = False
    """Whether that is part of the task."""

    @property
    def instruction(self) -> str:
        also = ", subscribed" if self.subscribed else ""
        return f"In the form, enter the name Ada and the city Paris{also}, and save it."

    def solved(self, form: Form) -> bool:
        wanted = {"Name": "Ada", "City": "Paris", "Subscribe": "subscribed" if self.subscribed else "not subscribed"}
        return form.saved == wanted


_NAME, _CITY = write("Ada", "Name"), write("Paris", "City")
_FILL = (_NAME, _CITY)

SITUATIONS: tuple[Situation, ...] = (
    Situation("all goes well", (*_FILL, press("Save"), DONE)),
    Situation(
        "all goes well, with a look into a panel",
        (press("Options"), press("Close panel"), *_FILL, press("Next"), press("Back"), press("Save"), DONE),
    ),
    Situation("all goes well, field by field", (press("Name"), _NAME, press("City"), _CITY, press("Save"), DONE)),
    Situation(
        "notices a dead button by itself",
        (*_FILL, SAVE_BY_KEY, DONE),
        (press("Save"),),
        after=2,
        notices=1,
        dead=frozenset({"Save"}),
    ),
    Situation("one button pressed again and again", (*_FILL, press("Save"), DONE), (press("Apply"),), after=2),
    Situation(
        "several things tried that change nothing",
        (*_FILL, SAVE_BY_KEY, DONE),
        (press("Save"), keys("enter"), press("the Apply button"), keys("f2"), press("the Save button"), keys("f5")),
        after=2,
        dead=frozenset({"Save"}),
    ),
    Situation(
        "elements named that are not there",
        (*_FILL, press("Save"), DONE),
        (press("Submit"), press("Send"), press("Confirm"), press("Finish")),
        after=2,
    ),
    Situation(
        "in a circle",
        (*_FILL, press("Save"), DONE),
        (
            press("Options"),
            press("Close panel"),
            press("the Options button"),
            press("the Close panel button"),
            press("button Options"),
            press("button Close panel"),
        ),
        after=1,
    ),
    Situation(
        "a choice made and taken back",
        (*_FILL, press("Subscribe"), press("Save"), DONE),
        (press("Next"), press("the Subscribe check box"), press("Subscribe"), press("Back")),
        after=2,
        subscribed=True,
    ),
    Situation(
        "lost in reading until the steps run out",
        (*_FILL, SAVE_BY_KEY, DONE),
        tuple(press(words) for words in ("Next", "the Next button", "button Next", "Next button", "the button Next")),
        after=2,
    ),
    Situation(
        "a mistake that leaves no sign",
        (_NAME, SAVE_BY_KEY, DONE),
        (write("Eda", "Name"), write("Paris", "City"), press("Save"), DONE),
    ),
)


def chosen(words: Sequence[str]) -> tuple[Situation, ...]:
    """Those whose name holds one of the words; all for no words. Raises: `BenchmarkError` for one that none holds."""
    for word in words:
        if not any(word in situation.name for situation in SITUATIONS):
            known = "; ".join(situation.name for situation in SITUATIONS)
            raise BenchmarkError(f"no situation is named like {word!r}; there are: {known}")
    return tuple(one for one in SITUATIONS if not words or any(word in one.name for word in words))
