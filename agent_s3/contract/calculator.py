"""The calculator (GNOME Calculator, GTK 4): its display is what AT-SPI says of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_s3.actions import Click, Hotkey, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.stage import Stage
from agent_s3.contract.story import click, key, text
from vm_pool.events import Chord


@dataclass(frozen=True)
class Calculator:
    """GNOME Calculator."""

    stage: Stage

    async def clear(self) -> None:
        await self.stage.machine.perform([Chord(keys=("esc",))])
        await self.stage.until(self.display, lambda shown: shown == "")

    async def display(self) -> str:
        """The line in which numbers are entered and results shown."""
        nodes = await self.stage.nodes(lambda node: node.role == "text" and "editable" in node.states)
        return next((node.text or "" for node in nodes), "")


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Calculator]:
    await stage.machine.launch(["gnome-calculator"])
    await stage.node(lambda node: node.name.startswith("7") and node.box is not None, "the button 7")
    await stage.quiet()
    yield Calculator(stage)
    await stage.end("gnome-calculator")


@proves("click", quick=True)
async def its_buttons_are_clicked(app: Calculator) -> None:
    await app.clear()
    buttons = ("7", "×", "6", "=")
    done = await app.stage.do(*(Click(element_description=name) for name in buttons))
    await app.stage.saw(*(click(*done.at(step=number)) for number in range(len(buttons))))
    await app.stage.found("the display", app.display, "42")


@proves("type")
async def a_sum_is_typed(app: Calculator) -> None:
    await app.clear()
    await app.stage.do(Type(text="12.5*4", enter=True))
    await app.stage.saw(text("12.5*4\n"))
    await app.stage.found("the display", app.display, "50")


@proves("hotkey")
async def a_hotkey_takes_the_last_step_back(app: Calculator) -> None:
    await app.clear()
    await app.stage.do(Type(text="123"), Hotkey(keys=("ctrl", "z")))
    await app.stage.saw(text("123"), key("z", held=["ctrl"]))
    await app.stage.holds("the display", app.display, lambda shown: shown != "123")


SUITE = Suite("calculator", "gnome-calculator", _opened, checks_among(globals()))
