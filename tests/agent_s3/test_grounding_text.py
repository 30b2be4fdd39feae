"""Finding elements by the text that the picture of the screen shows."""

import numpy as np
import pytest
from drawn_screens import Said, screen
from hypothesis import given
from hypothesis import strategies as st

from agent_s3.grounding import NotFound
from agent_s3.grounding.reading import ScreenReader
from agent_s3.grounding.spans import best, find, find_ends
from agent_s3.grounding.text import TextGrounder, wanted_text
from agent_s3.observation import Observation, observed
from agent_s3.ocr import OcrMissing, Word, words
from agent_s3.types import Grounding
from vm_pool.providers.fake import fake_info
from vm_pool.types import Box, Frame, Look


def row(text: str, y: int = 10, x: int = 10, confidence: float = 0.9) -> list[Word]:
    """Words of one line, ten px a letter."""
    found: list[Word] = []
    for word in text.split():
        found.append(Word(word, Box(x=x, y=y, width=10 * len(word), height=12), confidence))
        x += 10 * len(word) + 8
    return found


PAGE = [*row("File Edit View"), *row("Save As ...", 40), *row("Save", 70), *row("Total: -1,204.00 balance", 100)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("edit", ["Edit"]),
        ("Save As…", ["Save As"]),
        ("total -1,204.00", ["Total: -1,204.00"]),
        ("-1204.00", ["-1,204.00"]),
        ("Vlew", ["View"]),
        ("balence -", []),
        ("Total: -1.204,00 bolance", ["Total: -1,204.00 balance"]),
        ("Total: -1,204.06 balance", []),
        ("Help", []),
        ("...", []),
    ],
)
def test_a_text_is_found_by_its_letters_whatever_the_reader_made_of_spaces_and_signs(text: str, read: list[str]):
    assert [found.text for found in find(PAGE, text)] == read


def test_a_text_is_told_from_a_longer_one_that_begins_alike():
    assert [(f.box.y, f.alone) for f in find(PAGE, "Save")] == [(40, False), (70, True)]
    assert [f.box.y for f in best(find(PAGE, "Save"), "Save")] == [70]


def test_case_decides_where_nothing_else_does():
    twice = [*row("save it"), *row("Save it", 40)]
    assert [f.box.y for f in best(find(twice, "Save it"), "Save it")] == [40]


def test_the_score_says_what_was_wrong():
    exact, alike, near = find(PAGE, "View")[0], find(PAGE, "V1ew")[0], find(row("preferances"), "preferences")[0]
    assert exact.score == 0.9
    assert exact.score > alike.score > near.score > 0.7


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=6), min_size=1, max_size=8), st.data())
def test_any_run_of_words_is_found_where_it_is(said: list[str], data: st.DataObject):
    first = data.draw(st.integers(0, len(said) - 1))
    last = data.draw(st.integers(first, len(said) - 1))
    there = row(" ".join(said))
    found = find(there, " ".join(said[first : last + 1]))
    assert tuple(there[first : last + 1]) in [f.words for f in found]


def test_a_text_is_selected_from_its_first_to_its_last_words_and_the_shortest_one():
    text = [*row("the old man and the sea"), *row("was the end of the man", 40)]
    ends = find_ends(text, "the", "man")
    assert ends is not None
    assert (ends.first.y, ends.last.y) == (40, 40), "the last two words, not three of the first line"
    over_lines = find_ends(text, "and the", "was")
    assert over_lines is not None
    assert (over_lines.first.y, over_lines.last.y) == (10, 40)
    assert find_ends(text, "sea", "old") is None
    assert find_ends(text, "ship", "man") is None
    one = find_ends(text, "sea", "sea")
    assert one is not None
    assert one.first == one.last


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("the Save button", "Save"),
        ("the Save As item in the File menu", "Save As"),
        ('the button labelled "OK"', "OK"),
        ("“Cancel”", "Cancel"),
        ("Documents - Thunar", "Documents - Thunar"),
        ("the row 10 cell of the table", "row 10"),
        ("the Name field", None),
        ("the volume slider", None),
        ("the search icon of the toolbar", None),
        ("the first button", None),
    ],
)
def test_what_an_element_must_show_is_taken_from_the_phrase(phrase: str, text: str | None):
    assert wanted_text(phrase) == text


def seen(frame: Frame, density: int = 1) -> Observation:
    info = fake_info(width=frame.width // density, height=frame.height // density)
    return observed(Look(frame=frame), info, ref=None, limit=10)


MENU = [(30, 30, "Open"), (150, 30, "Preferences"), (30, 200, "Cancel"), (300, 200, "Open")]


async def locate(phrase: str, *, density: int = 1) -> Grounding | NotFound:
    return await TextGrounder(ScreenReader()).locate(seen(screen(MENU), density), phrase)


@pytest.mark.ocr
async def test_a_button_is_found_on_the_picture_by_its_text():
    answer = await locate("the Preferences button")
    assert isinstance(answer, Grounding)
    assert answer.box is not None
    assert answer.box.contains(answer.x, answer.y)
    assert abs(answer.x - 195) < 6
    assert abs(answer.y - 39) < 6
    assert (answer.by, answer.element) == ("ocr", "text Preferences")
    assert answer.score is not None
    assert answer.score > 0.7


@pytest.mark.ocr
async def test_what_is_read_on_a_dense_display_is_clicked_in_screen_pixels():
    answer = await locate("the Preferences button", density=2)
    assert isinstance(answer, Grounding)
    assert abs(answer.x - 97) < 4


@pytest.mark.ocr
async def test_a_text_in_several_places_is_a_miss_that_says_where_they_are():
    miss = await locate("the Open button")
    assert isinstance(miss, NotFound)
    assert "several places" in miss.message
    assert len(miss.nearest) == 2
    assert [tried.by for tried in miss.tried] == ["ocr"]


@pytest.mark.ocr
async def test_a_text_that_is_not_there_is_a_miss():
    miss = await locate("the Print button")
    assert isinstance(miss, NotFound)
    assert miss.reason == "no text on the screen reads 'Print'"


async def test_where_text_cannot_be_read_it_is_a_miss_and_the_user_is_told_what_to_install(
    caplog: pytest.LogCaptureFixture,
):
    def cannot(_frame: Frame, _part: Box | None) -> tuple[Word, ...]:
        raise OcrMissing("text cannot be read; run: do this")

    miss = await TextGrounder(ScreenReader(cannot)).locate(seen(screen(MENU)), "the Open button")
    assert isinstance(miss, NotFound)
    assert miss.reason == "text is not read from pictures here"
    assert "run: do this" in caplog.text


class Counting:
    """Reads, and notes what it was asked to read."""

    def __init__(self) -> None:
        self.parts: list[Box | None] = []

    def __call__(self, frame: Frame, part: Box | None) -> tuple[Word, ...]:
        self.parts.append(part)
        return words(frame, part)


FRUIT = ["apples", "pears", "plums", "cherries", "grapes", "lemons", "melons", "figs", "dates", "olives"]
ROWS: list[Said] = [(30, 30 + 30 * n, f"Buy {fruit} today") for n, fruit in enumerate(FRUIT)]


def texts(found: tuple[Word, ...]) -> set[str]:
    return {word.text for word in found}


@pytest.mark.ocr
async def test_only_what_changed_is_read_again():
    read = Counting()
    reader = ScreenReader(read)
    before = await reader.words(screen(ROWS))
    after = await reader.words(screen([*ROWS[:4], (30, 150, "Quite another text"), *ROWS[5:]]))
    assert read.parts[0] is None
    assert len(read.parts) == 2
    part = read.parts[1]
    assert part is not None
    assert part.height < 90
    assert part.y < 150 < 165 < part.y + part.height
    assert texts(after) - texts(before) == {"Quite", "another", "text"}
    assert texts(before) - texts(after) == {"grapes"}


@pytest.mark.ocr
async def test_a_screen_that_was_left_a_moment_ago_is_not_read_again():
    read = Counting()
    reader = ScreenReader(read)
    first = await reader.words(screen(ROWS))
    await reader.words(screen(ROWS[:8]))
    asked = len(read.parts)
    assert await reader.words(screen(ROWS)) == first
    assert len(read.parts) == asked


@pytest.mark.ocr
async def test_a_word_that_grows_is_read_as_a_whole():
    reader = ScreenReader()
    await reader.words(screen([(30, 30, "Doc"), (30, 100, "Rest")]))
    assert texts(await reader.words(screen([(30, 30, "Documents"), (30, 100, "Rest")]))) == {"Documents", "Rest"}
    assert texts(await reader.words(screen([(30, 100, "Rest")]))) == {"Rest"}


@pytest.mark.parametrize("frames", [(ROWS, []), ([], ROWS)])
async def test_a_screen_that_changed_for_the_most_part_is_read_at_once(frames: tuple[list[Said], list[Said]]):
    asked: list[Box | None] = []

    def read(_frame: Frame, part: Box | None) -> tuple[Word, ...]:
        asked.append(part)
        return ()

    reader = ScreenReader(read)
    for said in frames:
        await reader.words(screen(said, width=180, height=340))
    assert asked == [None, None]


async def test_a_screen_of_another_size_is_read_as_a_whole():
    asked: list[Box | None] = []

    def read(_frame: Frame, part: Box | None) -> tuple[Word, ...]:
        asked.append(part)
        return ()

    reader = ScreenReader(read)
    for width in (320, 300):
        await reader.words(Frame(np.zeros((200, width, 3), np.uint8), 0.0))
    assert asked == [None, None]
