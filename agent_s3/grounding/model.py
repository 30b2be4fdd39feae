"""Grounding by a vision model: it is shown the screen and answers with a point, or says that it is not there."""

import asyncio
import io
from dataclasses import dataclass

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from agent_s3.grounding import NotFound
from agent_s3.observation import Observation
from agent_s3.prompt import render
from agent_s3.settings import answer_tokens
from agent_s3.tally import Tally
from agent_s3.types import Grounding
from llm.chat import ChatModel, ImagePart, Message, Request, TextPart
from llm.errors import BadReply
from vm_pool.types import Frame

MAX_SIDE = 1440
"""Longest side of the picture sent, in px: below what providers shrink on their side, so that we know the scale."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    found: bool
    x: float = 0
    y: float = 0


_SCHEMA = {
    "type": "object",
    "properties": {"found": {"type": "boolean"}, "x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["found", "x", "y"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Sent:
    """The picture as the model gets it, and its size in pixels."""

    data: bytes
    width: int
    height: int


class ModelGrounder:
    """Asks a model that takes images."""

    def __init__(self, model: ChatModel, tally: Tally) -> None:
        self._model = model
        self._tally = tally

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        if observation.frame is None:
            return NotFound(phrase, "there is no picture of the screen")
        sent = await asyncio.to_thread(shrink, observation.frame)
        try:
            request = _request(sent, phrase, answer_tokens(self._model.abilities))
            completion = await self._tally.ask(self._model, request, role="grounding")
            answer = _Answer.model_validate_json(_only_object(completion.text))
        except (BadReply, ValidationError):
            return NotFound(phrase, "the grounding model gave no usable point")
        if not answer.found:
            return NotFound(phrase, "it was not seen on the screen")
        return place(phrase, answer.x, answer.y, sent, observation)


def shrink(frame: Frame) -> Sent:
    """Scale the frame down to `MAX_SIDE`, keeping its shape; smaller frames stay as they are."""
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    image = frame.image() if scale == 1.0 else frame.image().resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return Sent(buffer.getvalue(), *size)


def place(phrase: str, x: float, y: float, sent: Sent, observation: Observation) -> Grounding | NotFound:
    """From pixels of the sent picture to pixels of the screen."""
    if not (0 <= x < sent.width and 0 <= y < sent.height):
        return NotFound(phrase, f"the grounding model pointed outside the screen, to ({x:g}, {y:g})")
    to_x = min(observation.width - 1, int((x + 0.5) * observation.width / sent.width))
    to_y = min(observation.height - 1, int((y + 0.5) * observation.height / sent.height))
    return Grounding(phrase=phrase, x=to_x, y=to_y, by="model")


def _request(sent: Sent, phrase: str, most_tokens: int) -> Request:
    prompt = render("ground", phrase=phrase, width=sent.width, height=sent.height)
    message = Message.of("user", ImagePart(sent.data, detail="high"), TextPart(prompt))
    return Request(messages=(message,), schema=_SCHEMA, max_tokens=most_tokens)


def _only_object(text: str) -> str:
    """From the first brace to the last, for models that fence their JSON."""
    return text[text.find("{") : text.rfind("}") + 1]
