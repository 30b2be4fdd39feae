"""Typing any Unicode and reading it back in the large programs of the `desktop` image."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import pytest

from vm_pool.events import Click, Move, Text
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.types import Node

pytestmark = pytest.mark.desktop("desktop")

WRITTEN = "Hé 한글 日本 😀 €ß aZ! " + "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허" * 2
PAGE = "<meta charset=utf-8><title>Page</title><textarea rows=6 cols=60></textarea><button>Go</button>"
CHROMIUM = ("chromium", "--no-sandbox", "--no-first-run", "--password-store=basic", "--force-renderer-accessibility")


@pytest.fixture
async def machine() -> AsyncGenerator[Machine]:
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="desktop", width=1280, height=800, labels={"suite": "guest"}))
        yield machine
        await provider.stop(machine)


async def node_where(machine: Machine, wanted: Callable[[Node], bool]) -> Node:
    """The first such element that is on the screen; waits for it."""
    deadline = time.monotonic() + 60
    found: Node | None = None
    while found is None and time.monotonic() < deadline:
        tree = await machine.tree()
        found = next((node for node in tree.root.walk() if node.box is not None and wanted(node)), None)
        await asyncio.sleep(0.1)
    assert found is not None, "not in the tree within 60 s"
    return found


async def click(machine: Machine, wanted: Callable[[Node], bool]) -> None:
    """Click an element where it is when the program has come to rest."""
    await node_where(machine, wanted)
    await machine.settle(quiet_ms=1000, timeout_ms=20_000)
    box = (await node_where(machine, wanted)).box
    assert box is not None
    await machine.perform([Click(x=box.center[0], y=box.center[1])])
    await machine.settle()


async def test_the_screen_is_recorded_as_a_film(machine):
    """By OSWorld's routes, whose runner films each task."""
    wire = machine._wire
    assert (await wire.send("POST", "/start_recording", timeout_s=60)).status == 200
    assert (await wire.send("POST", "/start_recording", timeout_s=60)).status == 400
    for x in range(100, 600, 50):
        await machine.perform([Move(x=x, y=300)])
        await machine.settle(quiet_ms=50)
    film = await wire.send("POST", "/end_recording", timeout_s=60)
    assert film.status == 200
    await machine.write("/home/user/film.mp4", film.body)
    probe = ("ffprobe", "-v", "error", "-show_entries", "stream=width,height,codec_name", "-of", "csv=p=0")
    assert (await machine.run([*probe, "/home/user/film.mp4"])).stdout.strip() == "h264,1280,800"


async def test_a_recording_that_ends_at_once_is_a_film_all_the_same(machine):
    """The recorder takes a while to start, more so on a busy machine."""
    wire = machine._wire
    assert (await wire.send("POST", "/start_recording", timeout_s=60)).status == 200
    film = await wire.send("POST", "/end_recording", timeout_s=60)
    assert (film.status, film.body[4:8]) == (200, b"ftyp")


@pytest.mark.parametrize("name", ["libreoffice", "soffice", "google-chrome", "chromium-browser"])
async def test_programs_under_their_other_names_get_their_arguments_from_a_shell(machine, name):
    said = (await machine.run(["sh", "-c", f"{name} --version"], timeout_s=60)).stdout
    assert said.startswith(("LibreOffice", "Chromium"))


async def test_any_unicode_is_typed_into_writer(machine):
    await machine.launch(["libreoffice", "--writer", "--norestore", "--nologo"])
    await click(machine, lambda node: node.role == "document-text")
    await machine.perform([Text(text=WRITTEN)])
    await node_where(machine, lambda node: node.text == WRITTEN)


async def test_cells_are_clicked_by_their_names_and_hold_what_was_typed(machine):
    await machine.launch(["libreoffice", "--calc", "--norestore", "--nologo"])
    await click(machine, lambda node: node.name == "C4" and node.role == "table-cell")
    await machine.perform([Text(text="한글 é\t21\n=D4*2\n")])
    await node_where(machine, lambda node: (node.name, node.text) == ("C4", "한글 é"))
    await node_where(machine, lambda node: (node.name, node.text) == ("D4", "21"))
    await node_where(machine, lambda node: (node.name, node.text) == ("C5", "42"))


async def test_any_unicode_is_typed_into_a_page(machine):
    await machine.write("~/page.html", PAGE.encode())
    await machine.launch([*CHROMIUM, "file:///home/user/page.html"])
    await click(machine, lambda node: node.role in ("entry", "text") and is_tall(node))
    await machine.perform([Text(text=WRITTEN)])
    await node_where(machine, lambda node: node.text == WRITTEN)
    assert (await node_where(machine, lambda node: node.name == "Go")).role == "push-button"


def is_tall(node: Node) -> bool:
    return node.box is not None and node.box.height > 60
