"""Grounding by a vision model: it is shown the screen and answers with a point, or says that it is not there.

A small target is asked for again on an enlarged crop around the first answer: what is a few pixels wide in a shrunk
screenshot is easily missed by as much. A model that does not see it there takes its first answer back.

Source: searching again on a crop around a first guess is the idea of ScreenSeekeR (ScreenSpot-Pro, arXiv 2504.07981,
section 4) and of the zoom actions of providers' computer tools; the sizes are ours.
"""

import asyncio
import io

from PIL import Image

from agent_s3.coordinates import Size, View, around
from agent_s3.grounding import NotFound
from agent_s3.grounding.forms import FORMS, Form, FormName, Place, form_of
from agent_s3.observation import Observation
from agent_s3.prompt import render
from agent_s3.settings import RefineMode, answer_tokens
from agent_s3.tally import Tally, whole
from agent_s3.types import Grounding, Question, Tried
from llm.chat import ChatModel, ImagePart, Message, Request, TextPart
from llm.errors import BadReply
from vm_pool.types import Box, Frame

SMALL = 16
"""An element is small when its shorter side has fewer px than this in the picture that was sent."""
UNKNOWN_SIDE = 20
"""Shorter side in frame px that is taken for granted of elements whose size the model did not tell."""
_CROP_SIDES = 8
"""The crop is so many times as wide and high as the element, within the next two bounds, in frame px."""
_LEAST_CROP = 240
_MOST_CROP = 640
_ENLARGED = 3.0
_REPLY_KEPT = 300


class ModelGrounder:
    """Asks a model that takes images."""

    def __init__(
        self, model: ChatModel, tally: Tally, *, form: FormName | None = None, refine: RefineMode = "small"
    ) -> None:
        """`form` None: told from the model's name."""
        self._model = model
        self._tally = tally
        self._form = FORMS[form or form_of(model.name)]
        self._refine: RefineMode = refine

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        frame = observation.frame
        if frame is None:
            return _miss(phrase, "there is no picture of the screen", ())
        first, asked = await self._ask(frame, phrase, Box(x=0, y=0, width=frame.width, height=frame.height))
        if isinstance(first, str):
            return _miss(phrase, first, (asked,))
        if not self._doubtful(first, frame):
            return _at(observation, phrase, first, (asked,))
        second, again = await self._ask(frame, phrase, _crop(first, frame))
        if isinstance(second, str):
            return _miss(phrase, f"at a closer look {second}", (asked, again))
        return _at(observation, phrase, second, (asked, again))

    async def _ask(self, frame: Frame, phrase: str, part: Box) -> tuple[Place | str, Question]:
        """Where it is in a part of the frame, or why that is not known; and what was asked."""
        view = self._view(frame, part)
        picture = await asyncio.to_thread(encode, frame, view)
        try:
            request = _request(self._form, picture, phrase, view, frame, answer_tokens(self._model.abilities))
            completion = await self._tally.ask(self._model, request, role="grounding")
            reply = completion.text
        except BadReply as error:
            reply = whole(error.reply)
        answer = self._form.read(reply)
        place = self._form.place(answer, view) if answer and answer.found else None
        question = Question(
            model=self._model.name,
            part=part,
            width=view.width,
            height=view.height,
            reply=reply[:_REPLY_KEPT],
            x=place.at.x if place else None,
            y=place.at.y if place else None,
        )
        if answer is None:
            return "the grounding model gave no usable point", question
        if not answer.found:
            return "it was not seen on the screen", question
        return place or f"the grounding model pointed outside the screen, to ({answer.x:g}, {answer.y:g})", question

    def _view(self, frame: Frame, part: Box) -> View:
        is_all = part.width == frame.width and part.height == frame.height
        return View.of(part, self._form.limits, enlarge=1.0 if is_all else _ENLARGED)

    def _doubtful(self, place: Place, frame: Frame) -> bool:
        """Whether a closer look may find a better point."""
        crop = _crop(place, frame)
        if self._refine == "never" or (crop.width, crop.height) == (frame.width, frame.height):
            return False
        whole_frame = Box(x=0, y=0, width=frame.width, height=frame.height)
        return self._refine == "always" or _side(place) * self._view(frame, whole_frame).scale < SMALL


def encode(frame: Frame, view: View) -> bytes:
    """The view's part of the frame as a PNG file of the view's size."""
    part = view.part
    image = frame.image()
    if (part.width, part.height) != image.size:
        image = image.crop((part.x, part.y, part.x + part.width, part.y + part.height))
    if (view.width, view.height) != image.size:
        sharper = Image.Resampling.LANCZOS if view.scale > 1 else Image.Resampling.BILINEAR
        image = image.resize((view.width, view.height), sharper)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _side(place: Place) -> float:
    """The shorter side of the element, in frame px."""
    return min(place.width, place.height) or UNKNOWN_SIDE


def _crop(place: Place, frame: Frame) -> Box:
    longest = max(place.width, place.height) or UNKNOWN_SIDE
    side = round(min(_MOST_CROP, max(_LEAST_CROP, longest * _CROP_SIDES)))
    return around(place.at, Size(side, side), Box(x=0, y=0, width=frame.width, height=frame.height))


def _request(form: Form, picture: bytes, phrase: str, view: View, frame: Frame, most_tokens: int) -> Request:
    is_part = (view.part.width, view.part.height) != (frame.width, frame.height)
    prompt = render(
        form.prompt, phrase=phrase, width=view.width, height=view.height, part=is_part, per_mille=form.per_mille
    )
    message = Message.of("user", ImagePart(picture, detail="high"), TextPart(prompt))
    temperature = 0.0 if form.greedy else None
    return Request(messages=(message,), schema=form.schema, max_tokens=most_tokens, temperature=temperature)


def _miss(phrase: str, reason: str, questions: tuple[Question, ...]) -> NotFound:
    return NotFound(phrase, reason, tried=(Tried(by="model", reason=reason, questions=questions),))


def _at(observation: Observation, phrase: str, place: Place, questions: tuple[Question, ...]) -> Grounding:
    x, y = observation.display.to_screen(place.at)
    box = None
    if place.width >= 1 and place.height >= 1 and observation.frame is not None:
        size, frame = Size(round(place.width), round(place.height)), observation.frame
        inside = around(place.at, size, Box(x=0, y=0, width=frame.width, height=frame.height))
        box = observation.display.box_to_screen(inside)
    tried = (Tried(by="model", questions=questions),)
    return Grounding(phrase=phrase, x=x, y=y, box=box, by="model", tried=tried)
