"""The terminal (LXTerminal, VTE): what reaches its shell is in files, what it selects is PRIMARY."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from agent_s3.actions import Click, DragAndDrop, HighlightTextSpan, HoldAndPress, Hotkey, Scroll, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.samples import MIXED, TWO_THOUSAND
from agent_s3.contract.stage import Stage
from agent_s3.contract.story import click, drag, key, text, wheel
from vm_pool.events import Chord, Text

_SHELL = "the terminal"
_WORD = "abcdefghijklmnop"
_LINE = " ".join([_WORD] * 4)


@dataclass
class Terminal:
    """One terminal with a shell."""

    stage: Stage
    numbers: "count[int]" = field(default_factory=count)

    def file(self) -> str:
        """A path where nothing is yet."""
        return f"{self.stage.machine.info.home}/shell-{next(self.numbers)}"

    async def run(self, command: str) -> None:
        """Let its shell run a command on an empty screen, and wait until it shows what came of it."""
        done = self.file()
        await self.stage.machine.perform([Text(text=f"clear; {command}; touch {done}\n")])
        await self.stage.until(lambda: self.stage.text_of(done), lambda held: held is not None)
        await self.stage.quiet()

    async def fill(self) -> None:
        """Fill the screen with one line of words, over and over."""
        await self.run(f"yes '{_LINE}' | head -60")

    async def bar(self) -> float:
        """Which line of all that it remembers is at the top."""
        nodes = await self.stage.nodes(lambda node: node.role == "scroll-bar" and "vertical" in node.states)
        return max((node.value or 0.0 for node in nodes), default=0.0)


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Terminal]:
    await stage.machine.launch(["lxterminal"])
    await stage.node(lambda node: node.role == "terminal" and "$" in (node.text or ""), "a shell's prompt")
    yield Terminal(stage)
    await stage.end("lxterminal")


@proves("type", quick=True)
async def a_command_is_typed_and_run(app: Terminal) -> None:
    path = app.file()
    await app.stage.do(Type(text=f"echo \"done: $((6*7))\" > '{path}'", enter=True))
    await app.stage.saw(text(f"echo \"done: $((6*7))\" > '{path}'\n"))
    await app.stage.found("the file", lambda: app.stage.text_of(path), "done: 42\n")


@proves("type")
async def mixed_scripts_arrive(app: Terminal) -> None:
    path = app.file()
    await app.stage.do(Type(text=f"printf %s '{MIXED}' > {path}.part; mv {path}.part {path}", enter=True))
    await app.stage.saw(text(f"printf %s '{MIXED}' > {path}.part; mv {path}.part {path}\n"))
    await app.stage.found("the file", lambda: app.stage.text_of(path), MIXED)


@proves("type")
async def two_thousand_characters_arrive_in_order(app: Terminal) -> None:
    path = app.file()
    command = f"printf %s '{TWO_THOUSAND}' > {path}.part; mv {path}.part {path}"
    await app.stage.do(Type(text=command, enter=True))
    await app.stage.saw(text(command + "\n"))
    await app.stage.found("the file", lambda: app.stage.text_of(path), TWO_THOUSAND)


@proves("type", quick=True)
async def typing_over_replaces_the_command_line(app: Terminal) -> None:
    path = app.file()
    await app.run("true")
    await app.stage.forget()
    await app.stage.machine.perform([Text(text="echo nonsense and "), Chord(keys=("left",)), Chord(keys=("left",))])
    await app.stage.saw(text("echo nonsense and "), key("Left", count=2))  # so that none of it comes later
    done = await app.stage.do(Type(element_description=_SHELL, text=f"echo kept > {path}", overwrite=True, enter=True))
    clear = (key("e", held=["ctrl"]), key("u", held=["ctrl"]))
    await app.stage.saw(click(*done.at()), *clear, text(f"echo kept > {path}\n"))
    await app.stage.found("the file", lambda: app.stage.text_of(path), "kept\n")


@proves("click")
async def a_double_click_takes_a_word(app: Terminal) -> None:
    await app.fill()
    done = await app.stage.do(Click(element_description=_SHELL, num_clicks=2))
    await app.stage.saw(click(*done.at(), count=2))
    await app.stage.found("PRIMARY", app.stage.primary, _WORD)


@proves("click")
async def a_triple_click_takes_a_line(app: Terminal) -> None:
    await app.fill()
    done = await app.stage.do(Click(element_description=_SHELL, num_clicks=3))
    await app.stage.saw(click(*done.at(), count=3))
    await app.stage.found("PRIMARY", app.stage.primary, f"{_LINE}\n")


@proves("click")
async def a_middle_click_pastes_what_is_selected_elsewhere(app: Terminal) -> None:
    path = app.file()
    await app.run("true")
    await app.stage.select(f"echo pasted > {path}")
    done = await app.stage.do(Click(element_description=_SHELL, button_type="middle"))
    await app.stage.saw(click(*done.at(), button="middle"))
    await app.stage.quiet()
    await app.stage.machine.perform([Chord(keys=("enter",))])
    await app.stage.found("the file", lambda: app.stage.text_of(path), "pasted\n")


@proves("click")
async def a_right_click_opens_its_menu(app: Terminal) -> None:
    done = await app.stage.do(Click(element_description=_SHELL, button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.stage.shows("menu-item", "Paste")
    await app.stage.machine.perform([Chord(keys=("esc",))])


@proves("scroll")
async def the_wheel_scrolls_back(app: Terminal) -> None:
    await app.run("seq 300")
    bottom = await app.bar()
    done = await app.stage.do(Scroll(element_description=_SHELL, clicks=5))
    await app.stage.saw(wheel("up", *done.at(), count=5))
    await app.stage.holds("the line at the top", app.bar, lambda line: 0 < line < bottom)


@proves("drag_and_drop")
async def a_drag_over_text_selects_it(app: Terminal) -> None:
    await app.fill()
    done = await app.stage.do(DragAndDrop(starting_description=_SHELL, ending_description="the Help menu"))
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.holds("PRIMARY", app.stage.primary, lambda taken: taken.count(f"{_WORD}\n") > 3)


@proves("highlight_text_span")
async def a_span_is_selected_from_its_first_word_to_its_last(app: Terminal) -> None:
    await app.run("echo one twö three four")
    done = await app.stage.do(HighlightTextSpan(starting_phrase="twö", ending_phrase="three"))
    await app.stage.saw_a_drag(done)
    await app.stage.found("PRIMARY", app.stage.primary, "twö three")


@proves("hotkey", quick=True)
async def a_hotkey_interrupts_what_runs(app: Terminal) -> None:
    path = app.file()
    loop = f"trap 'echo stopped > {path}; exit' INT; touch {path}.ready; while :; do sleep 0.1; done"
    await app.stage.machine.perform([Text(text=f'sh -c "{loop}"\n')])
    await app.stage.until(lambda: app.stage.text_of(f"{path}.ready"), lambda held: held is not None)
    await app.stage.do(Hotkey(keys=("ctrl+c",)))
    await app.stage.saw(key("c", held=["ctrl"]))
    await app.stage.found("the file", lambda: app.stage.text_of(path), "stopped\n")


@proves("hotkey")
async def a_hotkey_of_three_keys_copies(app: Terminal) -> None:
    await app.fill()
    done = await app.stage.do(Click(element_description=_SHELL, num_clicks=2), Hotkey(keys=("ctrl", "shift", "c")))
    await app.stage.saw(click(*done.at(), count=2), key("c", held=["ctrl", "shift"]))
    await app.stage.found("the clipboard", app.stage.clipboard, _WORD)


@proves("hold_and_press")
async def keys_are_pressed_while_another_is_held(app: Terminal) -> None:
    await app.run("seq 300")
    bottom = await app.bar()
    await app.stage.do(HoldAndPress(hold_keys=("shift",), press_keys=("pageup", "pageup")))
    await app.stage.saw(key("Prior", held=["shift"], count=2))
    await app.stage.holds("the line at the top", app.bar, lambda line: 0 < line < bottom)


SUITE = Suite("terminal", "lxterminal", _opened, checks_among(globals()))
