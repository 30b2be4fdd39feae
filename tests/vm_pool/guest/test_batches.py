"""Batches of input are checked whole before anything is sent."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vm_pool.events import Chord, Click, InputEvent, KeyDown, Move, Text
from vm_pool.guest.batches import MAX_TEXT, BadBatch, check_batch
from vm_pool.guest.keys import keysym_of_character, keysym_of_key

EVENT = TypeAdapter(InputEvent)
SIZE = {"width": 100, "height": 80}


def test_every_event_type_of_the_host_is_known_to_the_guest():
    types = [member.model_fields["type"].default for member in get_args(get_args(InputEvent)[0])]
    for name in types:
        with pytest.raises(BadBatch) as refusal:
            check_batch([{"type": name, "surprise": 1}], **SIZE)
        assert "unknown field" in str(refusal.value)


@given(st.builds(Click, x=st.integers(0, 99), y=st.integers(0, 79), count=st.integers(1, 3)))
def test_an_event_of_the_host_passes_with_its_values(event):
    assert check_batch([event.model_dump()], **SIZE) == [event.model_dump()]


def test_defaults_are_filled_in():
    [event] = check_batch([{"type": "click", "x": 1, "y": 2}], **SIZE)
    assert event == {"type": "click", "x": 1, "y": 2, "button": "left", "count": 1}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Move(x=100, y=0).model_dump(), "x = 100 lies outside the screen, which is 100 px wide"),
        (Move(x=0, y=80).model_dump(), "80 px high"),
        ({"type": "move", "x": 1.5, "y": 0}, "whole number of pixels"),
        ({"type": "move", "x": True, "y": 0}, "whole number of pixels"),
        ({"type": "move", "x": 1}, "y must be"),
        ({"type": "click", "x": 1, "y": 1, "count": 4}, "count must be"),
        ({"type": "click", "x": 1, "y": 1, "button": "fourth"}, "no button"),
        ({"type": "click", "x": 1, "y": 1, "button": ["left"]}, "no button"),
        (KeyDown(key="no-such-key").model_dump(), "no key name"),
        (Chord(keys=("ctrl", "nope")).model_dump(), "'nope' is no key name"),
        ({"type": "chord", "keys": []}, "1 to 10 key names"),
        (Text(text="a\x00b").model_dump(), r"'\x00', which no key types"),
        ({"type": "text", "text": "\ud800"}, "which no key types"),
        ({"type": "text", "text": "x" * (MAX_TEXT + 1)}, "clipboard"),
        ({"type": "fly"}, "unknown type 'fly'"),
        ({"type": ["move"]}, "unknown type"),
        ("move", "not an object"),
    ],
)
def test_a_bad_event_is_refused_with_its_number_and_the_reason(event, reason):
    with pytest.raises(BadBatch) as refusal:
        check_batch([{"type": "move", "x": 0, "y": 0}, event], **SIZE)
    assert str(refusal.value).startswith("event 1")
    assert reason in str(refusal.value)


@pytest.mark.parametrize("batch", [None, {}, "x", [{"type": "move", "x": 0, "y": 0}] * 1001])
def test_what_is_no_list_or_too_long_is_refused(batch):
    with pytest.raises(BadBatch):
        check_batch(batch, **SIZE)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_nonsense_is_never_more_than_a_refusal(nonsense):
    with pytest.raises(BadBatch):
        check_batch([nonsense], **SIZE)


@given(st.characters(exclude_categories=("Cs", "Cc")))
def test_every_printable_character_has_a_key_symbol(character):
    keysym = keysym_of_character(character)
    assert keysym == (ord(character) if ord(character) <= 0xFF else 0x01000000 + ord(character))


def test_key_names_are_those_of_pyautogui_in_any_case():
    assert keysym_of_key("Enter") == keysym_of_key("return") == 0xFF0D
    assert keysym_of_key("CTRL") == keysym_of_key("control") == 0xFFE3
    assert keysym_of_key("f12") == 0xFFC9
    assert keysym_of_key("é") == 0xE9
    assert keysym_of_key("") is None
    assert keysym_of_key("f99") is None
