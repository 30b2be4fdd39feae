import io
import math

import pytest
from bbon_stage import make_frame
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent_s3.record import FrameStore
from agent_s3.settings import answer_tokens
from bbon.judge import judge
from bbon.rations import CHARS_PER_TOKEN, PICTURE_TOKENS, ration, sheet
from bbon.types import Candidate, Fact
from llm.chat import Abilities, Completion, ImagePart, Request, Usage
from llm.scripted import ScriptedModel

CHOICE = '{"reasons": "r", "citations": [], "choice": "A", "confidence": 1}'


def tokens(request: Request) -> int:
    """What a question takes: three bytes of text a token, `PICTURE_TOKENS` a picture, and the answer."""
    parts = [part for message in request.messages for part in message.parts]
    pictures = sum(isinstance(part, ImagePart) for part in parts)
    text = sum(len(message.text.encode()) for message in request.messages)
    return math.ceil(text / CHARS_PER_TOKEN) + pictures * PICTURE_TOKENS + request.max_tokens


def long_candidate(index: int, frames: FrameStore, *, words: str) -> Candidate:
    facts = tuple(Fact(step=i // 8, text=f"{words} {i} " * 20, source="delta") for i in range(8 * 50))
    start, end = frames.put(make_frame(1)), frames.put(make_frame(10 + index))
    changes = tuple(f"{words} changed {i}" for i in range(20))
    return Candidate(
        index=index, status="done", facts=facts, first=start, last=end, steps=50, changes=changes, end_state=str(index)
    )


@pytest.mark.parametrize("words", ["the cell B7 now reads -12", "単価は千二百円です"])
@pytest.mark.parametrize(
    "abilities",
    [
        Abilities(schema=True, context_tokens=8_192),
        Abilities(images=True, context_tokens=16_384),
        Abilities(images=True, context_tokens=32_768, max_images=4),
        Abilities(images=True, context_tokens=128_000, max_images=10),
        Abilities(images=True, context_tokens=200_000, max_images=100),
        Abilities(images=True, context_tokens=1_000_000),
    ],
)
async def test_ten_candidates_of_fifty_steps_fit_into_context_and_image_limits(
    frames: FrameStore, abilities: Abilities, words: str
) -> None:
    candidates = [long_candidate(index, frames, words=words) for index in range(10)]
    await frames.flush()
    reply = Completion(text=CHOICE, model="s", usage=Usage(calls=1))
    model = ScriptedModel([lambda _request, _role: reply], abilities=abilities)
    await judge("Write the sum into B7. " * 300, candidates, model, frames)
    request = model.asked[0][1]
    pictures = [part for message in request.messages for part in message.parts if isinstance(part, ImagePart)]
    assert tokens(request) <= abilities.context_tokens
    assert not abilities.max_images or len(pictures) <= abilities.max_images
    assert bool(pictures) == abilities.images
    text = request.messages[1].text
    shares = [len(part.encode()) for part in text.split("<attempt>")[1:]]
    assert len(shares) == 10
    assert max(shares) < 1.5 * min(shares)
    assert "left out" in text or abilities.context_tokens == 1_000_000


@given(
    st.integers(1, 32),
    st.integers(4_000, 1_000_000),
    st.integers(0, 40),
    st.booleans(),
    st.integers(0, 8_000),
)
def test_a_ration_never_passes_the_limits(n: int, context: int, images: int, start: bool, task: int) -> None:
    abilities = Abilities(images=True, context_tokens=context, max_images=images)
    fits = ration(abilities, n, task=task, start=start)
    pictures = (math.ceil(n / fits.per_sheet) if fits.per_sheet else 0) + fits.start
    assert not images or pictures <= images
    used = fits.chars // CHARS_PER_TOKEN + pictures * PICTURE_TOKENS + answer_tokens(abilities)
    assert used <= context or fits.chars == 200 * n
    assert start or not fits.start


def test_models_without_eyes_get_no_pictures_and_all_the_room() -> None:
    blind = ration(Abilities(context_tokens=60_000), 4)
    seeing = ration(Abilities(images=True, context_tokens=60_000), 4)
    assert (blind.per_sheet, blind.start) == (0, False)
    assert (seeing.per_sheet, seeing.start) == (1, True)
    assert blind.chars - seeing.chars == 5 * PICTURE_TOKENS * CHARS_PER_TOKEN


def test_ends_share_sheets_where_a_model_takes_few_pictures() -> None:
    def shown(images: int) -> tuple[int, bool]:
        fits = ration(Abilities(images=True, context_tokens=1_000_000, max_images=images), 10)
        return fits.per_sheet, fits.start

    assert [shown(images) for images in (11, 10, 6, 5, 4, 3, 2, 1)] == [
        (1, True),
        (1, False),
        (2, True),
        (2, False),
        (4, True),
        (4, False),
        (9, False),
        (0, False),
    ]


def test_a_sheet_shows_every_screen_below_its_letter() -> None:
    screens = [(letter, Image.new("RGB", (1920, 1080), colour)) for letter, colour in zip("ABC", COLOURS, strict=True)]
    made = sheet(screens)
    assert made.width == 1920
    assert [made.getpixel(place) for place in ((480, 300), (1440, 300), (480, 900))] == COLOURS
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    assert buffer.tell() > 0


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
