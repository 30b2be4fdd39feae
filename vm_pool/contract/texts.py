"""Promises about typing: what arrives in a program's text field, and the clipboard."""

import asyncio
import string
import time

from vm_pool.contract.check import NotApplicable, check, expect
from vm_pool.contract.pace import stretched
from vm_pool.contract.witness import editor
from vm_pool.errors import GuestError
from vm_pool.events import Chord, InputEvent, KeyDown, KeyUp, Text
from vm_pool.machine import Machine, WithClipboard

UNICODE = "é ñ ß € Ж λ 한글 日本語 中文 ع ไทย 😀"
_COPIED_S = 5.0
_LONG = "The quick brown fox jumps over the lazy dog. " * 20


@check("text")
async def every_printable_ascii_character_is_typed(machine: Machine) -> None:
    text = string.ascii_letters + string.digits + string.punctuation + " "
    await _typed(machine, [Text(text=text)], text)


@check("text")
async def any_unicode_is_typed(machine: Machine) -> None:
    await _typed(machine, [Text(text=UNICODE)], UNICODE)


@check("text")
async def newline_and_tab_are_enter_and_tab(machine: Machine) -> None:
    await _typed(machine, [Text(text="one\n\ttwo\n")], "one\n\ttwo\n")


@check("text")
async def a_thousand_characters_arrive_in_order(machine: Machine) -> None:
    await _typed(machine, [Text(text=_LONG)], _LONG)


@check("text")
async def a_held_shift_makes_capitals(machine: Machine) -> None:
    shifted: list[InputEvent] = [KeyDown(key="shift"), Chord(keys=("a",)), KeyUp(key="shift"), Chord(keys=("b",))]
    await _typed(machine, shifted, "Ab")


@check("text")
async def selecting_all_and_typing_replaces(machine: Machine) -> None:
    events: list[InputEvent] = [Text(text="old text"), Chord(keys=("ctrl", "a")), Text(text="new 한")]
    await _typed(machine, events, "new 한")


@check("text")
async def batches_of_text_that_come_at_once_are_not_mixed(machine: Machine) -> None:
    words = ["alpha " * 8, "beta " * 8, "gamma " * 8]
    async with editor(machine) as field:
        await asyncio.gather(*(machine.perform([Text(text=word)]) for word in words))
        await machine.perform([Text(text=".")])
        text = await field.ends_with(".")
    for word in words:
        expect(word in text, f"{word[:10]!r} was typed as one batch; {text[:120]!r} arrived")


@check("clipboard")
async def the_clipboard_keeps_any_text(machine: Machine) -> None:
    clipboard = _clipboard(machine)
    for text in (UNICODE, "line\nline\n", "x" * 100_000):
        await clipboard.set_clipboard(text)
        found = await clipboard.clipboard()
        expect(found == text, f"{text[:40]!r} was put on the clipboard, {(found or '')[:40]!r} came back")
    expect((await machine.look(frozenset({"clipboard"}))).clipboard == "x" * 100_000, "a look shows it too")


@check("clipboard")
async def a_program_pastes_what_was_put_on_the_clipboard(machine: Machine) -> None:
    clipboard = _clipboard(machine)
    async with editor(machine) as field:
        await clipboard.set_clipboard(UNICODE)
        await machine.perform([Chord(keys=("ctrl", "v"))])
        await field.becomes(UNICODE)


@check("clipboard")
async def what_a_program_copies_is_on_the_clipboard(machine: Machine) -> None:
    clipboard = _clipboard(machine)
    async with editor(machine) as field:
        await machine.perform([Text(text="copied é")])
        await field.becomes("copied é")
        await machine.perform([Chord(keys=("ctrl", "a")), Chord(keys=("ctrl", "c"))])
        deadline = time.monotonic() + stretched(_COPIED_S)
        while (found := await clipboard.clipboard()) != "copied é" and time.monotonic() < deadline:  # noqa: ASYNC110 - it is in the machine
            await asyncio.sleep(0.02)
    expect(found == "copied é", f"a program copied 'copied é', the clipboard holds {found!r}")


@check("clipboard")
async def text_too_long_for_the_clipboard_is_refused_or_kept_whole(machine: Machine) -> None:
    clipboard = _clipboard(machine)
    text = "y" * 5_000_000
    try:
        await clipboard.set_clipboard(text)
    except GuestError as error:
        expect("\n" not in str(error), "refused in one line")
        return
    expect(await clipboard.clipboard() == text, "5 MB that were taken come back whole")


async def _typed(machine: Machine, events: list[InputEvent], wanted: str) -> None:
    async with editor(machine) as field:
        await machine.perform(events)
        await field.becomes(wanted)


def _clipboard(machine: Machine) -> WithClipboard:
    if "clipboard" not in machine.info.capabilities or not isinstance(machine, WithClipboard):
        raise NotApplicable("clipboard", "the machine gives no access to its clipboard")
    return machine
