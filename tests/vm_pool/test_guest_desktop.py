"""The guest server on real desktops: what is typed arrives, what is drawn is seen, what hangs does not hang us."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import pytest

from vm_pool.errors import GuestError, MachineLost
from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Move, Text
from vm_pool.guest_client import GuestMachine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.types import Node, Tree, Window

pytestmark = pytest.mark.desktop

UNICODE = "é 한글 日本 😀 €ß aZ!"
MANY_NEW_CHARACTERS = (
    "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초코토포호 ñçøåæÞ©®±¼" * 2
)
NOTE = "/home/user/Documents/note.txt"
SPINNER = """
import tkinter
root = tkinter.Tk(className="spinner"); canvas = tkinter.Canvas(root, width=200, height=200); canvas.pack()
box = canvas.create_rectangle(0, 0, 80, 80, fill="red")
def turn(step=0):
    canvas.move(box, 5 if step % 40 < 20 else -5, 0); root.after(30, turn, step + 1)
turn(); root.mainloop()
"""
LISTS_WINDOWS = """
from Xlib.display import Display
display = Display()
print(display.screen().root.get_full_property(display.intern_atom("_NET_CLIENT_LIST"), 0) is not None)
"""


@pytest.fixture
async def machine() -> AsyncGenerator[GuestMachine]:
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="slim", width=1280, height=800, labels={"suite": "guest"}))
        assert isinstance(machine, GuestMachine)
        yield machine
        await provider.stop(machine)


async def test_a_desktop_is_ready_when_its_window_manager_has_started_to_the_end(machine):
    listed = await machine.run(["python3", "-c", LISTS_WINDOWS])
    assert listed.stdout == "True\n", listed.stderr


async def window_of(machine: GuestMachine, app: str) -> Window:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for window in await machine.windows():
            if app in window.app.lower():
                return window
        await asyncio.sleep(0.05)
    raise AssertionError(f"no window of {app} within 30 s")


async def tree_with(machine: GuestMachine, wanted: Callable[[Node], bool]) -> Tree:
    deadline = time.monotonic() + 30
    tree = await machine.tree()
    while not any(map(wanted, tree.root.walk())):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
        tree = await machine.tree()
    else:
        return tree
    raise AssertionError(f"not in the tree within 30 s: {[node.text for node in tree.root.walk() if node.text]}")


async def open_editor(machine: GuestMachine, text: str = "") -> Node:
    """Mousepad with a file; returns its text element."""
    await machine.write(NOTE, text.encode())
    await machine.launch(["mousepad", NOTE])
    await window_of(machine, "mousepad")
    tree = await tree_with(
        machine, lambda node: node.role == "text" and node.box is not None and "editable" in node.states
    )
    await machine.settle()
    return next(node for node in tree.root.walk() if node.role == "text" and node.box is not None)


async def text_becomes(machine: GuestMachine, text: str) -> None:
    await tree_with(machine, lambda node: node.role == "text" and node.text == text)


async def test_any_unicode_is_typed_into_an_editor(machine):
    await open_editor(machine)
    await machine.perform([Text(text=UNICODE + "\n\t" + MANY_NEW_CHARACTERS)])
    await text_becomes(machine, UNICODE + "\n\t" + MANY_NEW_CHARACTERS)


async def test_any_unicode_is_typed_into_a_terminal(machine):
    await machine.launch(["lxterminal"])
    await window_of(machine, "lxterminal")
    await tree_with(machine, lambda node: node.role == "terminal" and "$" in (node.text or ""))
    await machine.perform(
        [Text(text=f"printf '%s' '{UNICODE}{MANY_NEW_CHARACTERS}' > ~/typed.txt; mv typed.txt done.txt\n")]
    )
    waited = await machine.run(["sh", "-c", "until test -e done.txt; do sleep 0.05; done"], timeout_s=30)
    assert not waited.timed_out
    assert (await machine.read("~/done.txt")).decode() == UNICODE + MANY_NEW_CHARACTERS


async def test_keys_are_held_from_one_batch_to_the_next(machine):
    await open_editor(machine)
    await machine.perform([KeyDown(key="shift")])
    await machine.perform([Chord(keys=("a",)), Text(text="b")])
    await machine.perform([KeyUp(key="shift")])
    await machine.perform([Chord(keys=("c",))])
    await text_becomes(machine, "ABc")


async def test_a_double_click_takes_a_word_a_triple_click_a_line_and_a_drag_what_it_crosses(machine):
    area = await open_editor(machine, "alpha beta\ngamma delta\n")
    assert area.box
    x, y = area.box.x + 12, area.box.y + 10
    await machine.perform([Click(x=x, y=y, count=2), Text(text="ALPHA")])
    await text_becomes(machine, "ALPHA beta\ngamma delta\n")
    await machine.perform([Click(x=x, y=y, count=3), Text(text="first")])
    await text_becomes(machine, "first\ngamma delta\n")
    await machine.perform([Drag(x=area.box.x + 1, y=y, to_x=area.box.x + 400, to_y=y), Text(text="all")])
    await text_becomes(machine, "all\ngamma delta\n")


async def test_a_drag_right_after_a_click_on_its_spot_is_no_double_click(machine):
    """As one, it would take whole words."""
    area = await open_editor(machine, "alpha beta\n")
    assert area.box
    x, y = area.box.x + 12, area.box.y + 10
    await machine.perform([Click(x=x, y=y), Drag(x=x, y=y, to_x=area.box.x + 400, to_y=y), Text(text="X")])
    await text_becomes(machine, "aX\n")


async def test_text_comes_out_as_it_is_written_while_caps_lock_is_on(machine):
    await open_editor(machine)
    await machine.perform([Chord(keys=("capslock",)), Text(text="Abc É é Ж ж 한 "), Chord(keys=("a",))])
    await text_becomes(machine, "Abc É é Ж ж 한 A")


async def test_a_caret_settles_and_a_spinner_does_not(machine):
    await open_editor(machine)
    assert await machine.settle(quiet_ms=1500, timeout_ms=10_000)
    await machine.launch(["python3", "-c", SPINNER])
    await window_of(machine, "spinner")
    settled = await machine.settle(quiet_ms=300, timeout_ms=1500)
    assert not settled
    assert settled.reason.startswith("still moving")


async def test_a_screen_is_not_quiet_before_the_program_has_dealt_with_its_input(machine):
    """An editor draws nothing while it takes a long text in: a picture taken then shows none of it."""
    await open_editor(machine)
    text = "The quick brown fox jumps over the lazy dog, again.\n" * 12
    await machine.perform([Text(text=text)])
    assert await machine.settle(timeout_ms=30_000)
    assert any(node.text == text for node in (await machine.tree()).root.walk())


async def test_a_window_that_closes_itself_holds_settling_up_no_longer_than_it_takes(machine):
    await open_editor(machine)
    await machine.perform([Chord(keys=("ctrl", "q"))])
    assert await machine.settle(timeout_ms=30_000)
    assert await machine.windows() == ()


async def test_a_program_that_hangs_is_no_quiet_screen(machine):
    await open_editor(machine)
    await machine.run(["pkill", "-STOP", "mousepad"])
    settled = await machine.settle(timeout_ms=300)
    assert (settled.quiet, settled.reason) == (False, "the focused program has not dealt with its input yet")
    await machine.run(["pkill", "-CONT", "mousepad"])


async def test_gtk4_boxes_are_where_the_buttons_are(machine):
    await machine.launch(["gnome-calculator"])
    await window_of(machine, "calculator")
    tree = await tree_with(machine, lambda node: node.name.startswith("7") and node.box is not None)
    seven = next(node.box for node in tree.root.walk() if node.name.startswith("7") and node.box is not None)
    await machine.settle()
    x, y = seven.center
    await machine.perform([Click(x=x, y=y), Text(text="*6\n")])
    await tree_with(machine, lambda node: node.text == "42")


async def test_an_application_that_hangs_holds_nobody_up(machine):
    await open_editor(machine)
    await machine.launch(["thunar"])
    await window_of(machine, "thunar")
    await tree_with(machine, lambda node: node.role == "application" and node.name.lower() == "thunar")
    await machine.run(["pkill", "-STOP", "mousepad"])
    tree = await machine.tree()
    assert tree.truncated
    assert any(node.name.lower() == "thunar" for node in tree.root.children)
    started = time.monotonic()
    assert (await machine.tree()).truncated
    assert time.monotonic() - started < 3
    await machine.run(["pkill", "-CONT", "mousepad"])
    await tree_with(machine, lambda node: node.role == "text" and "editable" in node.states)


async def test_the_clipboard_is_shared_with_programs(machine):
    await machine.set_clipboard(UNICODE)
    assert (await machine.run(["xclip", "-o", "-selection", "clipboard"])).stdout == UNICODE
    await machine.run(["sh", "-c", "printf 'von xclip é' | xclip -selection clipboard"])
    look = await machine.look(frozenset({"clipboard"}))
    assert look.clipboard == "von xclip é"


async def test_osworlds_routes_answer_failures_with_upstreams_codes(machine):
    locked = {"file_path": "/usr/x"}
    await machine.run(["mkdir", "-m", "000", "/home/user/closed"])
    requests = {
        "/execute": ({"json_body": {"command": "no-such-program"}}, 500),
        "/run_bash_script": ({"json_body": {"script": "true", "working_dir": "/nowhere"}}, 500),
        "/run_python": ({"json_body": {}}, 400),
        "/setup/launch": ({"json_body": {"command": "no-such-program"}}, 500),
        "/setup/upload": ({"form": locked, "files": {"file_data": ("x", b"x")}}, 500),
        "/setup/open_file": ({"json_body": {"path": "/nowhere"}}, 404),
        "/setup/activate_window": ({"json_body": {}}, 400),
        "/file": ({"form": {"file_path": "/home/user/closed/x"}}, 500),
        "/list_directory": ({"json_body": {"path": "/nowhere"}}, 400),
        "/end_recording": ({}, 400),
    }
    answers = {
        path: (await machine._wire.send("POST", path, **options)).status for path, (options, _) in requests.items()
    }
    assert answers == {path: status for path, (_, status) in requests.items()}
    missing = await machine._wire.send("POST", "/file", form={"file_path": "/nowhere"})
    assert (missing.status, missing.body) == (404, b'{"error":"File not found"}')


async def test_routes_need_the_token(machine):
    answer = await machine._wire.send("GET", "/v1/info")
    assert answer.status == 200
    assert machine._wire.socket
    stranger = OSWorldMachine(machine.info, socket=machine._wire.socket.path, token="wrong")
    for path in ("/v1/info", "/screenshot", "/no/such/route"):
        assert (await stranger._wire.send("GET", path)).status == 401
    await stranger.aclose()


async def test_frames_show_the_pointer_and_cost_no_request(machine):
    await machine.perform([Move(x=600, y=400)])
    before = await machine.screenshot()
    await machine.perform([Move(x=100, y=100)])
    after = await machine.screenshot()
    assert (before.pixels[395:425, 595:625] != after.pixels[395:425, 595:625]).any()
    assert machine._framebuffer is not None


@pytest.mark.parametrize("victim", ["Xvfb", "main.py"])
async def test_a_machine_that_lost_its_x_server_or_its_guest_server_is_lost(machine, victim):
    await machine.launch(["sh", "-c", f"sleep 0.1; pkill -9 -f {victim}"])
    with pytest.raises(MachineLost):
        await frames_for(machine, seconds=10)


async def frames_for(machine: GuestMachine, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await machine.screenshot()
        await asyncio.sleep(0.01)


async def test_nothing_of_a_refused_batch_is_typed(machine):
    await open_editor(machine)
    events: list[InputEvent] = [Text(text="never"), Chord(keys=("no-such-key",))]
    with pytest.raises(GuestError, match="no key name"):
        await machine.perform(events)
    await machine.perform([Text(text="only this")])
    await text_becomes(machine, "only this")
