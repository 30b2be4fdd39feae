from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_s3.ocr import Word
from agent_s3.types import ClipboardChange, Delta, Region, TreeChange, WindowChange
from bbon.contradictions import Measured, contradiction, numbers, support
from bbon.reading import Reading
from bbon.types import Evidence
from vm_pool.types import Box, FileChange

BOX = Box(x=10, y=10, width=80, height=20)
PIXELS = Delta(regions=(Region(box=BOX, changed_pixels=9),))


def delta(**fields: Any) -> Delta:
    return PIXELS.model_copy(update=fields)


def read(*words: str, whole: bool = True) -> Reading:
    placed = [Word(text, Box(x=60 * i, y=10, width=50, height=12), 0.9) for i, text in enumerate(words)]
    return Reading(tuple(placed), whole)


ALL = Measured(PIXELS, crop=BOX, lists_windows=True, keeps_journal=True)


def measured(of: Delta = PIXELS, **fields: Any) -> Measured:
    return replace(ALL, delta=of, **fields)


OPENED = delta(windows=(WindowChange(kind="opened", title="Save As", app="Mousepad"),))
SAVED = delta(files=(FileChange(path="/home/user/Documents/report.txt", kind="modified", size=3, size_before=1),))
TICKED = delta(
    tree=(TreeChange(kind="changed", role="check-box", name="Bold", field="states", before="", after="checked"),)
)
SLIDER = delta(
    tree=(TreeChange(kind="changed", role="slider", name="Brightness", field="value", before="0", after="-12"),)
)

FALSE: list[tuple[str, Measured]] = [
    ("Nothing changed.", measured()),
    ("No visible change.", measured(OPENED)),
    ("There are no differences", measured(SAVED)),
    ("The screen looks the same.", measured()),
    ("A menu opened.", measured(Delta())),
    ('A window titled "Open File" appeared.', measured(OPENED)),
    ('A dialog titled "Open File" appeared.', measured(OPENED, reading=read("Save", "As"))),
    ('The window "Untitled 1" was closed.', measured()),
    ("The file budget.ods was saved.", measured(SAVED)),
    ("The file report.txt was deleted.", measured(SAVED)),
    ("The file 'notes.txt' was created on the desktop.", measured()),
    ('The check box "Bold" is now unchecked.', measured(TICKED)),
    ("The slider now reads 12.", measured(SLIDER, reading=read("-12"))),
    ("The slider's value changed to 12.", measured(reading=read("Brightness", "−12".replace("−", "-")))),
    ("The total shows 1,250.", measured(reading=read("Total", "1,520"))),
    ("The cell now shows “-3.5”.", measured(reading=read("3.5", whole=False))),
]
TRUE: list[tuple[str, Measured]] = [
    ("Nothing changed.", measured(Delta())),
    ("Nothing changed in the toolbar.", measured()),
    ("The menu is still open.", measured(Delta())),
    ("A menu opened.", measured(Delta(settled=False))),
    ('A dialog titled "Save As" appeared.', measured(OPENED)),
    ('The window "Save As…" opened.', measured(OPENED)),
    ("A dialog opened.", measured()),
    ('A dialog titled "Cookies" appeared in the page.', measured(OPENED)),
    ('A dialog "Preferences" opened.', measured(reading=read("Preferences"))),
    ('A dialog "Preferences" opened.', measured(lists_windows=False)),
    ('The window "notes" did not open.', measured()),
    ('The text in the window "notes.txt" changed.', measured()),
    ("The file report.txt was saved.", measured(SAVED)),
    ("The file budget.ods was saved.", measured(keeps_journal=False)),
    ("The file budget.ods was not saved.", measured(SAVED)),
    ("The title says budget.ods was opened from a file.", measured(SAVED)),
    ('The check box "Bold" is now checked.', measured(TICKED)),
    ('The check box "Italic" is now unchecked.', measured(TICKED)),
    ("The slider now reads -12.", measured(SLIDER, reading=read("12"))),
    ("The slider now reads −12.", measured(reading=read("-", "12"))),
    ("The total shows 1250.", measured(reading=read("1,250.00"))),
    ("The list now shows 3 rows.", measured(reading=read("1,250"))),
    ("The value went from 7 to 8.", measured(reading=read("8"))),
    ("The total shows 9.", measured(reading=read("8", whole=False))),
    ("The total shows 9.", measured(reading=read("Total"))),
    ("The total shows 9.", measured()),
    (
        "The clipboard now holds 77.",
        measured(delta(clipboard=ClipboardChange(before=None, after="77")), reading=read("8")),
    ),
    ("The terminal shows 42.", measured(said=("code printed 42",), reading=read("8"))),
]


@pytest.mark.parametrize(("text", "seen"), FALSE)
def test_what_contradicts_the_measurement_is_found(text: str, seen: Measured) -> None:
    assert contradiction(text, seen) is not None


@pytest.mark.parametrize(("text", "seen"), TRUE)
def test_what_may_be_true_is_believed(text: str, seen: Measured) -> None:
    assert contradiction(text, seen) is None


@given(st.text(max_size=200))
def test_any_text_can_be_checked(text: str) -> None:
    contradiction(text, measured(SLIDER, reading=read("-12")))
    support(text, measured(SAVED, reading=read("-12")))


@given(st.integers(-(10**7), 10**7), st.sampled_from(["{}", "{:,}", "it is {} now", "({:,})"]))
def test_numbers_are_read_by_value(number: int, form: str) -> None:
    assert float(number) in numbers(form.format(number))


def test_a_fact_says_what_it_rests_on() -> None:
    seen = measured(SAVED.model_copy(update={"windows": OPENED.windows}), reading=read("total", "-12"))
    assert support("The file report.txt was saved; it reads -12.", seen) == (
        Evidence(kind="screen", box=BOX),
        Evidence(kind="file", name="/home/user/Documents/report.txt"),
        Evidence(kind="text", box=Box(x=60, y=10, width=50, height=12), name="-12"),
    )
    assert support("Something else.", seen) == (Evidence(kind="screen", box=BOX),)
