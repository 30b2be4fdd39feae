"""Asking a model what a transition shows: the question, and the facts in its reply. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from agent_s3.actions import Done, Fail
from agent_s3.settings import answer_tokens
from agent_s3.types import Delta, Step
from agent_s3.words import action_words
from bbon import facts
from bbon.crop import Point
from bbon.prompt import render
from bbon.quoting import one_line
from bbon.reply import read_object
from bbon.types import Fact
from llm.chat import Abilities, ImagePart, Message, Request, TextPart

MOST_FACTS = 8
_FACT_SHOWN = 300

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Views:
    """The pictures of a transition as files."""

    marked: bytes
    """The whole screen before, with the pointer's marks; JPEG."""
    after: bytes
    """The whole screen after; PNG."""
    crop: bytes | None
    """The place of the action afterwards, enlarged; PNG. None: there is no such place."""
    place: Point | None
    width: int
    height: int


def shows_something(step: Step) -> bool:
    """Whether a model that sees could add to the computed facts: pixels changed, and there are pictures of it."""
    pictured = step.before is not None and step.after is not None
    return _happened(step) and pictured and step.delta is not None and bool(step.delta.regions)


def tells_more(step: Step) -> bool:
    """Whether a model that only reads could add to the computed facts: more was measured than they tell."""
    return _happened(step) and not facts.suffice(step) and step.delta is not None and bool(step.delta.tree)


def _happened(step: Step) -> bool:
    return step.action is not None and not isinstance(step.action, Done | Fail)


def request(
    step: Step, computed: Sequence[Fact], views: Views | None, abilities: Abilities, *, read: Sequence[str] = ()
) -> Request:
    """The question about one step, with pictures or, when `views` is None, in words only.

    `read`: what OCR read in the changed places afterwards, a quoted line each.
    """
    system = render("narrate", pictures=views is not None, most=MOST_FACTS)
    place = views.place if views else None
    words = render(
        "narrate_step",
        action=one_line(action_words(step.action), 300) if step.action else "no action",
        place=place,
        width=views.width if views else 0,
        height=views.height if views else 0,
        measured=[fact.text for fact in computed] if views else _all_measured(step.delta, computed),
        read=list(read),
    )
    return Request(
        messages=(Message.of("system", TextPart(system, cache=True)), _question(words, views)),
        schema=SCHEMA if abilities.schema else None,
        temperature=0.0,
        max_tokens=answer_tokens(abilities),
    )


def _question(words: str, views: Views | None) -> Message:
    if views is None:
        return Message.of("user", words)
    before = ImagePart(views.marked, media_type="image/jpeg", detail="high")
    after = ImagePart(views.after, detail="high")
    where = "Around the ring, after:" if views.place else "Where most changed, after:"
    crop = (where, ImagePart(views.crop, detail="high")) if views.crop else ()
    return Message.of("user", "Before:", before, words, "After:", after, *crop)


def _all_measured(delta: Delta | None, computed: Sequence[Fact]) -> list[str]:
    """The computed facts and every change of the tree, also those that were only counted."""
    tree = [facts.tree_words(change) for change in delta.tree] if delta else []
    return [*(fact.text for fact in computed), *tree]


class _Reply(BaseModel):
    facts: list[str] = Field(min_length=1)


def read_reply(step: int, text: str) -> tuple[Fact, ...]:
    """The facts in a reply.

    Raises: `ValueError` when it holds none.
    """
    lines = [one_line(line, _FACT_SHOWN) for line in read_object(text, _Reply).facts]
    told = tuple(Fact(step=step, text=line, source="model") for line in lines[:MOST_FACTS] if line)
    if not told:
        raise ValueError("the reply holds only empty facts")
    return told
