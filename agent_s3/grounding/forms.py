"""How a grounding model is asked, and what the coordinates in its reply mean. Pure.

Models are trained on one form and bad at all others, and those of one family differ: UI-TARS-72B and the first 7B
answer in thousandths of the picture's sides, UI-TARS-1.5-7B in pixels of the picture as its own preprocessing resized
it, which leaves pictures alone whose sides are multiples of 28.

Source: bytedance/UI-TARS, `README_evaluation.md` (both coordinate conventions, the patch size, greedy decoding) and its
question for single points; simular-ai/Agent-S, `README.md`, where the grid is set per model as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from agent_s3.coordinates import Limits, Point, View
from agent_s3.settings import GroundingForm
from llm.chat import Json

FormName = GroundingForm
"""What the reply is, and what its coordinates are: pixels of the picture sent, or thousandths of its sides."""

_PER_MILLE = 1000
_PATCH = 28
_KNOWN: tuple[tuple[re.Pattern[str], FormName], ...] = (
    (re.compile(r"ui-?tars-?1\.5", re.IGNORECASE), "point-pixels"),
    (re.compile(r"ui-?tars", re.IGNORECASE), "point-1000"),
    (re.compile(r"qwen-?3(\.\d+)?-?vl|gemini", re.IGNORECASE), "json-1000"),
)
"""Names of models -> the form that they are trained on; the first that fits. All others: `json-pixels`."""
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "found": {"type": "boolean"},
        "x": {"type": "integer"},
        "y": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
    },
    "required": ["found", "x", "y", "width", "height"],
    "additionalProperties": False,
}


class Answer(BaseModel):
    """What a model said, in its own coordinates."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    found: bool
    x: float = 0
    y: float = 0
    width: float = 0
    """Of the element; 0: it did not say."""
    height: float = 0


@dataclass(frozen=True)
class Place:
    """Where an answer points to, in frame px."""

    at: Point
    width: float = 0
    """Of the element; 0: not known."""
    height: float = 0


@dataclass(frozen=True)
class Form:
    """One way to ask and to answer."""

    prompt: str
    """Name of the prompt file."""
    limits: Limits
    schema: Json | None = None
    """None: the reply is text with two numbers."""
    greedy: bool = False
    """Asked at temperature 0."""
    per_mille: bool = False
    """Coordinates are thousandths of the picture's sides, not its pixels."""

    def read(self, text: str) -> Answer | None:
        """What a reply says; None: nothing that can be used."""
        if self.schema is None:
            return _two_numbers(text)
        try:
            return Answer.model_validate_json(_only_object(text))
        except ValidationError:
            return None

    def place(self, answer: Answer, view: View) -> Place | None:
        """Where it points to; None: beyond the picture."""
        at = (
            view.share_to_frame(answer.x, answer.y, of=_PER_MILLE)
            if self.per_mille
            else view.to_frame(answer.x, answer.y)
        )
        if at is None:
            return None
        wide, high = (_PER_MILLE, _PER_MILLE) if self.per_mille else (view.width, view.height)
        across, down = view.part.width / wide, view.part.height / high
        return Place(at, max(0.0, answer.width) * across, max(0.0, answer.height) * down)


FORMS: Mapping[FormName, Form] = {
    "json-pixels": Form("ground", Limits(1440), _SCHEMA),
    "json-1000": Form("ground", Limits(1440), _SCHEMA, per_mille=True),
    "point-pixels": Form("ground_point", Limits(1932, multiple=_PATCH), greedy=True),
    "point-1000": Form("ground_point", Limits(1932), greedy=True, per_mille=True),
}
"""The pictures stay below what providers shrink on their side."""


def form_of(model: str) -> FormName:
    """The form for a model spec, told from the model's name."""
    for pattern, form in _KNOWN:
        if pattern.search(model):
            return form
    return "json-pixels"


def _two_numbers(text: str) -> Answer | None:
    """The first point in a text: `(512, 300)`, `<point>512 300</point>`, `click(start_box='(512,300)')`.

    Of a box, which are four numbers in one pair of brackets, it is the middle.
    """
    inner = re.search(r"[(\[>]\s*(-?\d[^()\[\]<>]*)", text)
    numbers = [float(n) for n in _NUMBERS.findall(inner[1] if inner else text)]
    if len(numbers) == 4 and numbers[2] >= numbers[0] and numbers[3] >= numbers[1]:
        left, top, right, bottom = numbers
        return Answer(found=True, x=(left + right) / 2, y=(top + bottom) / 2, width=right - left, height=bottom - top)
    return Answer(found=True, x=numbers[0], y=numbers[1]) if len(numbers) in (2, 3) else None


def _only_object(text: str) -> str:
    """From the first brace to the last, for models that fence their JSON."""
    return text[text.find("{") : text.rfind("}") + 1]
