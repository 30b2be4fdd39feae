"""Actions on real desktops, decided by a script."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rollout_stage import BLIND, act, says

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step, Task
from llm.scripted import ScriptedModel
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider

SETTINGS = AgentSettings(style="full", reflection="never", max_steps=40, open_timeout_s=60)


async def rollout(folder: Path, machine: Machine, *replies: Any) -> tuple[RolloutResult, list[Step]]:
    paths = RunPaths(folder / "run")
    result = await run_rollout(
        Task(id="t", instruction="Try them all"),
        machine,
        ScriptedModel([*replies, act("done")], abilities=BLIND),
        index=0,
        paths=paths,
        frames=FrameStore(paths.frames),
        settings=SETTINGS,
        on_step=lambda _step, _before, _after: None,
    )
    return result, read_lines(paths.rollout(0).trajectory, Step)


def told(steps: list[Step]) -> list[str]:
    """Every error of the steps, for the message of a failing test."""
    return [f"{s.index} {s.action}: {s.error.message}" for s in steps if s.error]


@pytest.mark.desktop
async def test_text_is_written_selected_and_copied_in_a_real_editor(tmp_path: Path):
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="slim"))
        result, steps = await rollout(
            tmp_path,
            machine,
            act("open", app_or_filename="text editor"),
            act("type", text="hello wörld 한글\n" + "\n".join(f"row {i}" for i in range(60))),
            act("hotkey", keys=["ctrl", "Home"]),
            act("highlight_text_span", starting_phrase="wörld", ending_phrase="한글"),
            act("hotkey", keys=["ctrl", "c"]),
            act("scroll", element_description="the text area", clicks=-10),
            act("highlight_text_span", starting_phrase="row 1", ending_phrase="row 2"),
            act("click", element_description="the File menu"),
            act("hotkey", keys=["Escape"]),
            act("hold_and_press", hold_keys=["shift"], press_keys=["right", "right"]),
            act("call_code_agent"),
            says("code", "```bash\nprintf 'from code' > Documents/made.txt; cat Documents/made.txt\n```"),
            says("code", "DONE"),
            says("code", "It made a file."),
            act("open", app_or_filename="calculator"),
            act("switch_applications", app_code="mousepad"),
            act("open", app_or_filename="made.txt"),
            act("click", element_description="the Print Everything button"),
            act("save_to_knowledge", text=["noted"]),
            act("wait", time=0.1),
        )
        await provider.stop(machine)
    by_name = {s.action.action: s for s in steps if s.action}
    assert result.status == "done", result.reason
    assert [s.error.kind for s in steps if s.error] == ["refused_by_guest", "not_found"], told(steps)
    assert "not wholly in view" in told(steps)[0]
    copied = steps[4].delta
    assert copied is not None
    assert copied.clipboard is not None
    assert copied.clipboard.after == "wörld 한글"
    assert by_name["call_code_agent"].code is not None
    assert [f.path for f in result.files if f.path.endswith(".txt")] == ["/home/user/Documents/made.txt"]
    assert {w.app.lower() for w in result.windows if w.kind == "opened"} >= {"mousepad", "gnome-calculator"}


@pytest.mark.desktop("desktop")
async def test_cells_of_an_open_spreadsheet_are_written(tmp_path: Path):
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="desktop"))
        result, steps = await rollout(
            tmp_path,
            machine,
            act("set_cell_values", cell_values={"A1": 1}, app_name="x", sheet_name="Sheet1"),
            act("open", app_or_filename="libreoffice calc"),
            act("wait", time=2),
            act("set_cell_values", cell_values={"A1": "Sum", "B1": "=2+3"}, app_name="Untitled 1", sheet_name="Sheet1"),
            act("set_cell_values", cell_values={"A1": 1}, app_name="Untitled 1", sheet_name="Nope"),
            act("wait", time=1),
        )
        await provider.stop(machine)
    assert result.status == "done", result.reason
    errors = [s.error.message for s in steps if s.error]
    assert len(errors) == 2, told(steps)
    assert "not running" in errors[0]
    assert "sheets are: Sheet1" in errors[1]


async def shows(machine: Machine, text: str) -> None:
    """Wait until an element holds a text."""
    async with asyncio.timeout(90):
        while not any(text in (node.text or "") for node in (await machine.tree()).root.walk()):
            await machine.settle(quiet_ms=100, timeout_ms=500)


@pytest.mark.desktop("desktop")
async def test_text_in_a_document_is_selected_where_it_really_is(tmp_path: Path):
    """LibreOffice says of its text that it is one menu bar higher until the pointer first moves over it."""
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="desktop"))
        await machine.write("/home/user/fox.txt", b"The quick brown fox.\nSecond paragraph.\n")
        await machine.launch(["soffice", "--norestore", "--nologo", "--writer", "/home/user/fox.txt"])
        await shows(machine, "Second paragraph")
        await machine.settle(quiet_ms=1000, timeout_ms=20_000)
        _, steps = await rollout(
            tmp_path,
            machine,
            act("highlight_text_span", starting_phrase="quick", ending_phrase="fox"),
            act("hotkey", keys=["ctrl", "c"]),
        )
        await provider.stop(machine)
    assert told(steps) == []
    assert steps[1].delta is not None
    assert steps[1].delta.clipboard is not None
    assert steps[1].delta.clipboard.after == "quick brown fox"


LABELS = """
import sys
from Xlib import X, display
d = display.Display()
screen = d.screen()
win = screen.root.create_window(300, 200, 500, 200, 0, screen.root_depth,
    background_pixel=screen.white_pixel, event_mask=X.ExposureMask | X.ButtonPressMask)
win.set_wm_name("Drawn")
gc = win.create_gc(foreground=screen.black_pixel, background=screen.white_pixel, font=d.open_font("fixed"))
win.map()
while True:
    event = d.next_event()
    if event.type == X.Expose:
        for x, text in ((60, b"Archive"), (260, b"Discard")):
            win.draw_text(gc, x, 50, text)
        d.flush()
    if event.type == X.ButtonPress:
        open("/home/user/clicked.txt", "a").write(f"{event.event_x} {event.event_y}\\n")
"""
"""A program that draws its texts itself: no accessibility tree knows of them."""


@pytest.mark.ocr
@pytest.mark.desktop
async def test_what_only_the_picture_shows_is_clicked_by_its_text(tmp_path: Path):
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="slim"))
        await machine.write("/home/user/drawn.py", LABELS.encode())
        await machine.launch(["python3", "/home/user/drawn.py"])
        async with asyncio.timeout(30):
            while not any(window.title == "Drawn" for window in await machine.windows()):
                await machine.settle(quiet_ms=100, timeout_ms=500)
        await machine.settle()
        _, steps = await rollout(tmp_path, machine, act("click", element_description="the Discard button"))
        assert told(steps) == []
        clicked = (await machine.read("/home/user/clicked.txt")).decode()
        await provider.stop(machine)
    place = steps[0].grounding[0]
    assert [(tried.by, bool(tried.reason)) for tried in place.tried] == [("tree", True), ("ocr", False)]
    x, y = map(int, clicked.split())
    assert 260 <= x <= 260 + 60
    assert 35 <= y <= 55
