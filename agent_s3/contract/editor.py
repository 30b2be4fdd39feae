"""The text editor (Mousepad, GTK 3): what it selects is PRIMARY, what it holds is in the file that it saves."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from agent_s3.actions import Click, DragAndDrop, HighlightTextSpan, HoldAndPress, Hotkey, Scroll, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.samples import MIXED, TWO_THOUSAND
from agent_s3.contract.stage import PROGRAMS, Stage
from agent_s3.contract.story import click, drag, key, text, wheel
from vm_pool.events import Chord

_AREA = "the text area"
_WORD = "abcdefghijklmnop"
_LINE = " ".join([_WORD] * 12)
"""Long enough that the middle of the window lies in one of its words, and wider than the window."""
_PAGE = f"{_LINE}\n" * 80


@dataclass
class Editor:
    """Mousepad with one file."""

    stage: Stage
    numbers: "count[int]" = field(default_factory=count)
    path: str = ""

    async def show(self, content: str) -> None:
        """Open a new file with that content; Mousepad remembers where the caret was in files that it knows."""
        self.path = f"{self.stage.machine.info.home}/Documents/contract-{next(self.numbers)}.txt"
        await self.stage.end("mousepad")
        # What it was killed with, it would ask about.
        await self.stage.machine.run(["rm", "-rf", f"{self.stage.machine.info.home}/.local/share/Mousepad"])
        await self.stage.machine.write(self.path, content.encode())
        await self.stage.machine.launch(["mousepad", self.path])
        await self.stage.node(lambda node: node.role == "text" and "focused" in node.states, "the text area")
        await self.stage.quiet()

    async def caret(self) -> int:
        """In characters; -1: no text has the focus."""
        program = (PROGRAMS / "caret.py").read_text(encoding="utf-8")
        done = await self.stage.machine.run(["python3", "-c", program], timeout_s=20)
        found = json.loads(done.stdout or "null")
        return -1 if found is None else int(found["caret"])

    async def saved(self, wanted: str) -> None:
        """Save, and let the file be the witness."""
        await self.stage.machine.perform([Chord(keys=("ctrl", "s"))])
        await self.stage.found("the saved file", self.file, wanted)

    async def file(self) -> str:
        """Content of the file."""
        return await self.stage.text_of(self.path) or ""

    async def bar(self, direction: str) -> float:
        """How far the text is scrolled, in px."""
        nodes = await self.stage.nodes(lambda node: node.role == "scroll-bar" and direction in node.states)
        return max((node.value or 0.0 for node in nodes), default=0.0)


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Editor]:
    yield Editor(stage)
    await stage.end("mousepad")


@proves("click")
async def a_click_puts_the_caret_under_the_pointer(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Click(element_description=_AREA))
    await app.stage.saw(click(*done.at()))
    await app.stage.holds("the caret", app.caret, lambda caret: caret > len(_LINE))


@proves("click", quick=True)
async def a_double_click_takes_a_word(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Click(element_description=_AREA, num_clicks=2))
    await app.stage.saw(click(*done.at(), count=2))
    await app.stage.found("PRIMARY", app.stage.primary, _WORD)


@proves("click")
async def a_triple_click_takes_a_line(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Click(element_description=_AREA, num_clicks=3))
    await app.stage.saw(click(*done.at(), count=3))
    await app.stage.holds("PRIMARY", app.stage.primary, lambda taken: taken.rstrip("\n") == _LINE)


@proves("click")
async def a_click_with_shift_selects_up_to_the_pointer(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Click(element_description=_AREA, hold_keys=("shift",)))
    await app.stage.saw(click(*done.at(), held=["shift"]))
    await app.stage.holds("PRIMARY", app.stage.primary, lambda taken: taken.startswith(f"{_LINE}\n{_LINE}\n"))


@proves("click")
async def a_middle_click_pastes_what_is_selected_elsewhere(app: Editor) -> None:
    await app.show(_PAGE)
    await app.stage.select("PASTED")
    done = await app.stage.do(Click(element_description=_AREA, button_type="middle"))
    await app.stage.saw(click(*done.at(), button="middle"))
    await app.stage.machine.perform([Chord(keys=("ctrl", "s"))])
    await app.stage.holds("the saved file", app.file, lambda held: "PASTED" in held)


@proves("click")
async def a_right_click_opens_the_menu_of_what_it_hits(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Click(element_description=_AREA, button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.stage.shows("menu-item", "Select All")
    await app.stage.machine.perform([Chord(keys=("esc",))])


@proves("click")
async def a_menu_opens_and_its_item_does_its_work(app: Editor) -> None:
    await app.show("one line\n")
    done = await app.stage.do(Click(element_description="the Edit menu"), Click(element_description="Select All"))
    await app.stage.saw(click(*done.at()), click(*done.at(step=1)))
    await app.stage.found("PRIMARY", app.stage.primary, "one line\n")


@proves("type")
async def text_goes_where_the_focus_is(app: Editor) -> None:
    await app.show("")
    await app.stage.do(Type(text="plain words, 100 %"))
    await app.stage.saw(text("plain words, 100 %"))
    await app.saved("plain words, 100 %")


@proves("type")
async def typing_over_replaces_all_and_enter_ends_the_line(app: Editor) -> None:
    await app.show("old words\nin two lines\n")
    done = await app.stage.do(Type(element_description=_AREA, text="new words", overwrite=True, enter=True))
    clear = (key("a", held=["ctrl"]), key("BackSpace"))
    await app.stage.saw(click(*done.at()), *clear, text("new words\n"))
    await app.saved("new words\n")


@proves("type", quick=True)
async def mixed_scripts_arrive(app: Editor) -> None:
    await app.show("")
    await app.stage.do(Type(text=MIXED))
    await app.stage.saw(text(MIXED))
    await app.saved(MIXED)


@proves("type")
async def two_thousand_characters_arrive_in_order(app: Editor) -> None:
    await app.show("")
    await app.stage.do(Type(text=TWO_THOUSAND))
    await app.stage.saw(text(TWO_THOUSAND))
    await app.saved(TWO_THOUSAND)


@proves("type", quick=True)
async def text_is_not_inverted_by_caps_lock(app: Editor) -> None:
    await app.show("")
    await app.stage.machine.perform([Chord(keys=("capslock",))])
    await app.stage.do(Type(text="Abc É é Ж ж"))
    await app.stage.saw(key("Caps_Lock"), text("Abc É é Ж ж"), key("Caps_Lock"))
    await app.stage.machine.perform([Chord(keys=("capslock",))])
    await app.saved("Abc É é Ж ж")


@proves("scroll", quick=True)
async def the_wheel_scrolls_down_and_up(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Scroll(element_description=_AREA, clicks=-6), Scroll(element_description=_AREA, clicks=2))
    await app.stage.saw(wheel("down", *done.at(), count=6), wheel("up", *done.at(), count=2))
    await app.stage.holds("px scrolled down", lambda: app.bar("vertical"), lambda px: px > 0)


@proves("scroll")
async def the_wheel_scrolls_sideways(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(Scroll(element_description=_AREA, clicks=-4, shift=True))
    await app.stage.saw(wheel("right", *done.at(), count=4))
    await app.stage.holds("px scrolled right", lambda: app.bar("horizontal"), lambda px: px > 0)


@proves("drag_and_drop")
async def a_drag_over_text_selects_it(app: Editor) -> None:
    await app.show(_PAGE)
    done = await app.stage.do(DragAndDrop(starting_description=_AREA, ending_description="the File menu"))
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.holds("PRIMARY", app.stage.primary, lambda taken: taken.count(f"{_WORD}\n") > 3)


@proves("highlight_text_span", quick=True)
async def a_span_is_selected_from_its_first_word_to_its_last(app: Editor) -> None:
    await app.show("first line\nthe second line holds wörds, and more\nthird line\n")
    done = await app.stage.do(HighlightTextSpan(starting_phrase="second", ending_phrase="wörds"))
    await app.stage.saw_a_drag(done)
    await app.stage.found("PRIMARY", app.stage.primary, "second line holds wörds")


@proves("highlight_text_span")
async def a_span_over_several_lines_is_selected(app: Editor) -> None:
    await app.show("first line\nthe second line holds wörds, and more\nthird line\n")
    done = await app.stage.do(HighlightTextSpan(starting_phrase="line", ending_phrase="third"))
    await app.stage.saw_a_drag(done)
    await app.stage.found("PRIMARY", app.stage.primary, "line\nthe second line holds wörds, and more\nthird")


@proves("highlight_text_span")
async def text_that_is_not_there_is_not_selected(app: Editor) -> None:
    await app.show("first line\n")
    action = HighlightTextSpan(starting_phrase="nowhere", ending_phrase="line")
    await app.stage.refused_untouched(action, because=["no text on the screen holds 'nowhere' up to 'line'"])


@proves("hotkey")
async def a_hotkey_saves_the_file(app: Editor) -> None:
    await app.show("as it was")
    await app.stage.machine.perform([Chord(keys=("x",))])
    await app.stage.do(Hotkey(keys=("Ctrl", "S")))
    await app.stage.saw(key("s", held=["ctrl"]))
    await app.stage.found("the saved file", app.file, "xas it was")


@proves("hold_and_press", quick=True)
async def keys_are_pressed_while_another_is_held(app: Editor) -> None:
    await app.show("first line\n")
    await app.stage.do(HoldAndPress(hold_keys=("shift",), press_keys=("right", "right", "right")))
    await app.stage.saw(key("Right", held=["shift"], count=3))
    await app.stage.found("PRIMARY", app.stage.primary, "fir")


SUITE = Suite("text editor", "mousepad", _opened, checks_among(globals()))
