"""The X event log in words."""

from agent_s3.contract.story import click, drag, key, story, tell, text, wheel
from vm_pool.contract.witness import Seen


def press(button: int, x: int, y: int) -> list[Seen]:
    return [Seen("press", str(button), x, y), Seen("release", str(button), x, y)]


def down(name: str, types: str = "") -> Seen:
    return Seen("key_down", name, 0, 0, types)


def up(name: str) -> Seen:
    return Seen("key_up", name, 0, 0)


def tap(name: str, types: str = "") -> list[Seen]:
    return [down(name, types), up(name)]


def test_equal_clicks_in_a_row_are_one_with_a_count():
    assert story([Seen("motion", "", 5, 6), *press(1, 5, 6), *press(1, 5, 6)]) == (click(5, 6, count=2),)
    assert story([*press(1, 5, 6), *press(3, 5, 6)]) == (click(5, 6), click(5, 6, button="right"))


def test_what_is_held_belongs_to_clicks_keys_and_drags():
    assert story([down("Control_L"), *press(1, 5, 6), up("Control_L")]) == (click(5, 6, held=["ctrl"]),)
    assert story([down("Shift_L"), *tap("Right"), *tap("Right"), up("Shift_L")]) == (
        key("Right", held=["shift"], count=2),
    )
    moved = [Seen("press", "1", 1, 2), Seen("motion", "", 9, 9), Seen("release", "1", 30, 40)]
    assert story([down("Control_L"), *moved, up("Control_L")]) == (drag(1, 2, 30, 40, held=["ctrl"]),)


def test_a_modifier_alone_is_a_key_and_one_that_makes_a_capital_is_not():
    assert story(tap("Super_L")) == (key("Super_L"),)
    typed = [down("Shift_L"), *tap("h", "H"), up("Shift_L"), *tap("i", "i"), *tap("Return", "\n")]
    assert story(typed) == (text("Hi\n"),)


def test_notches_of_the_wheel_are_counted_by_direction():
    assert story([*press(5, 1, 1), *press(5, 1, 1), *press(7, 1, 1)]) == (
        wheel("down", 1, 1, count=2),
        wheel("right", 1, 1, count=1),
    )


def test_a_story_is_told_in_one_line():
    deeds = (click(1, 2, count=2, held=["ctrl"]), text("a\tb\n"), key("s", held=["ctrl"]), drag(1, 2, 3, 4))
    assert tell(deeds) == "ctrl+left click x2 at 1,2, types 'a⇥b⏎', ctrl+s, left drag 1,2 -> 3,4"
    assert tell([text("x" * 100)]).endswith("(100 characters)'")
    assert tell([wheel("up", 3, 4, count=5)]) == "wheel up x5 at 3,4"
    assert tell([]) == "no device event"
