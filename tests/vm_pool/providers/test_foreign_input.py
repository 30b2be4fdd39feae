"""Input from outside the guest: what tablet and keyboard can say goes by them where the desktop follows, and once."""

import json
from collections.abc import Sequence

import pytest
from werkzeug import Request, Response

from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Move, Press, Release, Scroll, Text
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.providers.foreign_input import Sent, Words, sent_for
from vm_pool.providers.foreign_machine import ForeignMachine, from_outside
from vm_pool.types import MachineInfo

WIDTH, HEIGHT = 1281, 721
INFO = MachineInfo(
    machine_id="m-1", provider="x", image="x", platform="linux", width=WIDTH, height=HEIGHT, user="u", home="/home/u"
)


def said(events: Sequence[InputEvent]) -> str:
    """What is sent, shortly: places in pixels, buttons and keys with + when they go down."""
    found = sent_for(events, WIDTH, HEIGHT)
    assert found is not None
    return " ".join(part for one in found for part in _parts(one))


def _parts(sent: Sent) -> list[str]:
    places = [word["data"]["value"] for word in sent.words if word["type"] == "abs"]
    if places:
        return [f"{round(places[0] * (WIDTH - 1) / 0x7FFF)},{round(places[1] * (HEIGHT - 1) / 0x7FFF)}"]
    pressed = [(word["data"].get("button") or word["data"]["key"]["data"], word["data"]["down"]) for word in sent.words]
    return [f"{'+' if down else '-'}{name}" for name, down in pressed]


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (Move(x=0, y=0), "0,0"),
        (Move(x=1280, y=720), "1280,720"),
        (Click(x=7, y=9, count=2), "7,9 +left -left +left -left"),
        (Click(x=1, y=2, button="right"), "1,2 +right -right"),
        (Scroll(x=3, y=4, dy=2), "3,4 +wheel-up -wheel-up +wheel-up -wheel-up"),
        (Scroll(x=3, y=4, dy=-1, dx=1), "3,4 +wheel-down -wheel-down +wheel-right -wheel-right"),
        (Chord(keys=("enter",)), "+ret -ret"),
        (Chord(keys=("ctrl", "Shift", "esc")), "+ctrl +shift +esc -esc -shift -ctrl"),
    ],
)
def test_pointer_and_keys_without_letters_are_what_devices_say(event: InputEvent, sent: str) -> None:
    assert said([event]) == sent


def test_a_drag_travels_with_its_button_down_in_the_time_it_was_given() -> None:
    found = sent_for([Drag(x=0, y=0, to_x=80, to_y=40, milliseconds=400)], WIDTH, HEIGHT)
    assert found is not None
    assert said([Drag(x=0, y=0, to_x=16, to_y=8)]) == "0,0 +left 2,1 4,2 6,3 8,4 10,5 12,6 14,7 16,8 -left"
    assert sum(one.after_ms for one in found) == 400


@pytest.mark.parametrize(
    "event",
    [Text(text="a"), Chord(keys=("ctrl", "c")), KeyDown(key="shift"), KeyUp(key="shift"), Press(), Release()],
)
def test_letters_and_what_is_held_across_calls_are_left_to_the_guest_with_all_of_their_batch(event: InputEvent) -> None:
    assert sent_for([Move(x=1, y=1), event], WIDTH, HEIGHT) is None


class Desk:
    """A guest server whose pointer is where the devices put it, if its desktop reads them at all."""

    def __init__(self, httpserver, *, reads_devices: bool = True) -> None:
        self.url = httpserver.url_for("").rstrip("/")
        self.pointer = [0, 0]
        self.by_devices: list[str] = []
        self.by_server: list[str] = []
        self._reads = reads_devices
        httpserver.expect_request("/cursor_position").respond_with_handler(self._say_where)
        httpserver.expect_request("/execute").respond_with_handler(self._execute)

    def send(self, words: Words) -> None:
        self.by_devices += [json.dumps(words)]
        if self._reads and words[0]["type"] == "abs":
            sizes = (WIDTH - 1, HEIGHT - 1)
            self.pointer = [round(w["data"]["value"] * size / 0x7FFF) for w, size in zip(words, sizes, strict=True)]

    def _say_where(self, _: Request) -> Response:
        return Response(json.dumps(self.pointer), content_type="application/json")

    def _execute(self, request: Request) -> Response:
        self.by_server.append(request.json["command"][-1])
        done = {"status": "success", "output": "pointer 5 6", "error": "", "returncode": 0}
        return Response(json.dumps(done), content_type="application/json")

    async def machine(self) -> OSWorldMachine:
        inside = OSWorldMachine(INFO, url=self.url)
        found = await from_outside(inside, url=self.url, card=None, send=self.send)
        assert isinstance(found, OSWorldMachine)
        return found


async def test_a_desktop_that_reads_its_devices_is_used_by_them_and_each_request_once(httpserver) -> None:
    desk = Desk(httpserver)
    machine = await desk.machine()
    assert desk.pointer == [0, 0]  # where it was before it was tried out
    desk.by_devices.clear()
    done = await machine.perform([Click(x=700, y=300)], request_id="r1")
    assert (done.executed, done.pointer, done.repeated) == (1, (700, 300), False)
    assert len(desk.by_devices) == 3
    assert (await machine.perform([Click(x=700, y=300)], request_id="r1")).repeated
    assert (await machine.perform([Chord(keys=("enter",))])).pointer == (700, 300)
    assert (len(desk.by_devices), desk.by_server) == (4, [])
    await machine.aclose()


async def test_text_is_typed_by_the_guest_server_which_knows_the_layout(httpserver) -> None:
    desk = Desk(httpserver)
    machine = await desk.machine()
    desk.by_devices.clear()
    assert (await machine.perform([Move(x=1, y=1), Text(text="z")])).pointer == (5, 6)
    assert "type_text('z')" in desk.by_server[0]
    assert "moveTo(1, 1)" in desk.by_server[0]
    assert desk.by_devices == []
    await machine.aclose()


async def test_a_desktop_that_does_not_follow_its_devices_is_used_by_its_server(httpserver) -> None:
    desk = Desk(httpserver, reads_devices=False)
    machine = await desk.machine()
    desk.by_devices.clear()
    await machine.perform([Click(x=7, y=9)])
    assert len(desk.by_server) == 1
    assert desk.by_devices == []
    await machine.aclose()


async def test_a_desktop_whose_server_does_not_say_where_its_pointer_is_is_used_by_it(httpserver) -> None:
    url = httpserver.url_for("").rstrip("/")
    httpserver.expect_request("/cursor_position").respond_with_data("no such route", status=404)
    found = await from_outside(OSWorldMachine(INFO, url=url), url=url, send=lambda _: None)
    assert isinstance(found, ForeignMachine)
    assert not found.uses_devices
    await found.aclose()


async def test_nothing_is_pressed_where_the_pointer_did_not_get_to(httpserver) -> None:
    desk = Desk(httpserver, reads_devices=False)
    machine = ForeignMachine(INFO, url=desk.url, send=desk.send)
    with pytest.raises(GuestTimeout, match=r"the pointer did not get to \(700, 300\)"):
        await machine.perform([Click(x=700, y=300)])
    assert len(desk.by_devices) == 1
    await machine.aclose()


async def test_what_lies_outside_the_screen_is_refused_before_anything_is_sent(httpserver) -> None:
    desk = Desk(httpserver)
    machine = ForeignMachine(INFO, url=desk.url, send=desk.send)
    with pytest.raises(GuestError, match="outside"):
        await machine.perform([Move(x=5, y=5), Move(x=WIDTH, y=0)])
    assert desk.by_devices == []
    await machine.aclose()
