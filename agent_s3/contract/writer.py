"""The word processor (LibreOffice Writer): its text and its selection, as it says over UNO."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agent_s3.actions import Click, DragAndDrop, HighlightTextSpan, HoldAndPress, Hotkey, Scroll, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.office import Office, running
from agent_s3.contract.samples import MIXED, TWO_THOUSAND
from agent_s3.contract.stage import Stage
from agent_s3.contract.story import click, drag, key, text, wheel

_PAGE = "contract - LibreOffice Document"
"""Name of the element in which the text is written."""
_WORD = "abcdefghijklmnop"
_FULL = "\n".join([" ".join([_WORD] * 20) + "."] * 40)
"""More than the window shows, so that its middle lies in a word."""
_FOX = "The quick brown fox jumps.\nA second paragraph has wörds.\nThe third ends it."


class Writer(Office):
    """LibreOffice Writer."""

    async def show(self, content: str, kind: str = "odt") -> None:
        await self.fill(kind, text=content)

    async def selected(self) -> str:
        return (await self.ask("text"))["selected"]

    async def text(self) -> str:
        """Paragraphs as lines."""
        return (await self.ask("text"))["text"].replace("\r\n", "\n")

    async def bar(self) -> float:
        """How far the document is scrolled down; its unit is LibreOffice's own."""
        nodes = await self.stage.nodes(lambda node: node.role == "scroll-bar" and "vertical" in node.states)
        return max((node.value or 0.0 for node in nodes), default=0.0)


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Writer]:
    async with running(stage, "writer"):
        yield Writer(stage, landmark=_PAGE)


@proves("click")
async def a_double_click_takes_a_word(app: Writer) -> None:
    await app.show(_FULL)
    done = await app.stage.do(Click(element_description=_PAGE, num_clicks=2))
    await app.stage.saw(click(*done.at(), count=2))
    await app.stage.found("the selection", app.selected, _WORD)


@proves("click")
async def a_triple_click_takes_a_sentence(app: Writer) -> None:
    await app.show(_FULL)
    done = await app.stage.do(Click(element_description=_PAGE, num_clicks=3))
    await app.stage.saw(click(*done.at(), count=3))
    await app.stage.found("the selection", app.selected, _FULL.partition("\n")[0])


@proves("click")
async def a_click_with_shift_selects_up_to_the_pointer(app: Writer) -> None:
    await app.show(_FULL)
    done = await app.stage.do(Click(element_description=_PAGE, hold_keys=("shift",)))
    await app.stage.saw(click(*done.at(), held=["shift"]))
    await app.stage.holds("the selection", app.selected, lambda taken: len(taken) > 100)


@proves("click")
async def a_middle_click_pastes_what_is_selected_elsewhere(app: Writer) -> None:
    await app.show(_FULL)
    await app.stage.select("PASTED")
    done = await app.stage.do(Click(element_description=_PAGE, button_type="middle"))
    await app.stage.saw(click(*done.at(), button="middle"))
    await app.stage.holds("the text", app.text, lambda held: held.count("PASTED") == 1)


@proves("click")
async def a_right_click_opens_the_menu_of_the_text(app: Writer) -> None:
    await app.show(_FULL)
    done = await app.stage.do(Click(element_description=_PAGE, button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.menu_opens(*done.at())


@proves("type", quick=True)
async def typing_over_replaces_all_and_enter_ends_the_paragraph(app: Writer) -> None:
    await app.show(_FOX)
    done = await app.stage.do(Type(element_description=_PAGE, text="New words", overwrite=True, enter=True))
    clear = (key("a", held=["ctrl"]), key("BackSpace"))
    await app.stage.saw(click(*done.at()), *clear, text("New words\n"))
    await app.stage.found("the text", app.text, "New words\n")


@proves("type")
async def mixed_scripts_arrive(app: Writer) -> None:
    await app.show("")
    await app.stage.do(Type(text=MIXED))
    await app.stage.saw(text(MIXED))
    await app.stage.found("the text", app.text, MIXED)


@proves("type")
async def two_thousand_characters_arrive_in_order(app: Writer) -> None:
    await app.show("")
    await app.stage.do(Type(text=TWO_THOUSAND))
    await app.stage.saw(text(TWO_THOUSAND))
    await app.stage.found("the text", app.text, TWO_THOUSAND)


@proves("scroll")
async def the_wheel_scrolls_down_and_up(app: Writer) -> None:
    await app.show(_FULL)
    before = await app.bar()
    done = await app.stage.do(Scroll(element_description=_PAGE, clicks=-6), Scroll(element_description=_PAGE, clicks=1))
    await app.stage.saw(wheel("down", *done.at(), count=6), wheel("up", *done.at(step=1), count=1))
    await app.stage.holds("scrolled down", app.bar, lambda bar: bar > before)


@proves("drag_and_drop")
async def a_drag_over_text_selects_it(app: Writer) -> None:
    await app.show(_FULL)
    done = await app.stage.do(DragAndDrop(starting_description=_PAGE, ending_description="Bold"))
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.holds("the selection", app.selected, lambda taken: len(taken) > 100)


@proves("highlight_text_span")
async def a_span_is_selected_from_its_first_word_to_its_last(app: Writer) -> None:
    await app.show(_FOX)
    done = await app.stage.do(HighlightTextSpan(starting_phrase="second", ending_phrase="wörds"))
    await app.stage.saw_a_drag(done)
    await app.stage.found("the selection", app.selected, "second paragraph has wörds")


@proves("highlight_text_span", quick=True)
async def a_span_over_paragraphs_is_selected(app: Writer) -> None:
    await app.show(_FOX)
    done = await app.stage.do(HighlightTextSpan(starting_phrase="brown fox", ending_phrase="third"))
    await app.stage.saw_a_drag(done)

    async def taken() -> str:
        return (await app.selected()).replace("\r\n", "\n")

    await app.stage.found("the selection", taken, "brown fox jumps.\nA second paragraph has wörds.\nThe third")


@proves("hotkey")
async def a_hotkey_makes_a_selection_bold(app: Writer) -> None:
    await app.show(_FOX)
    done = await app.stage.do(
        HighlightTextSpan(starting_phrase="quick", ending_phrase="fox"), Hotkey(keys=("ctrl", "b"))
    )
    (mark,) = done.step.events
    assert mark.type == "drag"
    await app.stage.saw(drag(mark.x, mark.y, mark.to_x, mark.to_y), key("b", held=["ctrl"]))

    async def bold() -> tuple[str, bool]:
        told = await app.ask("text")
        return told["selected"], told["bold"]

    await app.stage.found("the selection, and whether it is bold", bold, ("quick brown fox", True))


@proves("hotkey")
async def a_hotkey_saves_the_document(app: Writer) -> None:
    await app.show("")
    await app.stage.do(Type(text="words to keep"), Hotkey(keys=("ctrl", "s")))
    await app.stage.saw(text("words to keep"), key("s", held=["ctrl"]))
    await app.stage.found("nothing left to save", app.saved, wanted=True)


@proves("hold_and_press")
async def words_are_selected_by_keys(app: Writer) -> None:
    await app.show(_FOX)
    await app.stage.do(
        Hotkey(keys=("ctrl", "home")), HoldAndPress(hold_keys=("ctrl", "shift"), press_keys=("right", "right"))
    )
    await app.stage.saw(key("Home", held=["ctrl"]), key("Right", held=["ctrl", "shift"], count=2))
    await app.stage.found("the selection", app.selected, "The quick ")


SUITE = Suite("word processor", "soffice", _opened, checks_among(globals()))
