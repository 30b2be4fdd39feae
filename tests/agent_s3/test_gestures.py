"""Actions -> input events."""

import pytest

from agent_s3.actions import ACTION, Action
from agent_s3.gestures import key_names, phrases, plan
from agent_s3.types import Grounding
from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Scroll, Text

A = Grounding(phrase="a", x=10, y=20, by="tree")
B = Grounding(phrase="b", x=30, y=40, by="tree")


def action(name: str, **arguments: object) -> Action:
    return ACTION.validate_python({"action": name, **arguments})


CASES: list[tuple[Action, list[Grounding], list[InputEvent]]] = [
    (action("click", element_description="a", num_clicks=2), [A], [Click(x=10, y=20, count=2)]),
    (
        action("click", element_description="a", button_type="right", hold_keys=["ctrl", "shift"]),
        [A],
        [
            KeyDown(key="ctrl"),
            KeyDown(key="shift"),
            Click(x=10, y=20, button="right"),
            KeyUp(key="shift"),
            KeyUp(key="ctrl"),
        ],
    ),
    (action("type", text="a\nb"), [], [Text(text="a\nb")]),
    (
        action("type", text="x", element_description="a", enter=True),
        [A],
        [Click(x=10, y=20), Text(text="x"), Chord(keys=("enter",))],
    ),
    (action("type", overwrite=True), [], [Chord(keys=("ctrl", "a")), Chord(keys=("backspace",))]),
    (
        action("type", text="x", element_description="a", overwrite=True),
        [A.model_copy(update={"element": "table-cell B2"})],
        [Click(x=10, y=20), Text(text="x")],
    ),
    (
        action("type", text="ls", element_description="a", overwrite=True),
        [A.model_copy(update={"element": "terminal Terminal"})],
        [Click(x=10, y=20), Chord(keys=("ctrl", "e")), Chord(keys=("ctrl", "u")), Text(text="ls")],
    ),
    (action("scroll", element_description="a", clicks=-3), [A], [Scroll(x=10, y=20, dy=-3)]),
    (action("scroll", element_description="a", clicks=3, shift=True), [A], [Scroll(x=10, y=20, dx=-3)]),
    (
        action("drag_and_drop", starting_description="a", ending_description="b", hold_keys=["ctrl"]),
        [A, B],
        [KeyDown(key="ctrl"), Drag(x=10, y=20, to_x=30, to_y=40), KeyUp(key="ctrl")],
    ),
    (action("hotkey", keys=["ctrl", "s"]), [], [Chord(keys=("ctrl", "s"))]),
    (
        action("hold_and_press", hold_keys=["shift"], press_keys=["left", "left"]),
        [],
        [KeyDown(key="shift"), Chord(keys=("left",)), Chord(keys=("left",)), KeyUp(key="shift")],
    ),
    (
        action("hold_and_press", hold_keys=["ctrl"], press_keys=["A", "C"]),
        [],
        [KeyDown(key="ctrl"), Chord(keys=("a",)), Chord(keys=("c",)), KeyUp(key="ctrl")],
    ),
    (action("hold_and_press", hold_keys=[], press_keys=["A"]), [], [Chord(keys=("A",))]),
    (action("wait", time=1), [], []),
    (action("done"), [], []),
]


@pytest.mark.parametrize(("what", "places", "events"), CASES)
def test_an_action_becomes_these_events(what: Action, places: list[Grounding], events: list[InputEvent]):
    assert list(plan(what, places)) == events
    assert len(phrases(what)) == len(places)


def test_keys_are_understood_in_the_spellings_that_models_use():
    assert key_names(["Control", "Return", "F5"]) == ("ctrl", "enter", "f5")
    assert key_names(["ctrl+shift+t"]) == ("ctrl", "shift", "t")
    assert key_names(["+"]) == ("+",)
    assert key_names(["ctrl++"]) == key_names(["ctrl", "+"]) == ("ctrl", "+")
    assert key_names(["A"]) == ("A",)
