"""The browser (Chromium): a page tells the server that it came from what happened on it and what it holds."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from agent_s3.actions import Click, DragAndDrop, HighlightTextSpan, HoldAndPress, Hotkey, Scroll, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.samples import MIXED, TWO_THOUSAND
from agent_s3.contract.stage import PROGRAMS, Stage
from agent_s3.contract.story import click, drag, key, text, wheel
from vm_pool.contract.check import expect

_NOTES = "the Notes field"
_BOX = "the Wide box"


@dataclass
class Browser:
    """Chromium with our page."""

    stage: Stage
    url: str
    state: str
    """The file of what the page last told."""
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def show(self) -> None:
        """Load the page afresh in the one tab, and wait until it has told what it holds."""
        page = f"?{next(self.numbers)}"
        await self.stage.machine.write(f"{self.state}.wanted", page.encode())
        told = await self.stage.until(self.told, lambda told: told.get("page") == page)
        expect(told.get("page") == page, f"the page {page} was asked for, the browser shows {told.get('page')}")
        await self.stage.node(lambda node: node.name == "Notes" and node.box is not None, "the page")
        await self.stage.quiet()

    async def told(self) -> dict[str, Any]:
        """The state of the page; empty: it has not told any yet."""
        return json.loads(await self.stage.text_of(self.state) or "{}")

    async def heard(self) -> list[str]:
        """The events that the page had."""
        return (await self.told()).get("heard", [])

    async def notes(self) -> str:
        """What stands in its text field."""
        return (await self.told()).get("notes", "")

    async def selected(self) -> str:
        return (await self.told()).get("selected", "")


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Browser]:
    machine = stage.machine
    folder = f"{machine.info.home}/.contract-page"
    for name in ("serve_page.py", "page.html"):
        await machine.write(f"{folder}/{name}", (PROGRAMS / name).read_bytes())
    await machine.write(f"{folder}/state.wanted", b"?0")
    await machine.launch(["python3", f"{folder}/serve_page.py", f"{folder}/page.html", f"{folder}/state"])
    port = await stage.until(lambda: stage.text_of(f"{folder}/state.port"), lambda held: held is not None)
    url = f"http://127.0.0.1:{port}"
    await machine.launch(["google-chrome", "--start-maximized", f"{url}/?0"])
    await stage.node(lambda node: node.name == "Notes" and node.box is not None, "the page")
    await stage.quiet()
    yield Browser(stage, url, f"{folder}/state")
    await stage.end("chromium")
    await machine.run(["pkill", "-f", "serve_page.py"], timeout_s=10)


@proves("click")
async def a_click_is_one_click_on_its_element(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="the Press me button"))
    await app.stage.saw(click(*done.at()))
    await app.stage.found("the page heard", app.heard, ["click press"])


@proves("click")
async def a_double_click_is_heard_as_one(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="Press me", num_clicks=2))
    await app.stage.saw(click(*done.at(), count=2))
    await app.stage.found("the page heard", app.heard, ["click press", "click press", "dblclick press"])


@proves("click", quick=True)
async def a_triple_click_takes_a_paragraph(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="The first sentence is short.", num_clicks=3))
    await app.stage.saw(click(*done.at(), count=3))
    await app.stage.holds("the page's selection", app.selected, lambda taken: taken.strip().endswith("the paragraph."))


@proves("click")
async def a_middle_click_is_heard(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="Press me", button_type="middle"))
    await app.stage.saw(click(*done.at(), button="middle"))
    await app.stage.found("the page heard", app.heard, ["auxclick press"])


@proves("click")
async def a_right_click_is_heard(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="Press me", button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.stage.found("the page heard", app.heard, ["contextmenu press", "auxclick press"])


@proves("click", quick=True)
async def a_click_with_modifiers_is_heard_with_them(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="Press me", hold_keys=("ctrl", "shift")))
    await app.stage.saw(click(*done.at(), held=["ctrl", "shift"]))
    await app.stage.holds("the page heard", app.heard, lambda heard: "ctrl shift click press" in heard)


@proves("type", quick=True)
async def typing_over_replaces_and_enter_ends_the_line(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(
        Type(element_description=_NOTES, text="old words"),
        Type(element_description=_NOTES, text="new words", overwrite=True, enter=True),
    )
    clear = (key("a", held=["ctrl"]), key("BackSpace"))
    clicks = click(*done.at()), click(*done.at(step=1))
    await app.stage.saw(clicks[0], text("old words"), clicks[1], *clear, text("new words\n"))
    await app.stage.found("the field", app.notes, "new words\n")


@proves("type")
async def mixed_scripts_arrive(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description=_NOTES, text=MIXED))
    await app.stage.saw(click(*done.at()), text(MIXED))
    await app.stage.found("the field", app.notes, MIXED)


@proves("type")
async def two_thousand_characters_arrive_in_order(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description=_NOTES, text=TWO_THOUSAND))
    await app.stage.saw(click(*done.at()), text(TWO_THOUSAND))
    await app.stage.found("the field", app.notes, TWO_THOUSAND)


@proves("scroll")
async def the_wheel_scrolls_down_and_up(app: Browser) -> None:
    await app.show()
    down, up = Scroll(element_description=_BOX, clicks=-4), Scroll(element_description=_BOX, clicks=1)
    done = await app.stage.do(down, up)
    await app.stage.saw(wheel("down", *done.at(), count=4), wheel("up", *done.at(step=1), count=1))

    async def top() -> int:
        return (await app.told()).get("top", 0)

    await app.stage.holds("px scrolled down", top, lambda px: px > 0)


@proves("scroll")
async def the_wheel_scrolls_sideways(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Scroll(element_description=_BOX, clicks=-4, shift=True))
    await app.stage.saw(wheel("right", *done.at(), count=4))

    async def left() -> int:
        return (await app.told()).get("left", 0)

    await app.stage.holds("px scrolled right", left, lambda px: px > 0)


@proves("drag_and_drop", quick=True)
async def a_thing_is_dropped_where_it_is_dragged(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(DragAndDrop(starting_description="Parcel", ending_description="Basket"))
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.holds("the page heard", app.heard, lambda heard: "drop target" in heard)


@proves("drag_and_drop")
async def keys_that_are_held_are_held_at_the_drop(app: Browser) -> None:
    await app.show()
    action = DragAndDrop(starting_description="Parcel", ending_description="Basket", hold_keys=("ctrl",))
    done = await app.stage.do(action)
    await app.stage.saw(drag(*done.at(0), *done.at(1), held=["ctrl"]))
    await app.stage.holds("the page heard", app.heard, lambda heard: "ctrl drop target" in heard)


@proves("highlight_text_span")
async def a_span_is_selected_from_its_first_word_to_its_last(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(HighlightTextSpan(starting_phrase="second", ending_phrase="wörds"))
    await app.stage.saw_a_drag(done)
    await app.stage.found("the page's selection", app.selected, "second sentence holds wörds")


@proves("hotkey")
async def a_hotkey_reaches_the_page(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description=_NOTES), Hotkey(keys=("Control", "k")))
    await app.stage.saw(click(*done.at()), key("k", held=["ctrl"]))
    await app.stage.holds("the page heard", app.heard, lambda heard: "ctrl key notes k" in heard)


@proves("hold_and_press")
async def keys_are_pressed_while_another_is_held(app: Browser) -> None:
    await app.show()
    done = await app.stage.do(
        Type(element_description=_NOTES, text="some words"),
        HoldAndPress(hold_keys=("shift",), press_keys=("left", "left", "left")),
    )
    await app.stage.saw(click(*done.at()), text("some words"), key("Left", held=["shift"], count=3))
    await app.stage.found("PRIMARY", app.stage.primary, "rds")


@proves("type")
async def an_address_is_typed_over_the_old_one(app: Browser) -> None:
    await app.show()
    address = f"{app.url}/{(await app.told())['page']}#typed"
    done = await app.stage.do(
        Type(element_description="Address and search bar", text=address, overwrite=True, enter=True)
    )
    clear = (key("a", held=["ctrl"]), key("BackSpace"))
    await app.stage.saw(click(*done.at()), *clear, text(address + "\n"))

    async def mark() -> str:
        return (await app.told()).get("mark", "")

    await app.stage.found("the mark in the page's address", mark, "#typed")


SUITE = Suite("browser", "google-chrome", _opened, checks_among(globals()))
