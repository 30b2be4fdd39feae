"""Promises about pointer and keyboard, told by receipts and by an X client that watches the server's own events."""

import uuid

from vm_pool.contract.check import ContractBroken, check, expect, expect_error
from vm_pool.contract.witness import Seen, Watch, watching
from vm_pool.errors import GuestError
from vm_pool.events import Button, Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Move, Press, Release, Scroll, Text
from vm_pool.machine import Machine

_BUTTONS: dict[Button, int] = {"left": 1, "middle": 2, "right": 3}


@check("input")
async def the_pointer_goes_where_it_is_sent(machine: Machine) -> None:
    for point in ((17, 23), (machine.info.width - 1, machine.info.height - 1), (0, 0)):
        receipt = await machine.perform([Move(x=point[0], y=point[1])])
        expect(receipt.pointer == point, f"the pointer is at {receipt.pointer}, not {point}")


@check("input")
async def every_kind_of_event_is_executed(machine: Machine) -> None:
    x, y = machine.info.width // 2, machine.info.height // 2
    events: list[InputEvent] = [
        Move(x=x, y=y),
        Click(x=x, y=y, button="middle", count=2),
        Press(),
        Release(),
        Drag(x=x, y=y, to_x=x + 5, to_y=y + 5, milliseconds=30),
        Scroll(x=x, y=y, dx=-1, dy=2),
        KeyDown(key="shift"),
        KeyUp(key="shift"),
        Chord(keys=("ctrl", "a")),
        Text(text="aZ 9é한"),
        Chord(keys=("esc",)),
    ]
    receipt = await machine.perform(events)
    expect(receipt.executed == len(events), f"{len(events)} events were sent, {receipt.executed} executed")
    expect(not receipt.repeated, "a fresh batch is no repeat")


@check("input")
async def an_empty_batch_does_nothing(machine: Machine) -> None:
    await machine.perform([Move(x=8, y=9)])
    receipt = await machine.perform([])
    expect(receipt.executed == 0, "a batch without events executes none")
    expect((await machine.look(frozenset())).pointer == (8, 9), "and moves nothing")


@check("input")
async def a_click_is_a_press_and_a_release_at_its_pixel(machine: Machine) -> None:
    async with watching(machine) as watch:
        for button, number in _BUTTONS.items():
            await machine.perform([Click(x=40 + number, y=50, button=button)])
            await _become(watch, [("press", number, 40 + number, 50), ("release", number, 40 + number, 50)])


@check("input")
async def a_double_click_is_two_quick_clicks(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([Click(x=60, y=61, count=2)])
        await _become(watch, [(what, 1, 60, 61) for what in ("press", "release") * 2])


@check("input")
async def a_drag_moves_while_its_button_is_down(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([Drag(x=100, y=100, to_x=160, to_y=130, milliseconds=100)])
        seen = await watch.until(lambda events: any(event.what == "release" for event in events))
    kinds = [event.what for event in seen]
    down = kinds.index("press")
    expect((seen[down].x, seen[down].y) == (100, 100), "the button goes down where the drag begins")
    expect((seen[-1].what, seen[-1].x, seen[-1].y) == ("release", 160, 130), "and up where it ends")
    expect(kinds[down + 1 : -1].count("motion") >= 2, "with motion in between")


@check("input")
async def the_wheel_turns_by_as_many_notches_as_asked_and_the_right_way(machine: Machine) -> None:
    async with watching(machine) as watch:
        for dx, dy, button in ((0, 3, 4), (0, -2, 5), (-1, 0, 6), (2, 0, 7)):
            await machine.perform([Scroll(x=70, y=71, dx=dx, dy=dy)])
            await _become(watch, [("press", button, 70, 71), ("release", button, 70, 71)] * abs(dx + dy))


@check("input")
async def a_chord_presses_in_order_and_releases_in_reverse(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([Chord(keys=("ctrl", "shift", "x"))])
        seen = await watch.until(lambda events: len(_keys(events)) >= 6)
    expected = [("key_down", key) for key in ("Control_L", "Shift_L", "x")]
    expected += [("key_up", key) for key in ("x", "Shift_L", "Control_L")]
    expect(_keys(seen) == expected, f"the keys were {_keys(seen)}")


@check("input")
async def a_key_stays_down_from_one_batch_to_the_next(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([KeyDown(key="shift")])
        await machine.perform([Chord(keys=("f7",))])
        await machine.perform([KeyUp(key="shift")])
        seen = await watch.until(lambda events: len(_keys(events)) >= 4)
    expected = [("key_down", "Shift_L"), ("key_down", "F7"), ("key_up", "F7"), ("key_up", "Shift_L")]
    expect(_keys(seen) == expected, f"the keys were {_keys(seen)}")


@check("input")
async def a_button_stays_down_from_one_batch_to_the_next(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([Move(x=20, y=20), Press(button="right")])
        await machine.perform([Move(x=25, y=26)])
        await machine.perform([Release(button="right")])
        await _become(watch, [("press", 3, 20, 20), ("release", 3, 25, 26)])


@check("input")
async def the_keys_that_forms_and_menus_need_are_known(machine: Machine) -> None:
    names = {
        "enter": "Return",
        "tab": "Tab",
        "esc": "Escape",
        "backspace": "BackSpace",
        "delete": "Delete",
        "home": "Home",
        "end": "End",
        "pageup": "Prior",
        "pagedown": "Next",
        "left": "Left",
        "right": "Right",
        "up": "Up",
        "down": "Down",
        "f1": "F1",
        "f12": "F12",
        "space": "space",
    }
    async with watching(machine) as watch:
        await machine.perform([Chord(keys=(name,)) for name in names])
        seen = await watch.until(lambda events: len(_keys(events)) >= 2 * len(names))
    pressed = [key for what, key in _keys(seen) if what == "key_down"]
    expect(pressed == list(names.values()), f"{list(names)} were {pressed}")


@check("input")
async def the_events_of_a_batch_come_in_its_order(machine: Machine) -> None:
    async with watching(machine) as watch:
        await machine.perform([Click(x=30, y=30), Chord(keys=("f8",)), Click(x=90, y=30, button="middle")])
        seen = await watch.until(lambda events: sum(event.what == "release" for event in events) >= 2)
    order = [(event.what, event.detail) for event in seen if event.what in {"press", "key_down"}]
    expect(order == [("press", "1"), ("key_down", "F8"), ("press", "2")], f"the order was {order}")


@check("requests")
async def a_request_id_is_executed_once(machine: Machine) -> None:
    request_id = uuid.uuid4().hex
    first = await machine.perform([Move(x=5, y=6)], request_id=request_id)
    await machine.perform([Move(x=50, y=60)])
    again = await machine.perform([Move(x=5, y=6)], request_id=request_id)
    expect(again.repeated and not first.repeated, "the second receipt says that it is a repeat")
    expect((await machine.look(frozenset())).pointer == (50, 60), "a repeat moves nothing")


@check("requests")
async def a_repeated_batch_reaches_the_screen_once(machine: Machine) -> None:
    request_id = uuid.uuid4().hex
    async with watching(machine) as watch:
        for _ in range(3):
            await machine.perform([Click(x=44, y=45)], request_id=request_id)
        await machine.perform([Click(x=90, y=91, button="middle")])
        await _become(
            watch, [("press", 1, 44, 45), ("release", 1, 44, 45), ("press", 2, 90, 91), ("release", 2, 90, 91)]
        )


@check("misuse")
async def a_bad_batch_is_refused_whole(machine: Machine) -> None:
    await machine.perform([Move(x=40, y=41)])
    bad: list[InputEvent] = [
        Chord(keys=("ctrl", "no-such-key")),
        KeyDown(key="no-such-key"),
        Move(x=machine.info.width, y=0),
        Click(x=0, y=machine.info.height),
        Text(text="\x00"),
    ]
    for event in bad:
        batch = [Move(x=1, y=1), event]
        await expect_error(GuestError, machine.perform(batch), f"{event.type} that cannot be done is refused")
    expect((await machine.look(frozenset())).pointer == (40, 41), "nothing of a refused batch is sent")


@check("misuse")
async def nothing_of_a_refused_batch_reaches_the_screen(machine: Machine) -> None:
    async with watching(machine) as watch:
        batch: list[InputEvent] = [Click(x=12, y=12), Text(text="never"), Chord(keys=("no-such-key",))]
        await expect_error(GuestError, machine.perform(batch), "an unknown key is refused")
        await machine.perform([Click(x=33, y=34, button="middle")])
        seen = await watch.until(lambda events: len(_clicks(events)) >= 2)
    expect([event.detail for event in _clicks(seen)] == ["2", "2"], f"only the middle button is seen, not {seen}")
    expect(not _keys(seen), "no key of a refused batch is pressed")


@check("misuse")
async def text_that_is_no_text_is_refused(machine: Machine) -> None:
    await expect_error(GuestError, machine.perform([Text(text="half \ud83d")]), "half a character is refused")


async def _become(watch: Watch, expected: list[tuple[str, int, int, int]]) -> None:
    """Buttons as they were seen since the last time, motion aside: what, number, x, y."""
    wanted = [Seen(what, str(number), x, y) for what, number, x, y in expected]
    seen = await watch.until(lambda events: len(_clicks(events)) >= len(wanted), forget=True)
    if _clicks(seen) != wanted:
        raise ContractBroken(f"the X server saw {_clicks(seen)}, not {wanted}")


def _clicks(events: list[Seen]) -> list[Seen]:
    return [event for event in events if event.what in {"press", "release"}]


def _keys(events: list[Seen]) -> list[tuple[str, str]]:
    return [(event.what, event.detail) for event in events if event.what.startswith("key")]
