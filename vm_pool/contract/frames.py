"""Promises about frames and looks."""

import asyncio
import time

from vm_pool.contract.check import check, expect
from vm_pool.contract.witness import editor
from vm_pool.events import Move
from vm_pool.machine import Machine

_MANY = 8


@check("frames")
async def a_frame_has_the_size_of_the_screen(machine: Machine) -> None:
    frame = await machine.screenshot()
    expected = (machine.info.height, machine.info.width, 3)
    expect(frame.pixels.shape == expected, f"a frame is {expected}, not {frame.pixels.shape}")
    expect(bool(frame.pixels.any()), "a ready screen is not black")


@check("frames")
async def a_frame_says_when_it_was_taken(machine: Machine) -> None:
    before = time.time()
    frame = await machine.screenshot()
    expect(before <= frame.taken_at <= time.time(), "a frame's time lies between request and answer")


@check("frames")
async def frames_of_a_still_screen_are_equal(machine: Machine) -> None:
    await machine.perform([Move(x=3, y=3)])
    expect(bool(await machine.settle(timeout_ms=10_000)), "an idle desktop settles")
    first, second = await machine.screenshot(), await machine.screenshot()
    expect(first.sha256 == second.sha256, "two frames of a screen on which nothing happens are equal")


@check("frames")
async def many_frames_can_be_taken_at_once(machine: Machine) -> None:
    frames = await asyncio.gather(*(machine.screenshot() for _ in range(_MANY)))
    shapes = {frame.pixels.shape for frame in frames}
    expect(shapes == {(machine.info.height, machine.info.width, 3)}, f"all frames are whole: {shapes}")


@check("frames")
async def what_a_program_draws_is_seen_in_the_next_frame(machine: Machine) -> None:
    await machine.settle(timeout_ms=10_000)
    before = await machine.screenshot()
    async with editor(machine):
        after = await machine.screenshot()
    share = float((before.pixels != after.pixels).any(axis=2).mean())
    expect(share > 0.05, f"a window of half the screen changed {share:.1%} of the frame's pixels")


@check("looks")
async def a_look_gives_what_was_asked_for(machine: Machine) -> None:
    nothing = await machine.look(frozenset())
    expect((nothing.frame, nothing.tree, nothing.windows, nothing.files) == (None,) * 4, "and nothing else")
    seen = await machine.look(frozenset({"frame", "tree", "windows"}))
    expect(seen.frame is not None and seen.windows is not None, "a frame and windows")
    if "tree" in machine.info.capabilities:
        expect(seen.tree is not None, "a tree")
    expect(await machine.windows() == seen.windows, "windows are the same either way")


@check("looks")
async def a_look_says_where_the_pointer_is(machine: Machine) -> None:
    await machine.perform([Move(x=31, y=29)])
    expect((await machine.look(frozenset())).pointer == (31, 29), "a look says where the pointer is")


@check("settle")
async def a_quiet_screen_settles(machine: Machine) -> None:
    settled = await machine.settle(quiet_ms=50, timeout_ms=10_000)
    expect(bool(settled) and settled.seconds < 10, f"an idle desktop settles: {settled.reason}")


@check("settle")
async def a_screen_that_moves_is_not_settled_and_the_reason_is_told(machine: Machine) -> None:
    async with editor(machine, moving=True):
        settled = await machine.settle(quiet_ms=500, timeout_ms=1500)
    expect(not settled, "a window that changes its colour ten times a second is not quiet")
    expect(bool(settled.reason), "and the reason says what moved")


@check("settle")
async def waiting_for_quiet_longer_than_the_time_allowed_ends_in_time(machine: Machine) -> None:
    settled = await machine.settle(quiet_ms=5000, timeout_ms=200)
    faked = settled.quiet and settled.seconds == 0.0  # time does not pass for a machine in memory
    expect(faked or not settled, "5 s of quiet cannot be seen within 0.2 s")
