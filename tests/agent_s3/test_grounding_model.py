"""Asking a vision model for a point: forms of coordinates, scaling, and the closer look."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent_s3.coordinates import Point, View
from agent_s3.grounding import NotFound
from agent_s3.grounding.forms import FORMS, form_of
from agent_s3.grounding.model import ModelGrounder
from agent_s3.observation import Observation, observed
from agent_s3.settings import GroundingForm, RefineMode
from agent_s3.tally import Tally
from agent_s3.types import Grounding
from llm.chat import ImagePart, Request
from llm.scripted import ScriptedModel
from vm_pool.providers.fake import fake_info
from vm_pool.types import Box, Frame, Look


def screen(
    width: int,
    height: int,
    *,
    dot: tuple[int, int] | None = None,
    density: int = 1,
    origin: tuple[int, int] = (0, 0),
) -> Observation:
    """A dark screen with a frame of that size, and a white square of 8 px about a point of it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    if dot:
        x, y = dot
        pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
    info = fake_info(width=width // density, height=height // density).model_copy(update={"origin": origin})
    return observed(Look(frame=Frame(pixels, 0.0)), info, ref=None, limit=10)


def picture(request: Request) -> Image.Image:
    part = next(p for p in request.messages[0].parts if isinstance(p, ImagePart))
    return Image.open(io.BytesIO(part.data))


def reply(**answer: Any) -> str:
    return json.dumps({"found": True, "x": 0, "y": 0, "width": 0, "height": 0, **answer})


def sees(*replies: str, name: str = "scripted:inline") -> ScriptedModel:
    return ScriptedModel(list(replies), name=name)


class Eyes:
    """A model that sees the white square, with as little precision as its picture allows."""

    def __init__(self, off: int = 0) -> None:
        self.off = off
        """So many pixels of its picture it is wrong, to the right."""
        self.model = ScriptedModel([self.look] * 2)

    def look(self, request: Request, _role: str) -> str:
        lit = np.argwhere(np.asarray(picture(request).convert("L")) > 100)
        if not len(lit):
            return reply(found=False)
        (top, left), (bottom, right) = lit.min(axis=0).tolist(), lit.max(axis=0).tolist()
        x, y = (left + right) // 2 + self.off, (top + bottom) // 2
        return reply(x=x, y=y, width=right - left + 1, height=bottom - top + 1)


async def ask(model: ScriptedModel, observation: Observation, **options: Any) -> Grounding | NotFound:
    return await ModelGrounder(model, Tally(), **options).locate(observation, "the white square")


async def located(model: ScriptedModel, observation: Observation, **options: Any) -> Grounding:
    answer = await ask(model, observation, **options)
    assert isinstance(answer, Grounding), answer
    return answer


async def test_a_point_is_scaled_from_the_picture_that_was_sent():
    answer = await located(sees(reply(x=720, y=100)), screen(2880, 1440), refine="never")
    assert (answer.x, answer.y, answer.by) == (1441, 201, "model")


async def test_a_small_picture_is_sent_as_it_is_and_a_large_one_within_the_form_s_limits():
    for size, sent in (((320, 200), (320, 200)), ((1920, 1080), (1440, 810)), ((1080, 1920), (810, 1440))):
        model = sees(reply())
        await ask(model, screen(*size), refine="never")
        assert picture(model.asked[0][1]).size == sent


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("openai+http://localhost:8000/v1:ByteDance-Seed/UI-TARS-1.5-7B", "point-pixels"),
        ("openai+http://localhost:8000/v1:UI-TARS-72B-DPO", "point-1000"),
        ("openai+http://localhost:8000/v1:ui-tars-7b-sft", "point-1000"),
        ("openai+http://localhost:8000/v1:Qwen3-VL-8B-Instruct", "json-1000"),
        ("openai:gpt-5", "json-pixels"),
    ],
)
def test_the_form_is_told_from_the_name_of_the_model(name: str, form: GroundingForm):
    assert form_of(name) == form


async def test_a_model_is_asked_in_the_form_of_its_name_and_in_another_one_that_is_set():
    name = "openai+http://x/v1:UI-TARS-1.5-7B"
    absolute = sees("(952,532)", name=name)
    by_name = await located(absolute, screen(1920, 1080), refine="never")
    sent = picture(absolute.asked[0][1]).size
    assert sent == (1904, 1064), "sides are multiples of 28, so that its own preprocessing leaves them"
    assert (by_name.x, by_name.y) == (960, 540)
    assert absolute.asked[0][1].temperature == 0, "as that model is evaluated"
    relative = await located(sees("(250,750)", name=name), screen(1920, 1080), refine="never", form="point-1000")
    assert (relative.x, relative.y) == (480, 810)
    thousandths = await located(sees(reply(x=250, y=750)), screen(1920, 1080), refine="never", form="json-1000")
    assert (thousandths.x, thousandths.y) == (480, 810)


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("(512, 300)", (512, 300)),
        ("<point>512 300</point>", (512, 300)),
        ("click(start_box='(512,300)')", (512, 300)),
        ("<|box_start|>(512,300)<|box_end|>", (512, 300)),
        ("[500, 290, 524, 310]", (512, 300)),
        ("The point is (512.4,300.2).", (512.4, 300.2)),
        ("512 300", (512, 300)),
    ],
)
def test_points_are_read_in_the_ways_that_models_write_them(text: str, point: tuple[float, float]):
    answer = FORMS["point-pixels"].read(text)
    assert answer is not None
    assert (answer.x, answer.y) == point


@pytest.mark.parametrize("text", ["", "I cannot see it.", "(5)", "one, two"])
async def test_a_reply_without_a_point_is_a_miss(text: str):
    talker = ScriptedModel([lambda _request, _role: text])
    assert isinstance(await ask(talker, screen(640, 400), form="point-pixels"), NotFound)


async def test_a_point_beyond_the_picture_is_a_miss_and_the_last_pixel_is_not():
    miss = await ask(sees(reply(x=320, y=10)), screen(320, 200))
    assert isinstance(miss, NotFound)
    assert "outside the screen" in miss.reason
    corner = await located(sees(reply(x=319, y=199)), screen(320, 200), refine="never")
    assert (corner.x, corner.y) == (319, 199)


async def test_a_point_on_a_dense_display_and_on_another_monitor_is_given_in_screen_pixels():
    dense = await located(Eyes().model, screen(3840, 2160, dot=(1000, 600), density=2))
    assert abs(dense.x - 500) <= 1
    assert abs(dense.y - 300) <= 1
    left = await located(Eyes().model, screen(1920, 1080, dot=(1000, 600), origin=(-1920, 50)))
    assert abs(left.x - (1000 - 1920)) <= 1
    assert abs(left.y - 650) <= 1


async def test_a_small_target_is_asked_for_again_on_an_enlarged_crop_and_found_to_the_pixel():
    eyes = Eyes(off=9)
    answer = await located(eyes.model, screen(3840, 2160, dot=(3000, 1500)))
    first, second = answer.tried[0].questions
    assert first.x is not None
    assert first.x - 3000 > 20, "24 px beside it"
    assert second.part.width < 600
    assert second.width > second.part.width
    assert abs(answer.x - 3000) <= 4
    assert abs(answer.y - 1500) <= 1
    assert answer.box is not None
    assert answer.box.width <= 12


@pytest.mark.parametrize(("refine", "asked"), [("never", 1), ("small", 1), ("always", 2)])
async def test_how_often_a_large_target_is_asked_for_is_a_setting(refine: RefineMode, asked: int):
    large = reply(x=700, y=400, width=300, height=60)
    model = sees(large, reply(x=300, y=300, width=300, height=60))
    await located(model, screen(1920, 1080), refine=refine)
    assert len(model.asked) == asked


async def test_a_small_target_is_asked_for_once_where_that_is_set():
    model = sees(reply(x=700, y=400, width=8, height=8))
    await located(model, screen(1920, 1080), refine="never")
    assert len(model.asked) == 1


async def test_a_screen_that_is_no_larger_than_a_crop_is_not_asked_for_again():
    model = sees(reply(x=100, y=100, width=8, height=8))
    await located(model, screen(240, 200), refine="always")
    assert len(model.asked) == 1


async def test_a_target_that_is_not_there_at_a_closer_look_is_a_miss_that_says_so():
    model = sees(reply(x=700, y=400, width=8, height=8), reply(found=False))
    miss = await ask(model, screen(1920, 1080))
    assert isinstance(miss, NotFound)
    assert miss.reason == "at a closer look it was not seen on the screen"
    assert [q.x is None for q in miss.tried[0].questions] == [False, True]


def test_the_answer_s_own_size_is_scaled_with_its_point():
    view = View(Box(x=100, y=0, width=200, height=100), 400, 200)
    answer = FORMS["json-pixels"].read(reply(x=200, y=100, width=40, height=20))
    assert answer is not None
    place = FORMS["json-pixels"].place(answer, view)
    assert place is not None
    assert (place.at, place.width, place.height) == (Point(200, 50), 20, 10)
