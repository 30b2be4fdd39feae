"""Promises about the accessibility tree and windows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vm_pool.contract.check import ContractBroken, NotApplicable, check, expect
from vm_pool.contract.pace import stretched
from vm_pool.contract.witness import editor
from vm_pool.events import Text
from vm_pool.machine import Machine
from vm_pool.types import Node, Tree, Window

T = TypeVar("T")
_LIMIT_S = 20.0


@check("accessibility")
async def the_tree_is_that_of_the_desktop(machine: Machine) -> None:
    tree = await _tree(machine)
    expect(tree.root.role == "desktop-frame", f"the root is a desktop-frame, not a {tree.root.role}")


@check("accessibility")
async def every_element_has_an_id_of_its_own(machine: Machine) -> None:
    async with editor(machine):
        await _text_field(machine)
        ids = [node.id for node in (await _tree(machine)).root.walk()]
    expect(len(ids) == len(set(ids)), f"{len(ids) - len(set(ids))} of {len(ids)} elements share an id")


@check("accessibility")
async def a_text_field_is_in_the_tree_with_its_place_and_states(machine: Machine) -> None:
    async with editor(machine):
        field = await _text_field(machine)
    box = field.box
    assert box is not None
    inside = box.x >= 0 and box.y >= 0 and box.x + box.width <= machine.info.width
    expect(inside and box.width > 50 and box.height > 50, f"the field is on the screen, not at {box}")


@check("accessibility")
async def what_is_typed_is_in_the_tree(machine: Machine) -> None:
    async with editor(machine):
        await _text_field(machine)
        await machine.perform([Text(text="for the tree é")])
        await _until(lambda: _has_text(machine, "for the tree é"), "the typed text is in the tree")


@check("accessibility")
async def a_closed_program_leaves_the_tree(machine: Machine) -> None:
    """Other programs may have text fields as well."""
    before = await _text_fields(machine)

    async def there() -> bool:
        return await _text_fields(machine) > before

    async def gone() -> bool:
        return await _text_fields(machine) <= before

    async with editor(machine):
        await _until(there, "the window's text field is in the tree")
    await _until(gone, "the closed window's text field is out of the tree")


@check("windows")
async def a_launched_program_has_a_window_with_title_and_place(machine: Machine) -> None:
    async with editor(machine, title="witness é 한"):
        window = await _window(machine, "witness é 한")
    box = window.box
    expect(box.width > 100 and box.height > 100, f"a window of {box.width}x{box.height} px has its size")
    expect(box.x < machine.info.width and box.y < machine.info.height, "and is on the screen")


@check("windows")
async def the_window_in_front_is_the_active_one(machine: Machine) -> None:
    if "v1" not in machine.info.capabilities:
        raise NotApplicable("v1", "OSWorld's routes do not say which window is active")
    async with editor(machine, title="first"), editor(machine, title="second"):
        await _window(machine, "first")
        await _window(machine, "second")
        listed = await machine.windows()
    expect([window.title for window in listed if window.active] == ["second"], "the newest window has the focus")
    expect([window.title for window in listed][-2:] == ["first", "second"], "and is the topmost, which comes last")


@check("windows")
async def a_closed_window_is_not_listed(machine: Machine) -> None:
    async with editor(machine, title="soon gone"):
        await _window(machine, "soon gone")

    async def gone() -> bool:
        return all(window.title != "soon gone" for window in await machine.windows())

    await _until(gone, "a closed window is out of the list")


@check("windows")
async def windows_name_the_process_they_belong_to(machine: Machine) -> None:
    async with editor(machine, title="whose"):
        window = await _window(machine, "whose")
        expect(window.pid is not None, "a window has a process id")
        done = await machine.run(["cat", f"/proc/{window.pid}/cmdline"])
    expect("editor.py" in done.stdout, f"process {window.pid} is {done.stdout[:80]!r}")


async def _tree(machine: Machine) -> Tree:
    if "tree" not in machine.info.capabilities:
        raise NotApplicable("tree", "the machine has no accessibility tree")
    return await machine.tree()


async def _text_field(machine: Machine) -> Node:
    async def find() -> Node | None:
        return next((node for node in (await _tree(machine)).root.walk() if _editable(node)), None)

    return await _until(find, "a text field with a place on the screen is in the tree")


async def _text_fields(machine: Machine) -> int:
    return sum(map(_editable, (await _tree(machine)).root.walk()))


def _editable(node: Node) -> bool:
    return node.role == "text" and node.box is not None and "editable" in node.states


async def _has_text(machine: Machine, text: str) -> bool:
    return any(node.text == text for node in (await _tree(machine)).root.walk())


async def _window(machine: Machine, title: str) -> Window:
    async def find() -> Window | None:
        return next((window for window in await machine.windows() if window.title == title), None)

    return await _until(find, f"a window called {title!r} is listed")


async def _until(ask: Callable[[], Awaitable[T | None]], promise: str) -> T:
    """Ask until the answer is true; raises `ContractBroken` when that takes too long."""
    deadline = time.monotonic() + stretched(_LIMIT_S)
    while not (answer := await ask()):
        if time.monotonic() >= deadline:
            raise ContractBroken(f"{promise}, within {stretched(_LIMIT_S):g} s")
        await asyncio.sleep(0.05)
    return answer
