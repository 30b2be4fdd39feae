"""The file manager (Thunar, GTK 3): what it did is in the file system, what it selected in its status bar."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_s3.actions import Click, DragAndDrop, HoldAndPress, Hotkey, Scroll, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.stage import Stage
from agent_s3.contract.story import click, drag, key, text, wheel
from vm_pool.events import Chord

_FOLDER = "shelf"


@dataclass(frozen=True)
class Files:
    """Thunar with one folder."""

    stage: Stage
    folder: str

    async def show(self, *names: str) -> None:
        """Open the folder afresh with a folder `box` and these files, each of which holds its name."""
        machine = self.stage.machine
        await self.stage.end("thunar")
        await machine.run(["rm", "-rf", self.folder])
        await machine.run(["mkdir", "-p", f"{self.folder}/box"])
        for name in names:
            await machine.write(f"{self.folder}/{name}", name.encode())
        await machine.launch(["thunar", self.folder])
        await self.stage.node(lambda node: node.name == names[0] and node.box is not None, f"the file {names[0]}")
        await self.stage.quiet()

    async def held(self, name: str) -> str | None:
        """Content of a file below the folder; None: it is not there."""
        return await self.stage.text_of(f"{self.folder}/{name}")

    async def status(self) -> str:
        """What the status bar says."""
        return "; ".join(node.name for node in await self.stage.nodes(lambda node: node.role == "status-bar"))

    async def bar(self) -> float:
        """How far the files are scrolled, in px."""
        nodes = await self.stage.nodes(lambda node: node.role == "scroll-bar" and "vertical" in node.states)
        return max((node.value or 0.0 for node in nodes), default=0.0)


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Files]:
    yield Files(stage, f"{stage.machine.info.home}/{_FOLDER}")
    await stage.end("thunar")


@proves("click")
async def a_click_selects_a_file(app: Files) -> None:
    await app.show("a.txt", "b.txt")
    done = await app.stage.do(Click(element_description="the file a.txt"))
    await app.stage.saw(click(*done.at()))
    await app.stage.holds("the status bar", app.status, lambda said: "a.txt" in said)


@proves("click", quick=True)
async def a_click_with_ctrl_selects_another_file_too(app: Files) -> None:
    await app.show("a.txt", "b.txt", "c.txt")
    done = await app.stage.do(
        Click(element_description="the file a.txt"), Click(element_description="c.txt", hold_keys=("ctrl",))
    )
    await app.stage.saw(click(*done.at()), click(*done.at(step=1), held=["ctrl"]))
    await app.stage.holds("the status bar", app.status, lambda said: said.startswith("Selection: 2 files"))


@proves("click")
async def a_click_with_shift_selects_all_in_between(app: Files) -> None:
    await app.show("a.txt", "b.txt", "c.txt")
    done = await app.stage.do(
        Click(element_description="the file a.txt"), Click(element_description="c.txt", hold_keys=("shift",))
    )
    await app.stage.saw(click(*done.at()), click(*done.at(step=1), held=["shift"]))
    await app.stage.holds("the status bar", app.status, lambda said: said.startswith("Selection: 3 files"))


@proves("click")
async def a_double_click_opens_a_folder(app: Files) -> None:
    await app.show("a.txt")
    done = await app.stage.do(Click(element_description="the folder box", num_clicks=2))
    await app.stage.saw(click(*done.at(), count=2))
    await app.stage.holds("the windows", app.stage.titles, lambda titles: titles == ["box - Thunar"])


@proves("click")
async def a_right_click_opens_the_menu_of_a_file(app: Files) -> None:
    await app.show("a.txt")
    done = await app.stage.do(Click(element_description="a.txt", button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.stage.shows("menu-item", "Rename")
    await app.stage.machine.perform([Chord(keys=("esc",))])


@proves("click")
async def a_middle_click_opens_a_folder_elsewhere(app: Files) -> None:
    await app.show("a.txt")
    done = await app.stage.do(Click(element_description="the folder box", button_type="middle"))
    await app.stage.saw(click(*done.at(), button="middle"))
    await app.stage.holds("the windows", app.stage.titles, lambda titles: len(titles) == 2 and "box - Thunar" in titles)


@proves("drag_and_drop", quick=True)
async def a_file_is_moved_into_a_folder(app: Files) -> None:
    await app.show("a.txt", "b.txt")
    action = DragAndDrop(starting_description="the file a.txt", ending_description="the folder box")
    done = await app.stage.do(action)
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.found("box/a.txt", lambda: app.held("box/a.txt"), "a.txt")
    await app.stage.found("a.txt where it was", lambda: app.held("a.txt"), None)


@proves("hotkey")
async def a_hotkey_goes_to_the_parent_folder(app: Files) -> None:
    await app.show("a.txt")
    await app.stage.do(Hotkey(keys=("alt", "up")))
    await app.stage.saw(key("Up", held=["alt"]))
    await app.stage.found("the windows", app.stage.titles, ["user - Thunar"])


@proves("type")
async def a_file_gets_a_new_name(app: Files) -> None:
    await app.show("a.txt")
    done = await app.stage.do(
        Click(element_description="the file a.txt"),
        Hotkey(keys=("f2",)),
        Type(text="näme.md", overwrite=True, enter=True),
    )
    clear = (key("a", held=["ctrl"]), key("BackSpace"))
    await app.stage.saw(click(*done.at()), key("F2"), *clear, text("näme.md\n"))
    await app.stage.found("näme.md", lambda: app.held("näme.md"), "a.txt")


@proves("hold_and_press")
async def a_range_of_files_is_selected_by_keys(app: Files) -> None:
    await app.show("a.txt", "b.txt", "c.txt")
    done = await app.stage.do(
        Click(element_description="the file a.txt"), HoldAndPress(hold_keys=("shift",), press_keys=("down", "down"))
    )
    await app.stage.saw(click(*done.at()), key("Down", held=["shift"], count=2))
    await app.stage.holds("the status bar", app.status, lambda said: said.startswith("Selection: 3 files"))


@proves("scroll")
async def the_wheel_scrolls_down(app: Files) -> None:
    await app.show(*(f"file-{number:02}.txt" for number in range(40)))
    done = await app.stage.do(Scroll(element_description="file-05.txt", clicks=-5))
    await app.stage.saw(wheel("down", *done.at(), count=5))
    await app.stage.holds("px scrolled down", app.bar, lambda px: px > 0)


SUITE = Suite("file manager", "thunar", _opened, checks_among(globals()))
