"""Reading text from pictures."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from drawn_screens import screen

from agent_s3.ocr import Word, lines, words
from vm_pool.types import Box


def texts(found: tuple[Word, ...]) -> list[str]:
    return [word.text for word in found]


NUMBERS = [(20, 20, "Balance"), (300, 20, "-1,234.56"), (20, 60, "Width"), (300, 60, "+7"), (20, 100, "Share 12.5%")]


@pytest.mark.ocr
@pytest.mark.parametrize(("ink", "paper"), [("black", "white"), ("#eeeeee", "#2b2b2b"), ("#222222", "#dde6f0")])
def test_numbers_are_read_with_their_signs_in_light_and_in_dark(ink: str, paper: str):
    frame = screen(NUMBERS, ink=ink, paper=paper)
    assert texts(words(frame)) == ["Balance", "-1,234.56", "Width", "+7", "Share", "12.5%"]


@pytest.mark.ocr
def test_a_word_is_told_where_it_is_on_the_frame_also_when_a_part_of_it_was_read():
    frame = screen([(200, 150, "Cancel"), (420, 150, "Save")])
    whole = {word.text: word.box for word in words(frame)}
    part = words(frame, Box(x=380, y=120, width=200, height=80))
    assert texts(part) == ["Save"]
    assert whole["Cancel"].contains(225, 160)
    for box in (whole["Save"], part[0].box):
        assert abs(box.x - 421) <= 2
        assert abs(box.center[1] - 160) <= 3
        assert 30 <= box.width <= 45
    assert 0.5 < part[0].confidence <= 1


@pytest.mark.ocr
def test_an_empty_screen_and_a_region_beyond_it_hold_no_words():
    frame = screen([(20, 20, "Hello")])
    assert words(screen([])) == ()
    assert words(frame, Box(x=640, y=0, width=50, height=50)) == ()
    assert words(frame, Box(x=100, y=300, width=0, height=10)) == ()
    assert texts(words(frame, Box(x=-50, y=-50, width=300, height=150))) == ["Hello"]


@pytest.mark.ocr
def test_several_threads_may_read_at_once():
    frames = [screen([(20, 20, f"Number {n}00{n}")]) for n in range(1, 6)]
    with ThreadPoolExecutor(5) as threads:
        read = list(threads.map(words, frames))
    assert [texts(found)[1] for found in read] == [f"{n}00{n}" for n in range(1, 6)]


def word(text: str, x: int, y: int, width: int = 40, height: int = 12) -> Word:
    return Word(text, Box(x=x, y=y, width=width, height=height), 0.9)


def test_words_are_put_in_lines_and_a_wide_gap_begins_another():
    found = [
        word("b", 60, 11),
        word("a", 10, 10),
        word("far", 300, 10),
        word("-", 110, 15, 5, 2),
        word("below", 10, 30),
    ]
    assert [[w.text for w in line] for line in lines(found)] == [["a", "b", "-"], ["far"], ["below"]]


def test_a_tall_icon_does_not_make_one_line_of_the_two_beside_it():
    found = [word("one", 60, 10), word("icon", 10, 8, 20, 30), word("two", 60, 26)]
    assert [w.text for w in lines(found)[-1]] == ["two"]


def test_what_is_missing_is_said_in_a_line_with_what_mends_it():
    program = (
        "import sys; sys.modules['tesserocr'] = None\n"
        "import numpy, agent_s3.ocr as ocr; from vm_pool.types import Frame\n"
        "try: ocr.words(Frame(numpy.zeros((9, 9, 3), numpy.uint8), 0.0))\n"
        "except ocr.OcrMissing as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().endswith("tesserocr is not installed; run: pip install 'agent-s3[ocr]'")
