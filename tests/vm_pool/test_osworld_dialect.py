"""What is said to, and understood of, guests that speak OSWorld's routes only."""

import ast
import asyncio
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from werkzeug import Request, Response

from vm_pool.errors import BootTimeout, GuestError, GuestFileNotFound, MachineLost
from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, Move, Scroll, Text
from vm_pool.guest.accessibility_xml import tree_xml
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.osworld_code import code_of
from vm_pool.osworld_tree import parse_tree
from vm_pool.providers.fake import fake_info
from vm_pool.types import Frame, Node

EVENTS = st.one_of(
    st.builds(Move, x=st.integers(0, 9), y=st.integers(0, 9)),
    st.builds(Click, x=st.integers(0, 9), y=st.integers(0, 9)),
    st.builds(Drag, x=st.just(1), y=st.just(1), to_x=st.just(5), to_y=st.just(5)),
    st.builds(Scroll, x=st.just(1), y=st.just(1), dx=st.integers(-3, 3), dy=st.integers(-3, 3)),
    st.builds(Text, text=st.text()),
    st.builds(KeyDown, key=st.text(min_size=1)),
    st.builds(Chord, keys=st.tuples(st.text(min_size=1), st.text(min_size=1))),
)
CALLS = {"moveTo", "click", "mouseDown", "mouseUp", "scroll", "hscroll", "keyDown", "keyUp", "hotkey"}


@given(st.lists(EVENTS, max_size=5))
def test_whatever_the_events_hold_the_code_is_calls_with_literals(events):
    nothing = len(ast.parse(code_of([])).body)
    for statement in ast.parse(code_of(events)).body[nothing - 1 : -1]:
        assert isinstance(statement, ast.Expr)
        assert isinstance(statement.value, ast.Call)
        called = statement.value.func
        assert called.attr in CALLS if isinstance(called, ast.Attribute) else ast.unparse(called) == "type_text"
        for argument in statement.value.args:
            ast.literal_eval(argument.value if isinstance(argument, ast.Starred) else argument)


def test_key_names_are_translated():
    assert "hotkey(*['ctrl', 'pageup', 'A'])" in code_of([Chord(keys=("Control", "page_up", "A"))])


TREE = {
    "id": "desktop",
    "role": "desktop-frame",
    "children": [
        {
            "id": ":1.2/7",
            "role": "push-button",
            "name": "A <b> \x07& c",
            "states": ["enabled", "showing"],
            "box": {"x": -3, "y": 4, "width": 5, "height": 6},
            "text": "é 한",
            "value": 2.5,
            "actions": ["click"],
            "attributes": {"xml-roles": "button", "0 odd": "x"},
        }
    ],
}


def test_a_tree_survives_osworlds_xml():
    [node] = parse_tree(tree_xml(TREE)).root.children
    given = Node.model_validate(TREE["children"][0])
    kept = ("role", "states", "box", "text", "value", "actions")
    assert {name: getattr(node, name) for name in kept} == {name: getattr(given, name) for name in kept}
    assert node.name == "A <b> & c"
    assert node.attributes["xml-roles"] == "button"


@pytest.mark.parametrize("xml", ["", "<a>", "<a/><b/>", "not xml"])
def test_what_is_no_xml_is_an_error(xml):
    with pytest.raises(ValueError, match="no XML"):
        parse_tree(xml)


def test_a_tree_without_end_is_cut():
    tree = parse_tree("<a>" * 500 + "</a>" * 500)
    assert tree.truncated


class Guest:
    """An OSWorld server that answers from a table and writes down what it was asked."""

    def __init__(self, httpserver):
        self.asked: list[tuple[str, str, bytes]] = []
        self.answers: dict[str, Response | list[Response]] = {
            "/screenshot": Response(Frame(np.zeros((200, 320, 3), np.uint8), time.time()).png(), 200),
            "/cursor_position": Response("[3, 4]", 200),
        }
        httpserver.expect_request("/", method="GET")
        httpserver.expect_request(__import__("re").compile("/.*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.asked.append((request.method, request.path, request.get_data()))
        reply = self.answers.get(request.path, Response("Not Found", 404))
        return reply.pop(0) if isinstance(reply, list) else reply

    def executes(self, **fields: object) -> None:
        body = {"status": "success", "output": "", "error": "", "returncode": 0, **fields}
        self.answers["/execute"] = Response(json.dumps(body), 200)


@pytest.fixture
def guest(httpserver) -> Guest:
    return Guest(httpserver)


@pytest.fixture
async def machine(guest, httpserver):
    machine = OSWorldMachine(fake_info("osworld-0"), url=httpserver.url_for("").rstrip("/"))
    yield machine
    await machine.aclose()


async def test_a_batch_is_one_program_and_is_never_sent_twice(guest, machine):
    guest.executes(output="pointer 9 8\n")
    events: list[InputEvent] = [Click(x=9, y=8), Text(text="hi")]
    receipt = await machine.perform(events, request_id="r")
    again = await machine.perform(events, request_id="r")
    assert (receipt.executed, receipt.pointer, again.repeated) == (2, (9, 8), True)
    [(_, _, body)] = [asked for asked in guest.asked if asked[1] == "/execute"]
    assert json.loads(body)["command"] == ["python3", "-c", code_of(events)]


async def test_a_command_that_fails_inside_pyautogui_is_an_error(guest, machine):
    guest.executes(returncode=1, error="KeyError: 'DISPLAY'")
    with pytest.raises(GuestError, match="DISPLAY"):
        await machine.perform([Move(x=1, y=1)])


async def test_what_the_route_lacks_is_put_in_front_of_the_command(guest, machine):
    guest.executes(output="ok")
    await machine.run(["cat"], stdin=b"x", cwd="/tmp", env={"A": "b c"}, timeout_s=7)
    command = json.loads(guest.asked[-1][2])["command"]
    assert command[-9:] == ["eA==", "timeout", "--signal=KILL", "7", "env", "-C", "/tmp", "A=b c", "cat"]


async def test_a_launch_is_over_before_the_program_is(guest, machine, tmp_path):
    """OSWorld's server answers when nobody holds the output of a command any more."""
    guest.executes(output="77\n")
    assert await machine.launch(["sleep", "60"], cwd=str(tmp_path)) == 77
    command = json.loads(guest.asked[-1][2])["command"]
    started = int((await asyncio.to_thread(as_upstream_runs, command)).strip())
    os.kill(started, signal.SIGKILL)


def as_upstream_runs(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


async def test_missing_files_and_garbage_are_told_apart(guest, machine):
    guest.answers["/file"] = Response('{"error": "File not found"}', 404)
    with pytest.raises(GuestFileNotFound):
        await machine.read("/x")
    guest.answers["/screenshot"] = Response("<html>", 200)
    with pytest.raises(GuestError, match="no picture"):
        await machine.screenshot()
    guest.answers["/accessibility"] = Response('{"AT": "<a"}', 200)
    with pytest.raises(GuestError, match="no XML"):
        await machine.tree()
    guest.answers["/cursor_position"] = Response("nowhere", 200)
    with pytest.raises(GuestError, match="no pointer position"):
        await machine.look(frozenset())


async def test_pictures_are_asked_for_one_at_a_time(tmp_path):
    """OSWorld's server writes each to the same file before it sends it."""
    picture = Frame(np.zeros((4, 8, 3), np.uint8), 0.0).png()
    inside = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.02)
            inside -= 1
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(picture)}\r\n\r\n".encode() + picture)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    machine = OSWorldMachine(fake_info("guest-0", width=8, height=4), socket=tmp_path / "s")
    frames = await asyncio.gather(*(machine.screenshot() for _ in range(5)))
    await machine.aclose()
    server.close()
    assert ({frame.width for frame in frames}, most) == ({8}, 1)


async def test_a_tree_that_changed_while_it_was_walked_is_asked_for_again(guest, machine):
    failures = [Response("Internal Server Error", 500) for _ in range(5)]
    guest.answers["/accessibility"] = [*failures[:2], Response('{"AT": "<desktop-frame/>"}', 200), *failures[2:]]
    assert (await machine.tree()).root.role == "desktop-frame"
    with pytest.raises(GuestError, match="Internal Server Error"):
        await machine.tree()


async def test_windows_come_from_wmctrl(guest, machine):
    guest.executes(output="0x01 0 42 10 20 300 200 mousepad.Mousepad host  A title\nnonsense\n")
    [window] = await machine.windows()
    assert (window.app, window.pid, window.title, window.box.width) == ("Mousepad", 42, "A title", 300)


async def test_a_server_that_is_not_there_is_a_boot_timeout():
    machine = OSWorldMachine(fake_info(), url="http://127.0.0.1:1")
    with pytest.raises(BootTimeout, match="waited for"):
        await machine.ready(0.2)
    with pytest.raises(MachineLost):
        await machine.screenshot()
    await machine.aclose()


def test_all_events_have_a_form_in_code():
    adapter = TypeAdapter(InputEvent)
    for fields in ({"type": "press"}, {"type": "release"}, {"type": "key_up", "key": "a"}):
        assert "pyautogui." in code_of([adapter.validate_python(fields)]).splitlines()[-2]
