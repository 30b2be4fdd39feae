"""Waiting for a quiet screen by looking at frames."""

import asyncio
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.settle import Stillness, changed_box, joined, settle_by_frames
from vm_pool.types import Box, Frame


def frame(*boxes: Box, width: int = 120, height: int = 100) -> Frame:
    pixels = np.zeros((height, width, 3), np.uint8)
    for box in boxes:
        pixels[box.y : box.y + box.height, box.x : box.x + box.width] = 200
    return Frame(pixels, time.time())


CARET = Box(x=10, y=10, width=2, height=18)
SPINNER = Box(x=40, y=30, width=32, height=32)


@given(st.integers(0, 119), st.integers(0, 99))
def test_the_changed_box_is_the_smallest_one(x, y):
    box = Box(x=x, y=y, width=min(5, 120 - x), height=min(7, 100 - y))
    assert changed_box(frame(), frame(box)) == box


def test_another_screen_size_is_a_change_of_everything():
    assert changed_box(frame(), frame(width=60)) == Box(x=0, y=0, width=60, height=100)


def test_joined_boxes_hold_both():
    assert joined(CARET, SPINNER) == Box(x=10, y=10, width=62, height=52)


def test_a_caret_that_blinks_is_still_and_two_carets_are_not():
    stillness = Stillness(frame(), 0.0)
    for number in range(1, 6):
        stillness.see(frame(CARET) if number % 2 else frame(), number)
    assert (stillness.since_s, stillness.last) == (0.0, None)
    stillness.see(frame(Box(x=90, y=10, width=2, height=18)), 9.0)
    assert stillness.since_s == 9.0


async def test_a_quiet_screen_settles_after_the_quiet_that_was_asked_for():
    async def take() -> Frame:
        return frame()

    settled = await settle_by_frames(take, quiet_ms=100, timeout_ms=5000)
    assert settled
    assert 0.1 <= settled.seconds < 2


async def test_a_spinner_never_settles_and_is_named():
    turns = iter(range(1000))

    async def take() -> Frame:
        await asyncio.sleep(0)
        return frame(SPINNER) if next(turns) % 2 else frame()

    settled = await settle_by_frames(take, quiet_ms=200, timeout_ms=400)
    assert not settled
    assert settled.reason == "still moving: 32x32 px at (40, 30)"
