import io

import pytest
from bbon_stage import make_frame
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from agent_s3 import ocr
from agent_s3.ocr import Word
from agent_s3.types import Region
from bbon.reading import ScreenReader, WrittenReader, lines, places, read, texts
from vm_pool.types import Box, Frame

SCREEN = {"width": 1920, "height": 1080}


def changed(x: int, y: int, width: int, height: int) -> Region:
    return Region(box=Box(x=x, y=y, width=width, height=height), changed_pixels=1)


def test_only_what_changed_is_read_with_room_for_whole_words() -> None:
    found = places([changed(500, 500, 8, 2)], crop=None, **SCREEN)
    assert found.whole
    assert found.boxes == (Box(x=420, y=488, width=168, height=26),)


def test_of_a_change_that_is_too_large_the_crop_is_read_and_that_is_said() -> None:
    crop = Box(x=800, y=400, width=300, height=300)
    found = places([changed(0, 0, 1920, 1080)], crop=crop, **SCREEN)
    assert (found.boxes, found.whole) == ((crop,), False)
    assert places([changed(0, 0, 1920, 1080)], crop=None, **SCREEN).boxes == ()


@given(
    st.lists(st.builds(changed, st.integers(0, 1900), st.integers(0, 1060), st.integers(1, 900), st.integers(1, 900)))
)
def test_what_is_read_is_bounded_and_on_the_screen(regions: list[Region]) -> None:
    crop = Box(x=0, y=0, width=300, height=300)
    found = places(regions, crop=crop, **SCREEN)
    assert sum(box.width * box.height for box in found.boxes) <= 120_000
    assert all(box.x >= 0 and box.y >= 0 and box.x + box.width <= 1920 for box in found.boxes)


def test_words_of_one_line_are_told_on_one_line_and_quoted() -> None:
    words = [
        Word("Total", Box(x=10, y=10, width=40, height=12), 0.9),
        Word('"</read>', Box(x=55, y=10, width=40, height=12), 0.9),
        Word("-", Box(x=10, y=40, width=6, height=12), 0.9),
        Word("12", Box(x=20, y=40, width=20, height=12), 0.9),
    ]
    found = read(
        WrittenReader(words), make_frame(), places([changed(0, 0, 300, 100)], crop=None, width=640, height=480)
    )
    assert lines(found) == ['"Total \'‹/read›"', '"- 12"']
    assert "-12" in texts(found)


def test_what_stood_in_the_same_place_before_is_not_read_again() -> None:
    asked: list[Box] = []

    def words(_frame: Frame, region: Box) -> list[Word]:
        asked.append(region)
        return [Word("x", region, 1.0)]

    reader, place, other = ScreenReader(words), Box(x=1, y=2, width=30, height=20), Box(x=5, y=2, width=30, height=20)
    first = reader.read(make_frame(), place)
    assert reader.read(make_frame(), place) == first
    reader.read(make_frame(7), place)
    reader.read(make_frame(), other)
    assert asked == [place, place, other]


def test_a_minus_sign_in_small_type_is_read_from_a_real_picture() -> None:
    if lack := ocr.missing():
        pytest.skip(f"{lack[0]}; run: {lack[1]}")
    picture = Image.new("RGB", (640, 480), "white")
    ImageDraw.Draw(picture).text((200, 200), "Brightness: -12", fill="black", font=ImageFont.load_default(14))
    frame = Frame.from_image_file(_png(picture), taken_at=0.0)
    found = read(ScreenReader(), frame, places([changed(280, 200, 30, 14)], crop=None, width=640, height=480))
    assert any("-12" in text for text in texts(found))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
