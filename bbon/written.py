"""Judging by one written multiple-choice answer: choice, confidence, cited facts and reasons, in JSON."""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent_s3.record import FrameStore
from agent_s3.settings import answer_tokens
from agent_s3.types import FrameRef
from bbon.errors import JudgeError
from bbon.evidence import Told, told
from bbon.letters import LETTERS
from bbon.prompt import render
from bbon.quoting import one_line
from bbon.reply import read_object
from bbon.types import Ballot, Candidate, Citation
from llm.chat import Abilities, ChatModel, Completion, ImagePart, Message, Part, Request, Usage
from llm.errors import BadReply, ContextTooLong

log = logging.getLogger(__name__)

MOST_REPLIES = 3
_CHARS_PER_TOKEN = 3
_PROMPT_TOKENS = 900
_PICTURE_TOKENS = 1_600
_EVIDENCE_CHARS = 200_000


class Cited(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: str
    step: int
    """From 1, as shown."""


class Answer(BaseModel):
    """The judge's reply."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reasons: str = Field(min_length=1)
    citations: tuple[Cited, ...]
    choice: str
    confidence: float = Field(ge=0, le=1)


class Opinion(NamedTuple):
    """A usable answer, in rollout indices."""

    ballot: Ballot
    confidence: float
    reasons: str
    citations: tuple[Citation, ...]
    usage: Usage


async def ask(
    task: str, candidates: Sequence[Candidate], model: ChatModel, frames: FrameStore, *, seed: int
) -> Opinion:
    """One question over all candidates in shuffled order; an unusable answer is asked again, with the reason.

    Raises: `JudgeError` after `MOST_REPLIES` unusable answers, errors of `llm.errors`, `RecordError`.
    """
    order = list(candidates)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible shuffle, no secret
    limit = room(model.abilities, len(order))
    talk = _Talk(task, order, model, frames, limit, await _messages(task, order, model.abilities, frames, limit))
    for _ in range(MOST_REPLIES):
        opinion = await talk.turn()
        if opinion is not None:
            return opinion
        log.warning("the judge's answer was not usable: %s", talk.fault)
    raise JudgeError(f"{model.name} gave no usable verdict in {MOST_REPLIES} replies: {talk.fault}")


@dataclass
class _Talk:
    """A question, its re-asks and what they cost."""

    task: str
    order: Sequence[Candidate]
    model: ChatModel
    frames: FrameStore
    limit: int
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    fault: str = ""

    async def turn(self) -> Opinion | None:
        """Ask once; None when the answer was not usable: then `fault` says why and the next turn tells the model."""
        abilities = self.model.abilities
        try:
            completion = await self.model.complete(_request(self.messages, self.order, abilities), role="judge")
            self.usage += completion.usage
            return _opinion(self.order, completion, self.usage)
        except ContextTooLong as error:
            self.fault, self.limit = str(error), self.limit // 2
            self.messages = await _messages(self.task, self.order, abilities, self.frames, self.limit)
        except BadReply as error:
            self.usage += error.usage or Usage(calls=1)
            self._ask_again(error.reply, str(error))
        except Unusable as error:
            self._ask_again(error.reply, str(error))
        return None

    def _ask_again(self, reply: str, fault: str) -> None:
        self.fault = one_line(fault)
        said = Message.of("assistant", reply or "(nothing)")
        self.messages = (*self.messages, said, Message.of("user", render("judge_reask", reason=self.fault)))


class Unusable(Exception):
    """An answer that names no option or is no JSON; the message goes back to the model."""

    def __init__(self, reason: str, reply: str) -> None:
        super().__init__(reason)
        self.reply = reply


def room(abilities: Abilities, n: int) -> int:
    """Characters of evidence that fit beside the prompt, the pictures and the answer."""
    pictures = (n + 1) * _PICTURE_TOKENS if abilities.images else 0
    left = abilities.context_tokens - _PROMPT_TOKENS - pictures - answer_tokens(abilities)
    return min(_EVIDENCE_CHARS, max(200 * n, left * _CHARS_PER_TOKEN))


def _request(messages: tuple[Message, ...], order: Sequence[Candidate], abilities: Abilities) -> Request:
    return Request(
        messages=messages,
        schema=schema(len(order)) if abilities.schema else None,
        temperature=0.0,
        max_tokens=answer_tokens(abilities),
    )


def schema(n: int) -> dict[str, Any]:
    """JSON Schema of the answer for `n` options; reasons come first, so that they are written before the choice."""
    letters = list(LETTERS[:n])
    citation = {
        "type": "object",
        "properties": {"attempt": {"enum": letters, "type": "string"}, "step": {"type": "integer"}},
        "required": ["attempt", "step"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "reasons": {"type": "string"},
        "citations": {"type": "array", "items": citation},
        "choice": {"type": "string", "enum": [*letters, "none"]},
        "confidence": {"type": "number"},
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


async def _messages(
    task: str, order: Sequence[Candidate], abilities: Abilities, frames: FrameStore, limit: int
) -> tuple[Message, ...]:
    evidence = told(order, limit)
    parts: list[Part | str] = [render("judge_task", task=one_line(task, 8_000))]
    shows = await _pictures(order, frames) if abilities.images else {}
    starts = {one.first.sha256 for one in order if one.first}
    if len(starts) == 1 and (start := shows.get(starts.pop())):
        parts += ["All attempts started from this screen:", start]
    for letter, one in zip(LETTERS, order, strict=False):
        parts += _attempt(letter, one, evidence[one.index], shows)
    letters = list(LETTERS[: len(order)])
    system = render("judge", n=len(order), letters=letters, pictures=bool(shows))
    return Message.of("system", system), Message.of("user", *parts)


def _attempt(letter: str, one: Candidate, evidence: Told, shows: Mapping[str, ImagePart]) -> list[Part | str]:
    words = render("judge_attempt", letter=letter, steps=one.steps, told=evidence)
    picture = shows.get(one.last.sha256) if one.last else None
    return [words, *([f"The screen at the end of attempt {letter}:", picture] if picture else [])]


async def _pictures(order: Sequence[Candidate], frames: FrameStore) -> dict[str, ImagePart]:
    """First and last screens by hash, each once."""
    refs: dict[str, FrameRef] = {ref.sha256: ref for one in order for ref in (one.first, one.last) if ref}
    return {name: ImagePart(await frames.png(ref), detail="high") for name, ref in refs.items()}


def _opinion(order: Sequence[Candidate], completion: Completion, usage: Usage) -> Opinion:
    """Read the answer. Raises: `Unusable`."""
    try:
        answer = read_object(completion.text, Answer)
    except ValueError as error:
        raise Unusable(str(error), completion.text) from error
    by_letter = dict(zip(LETTERS, order, strict=False))
    choice = answer.choice.strip()
    if choice != "none" and choice not in by_letter:
        raise Unusable(f"choice {choice!r} is none of {', '.join(by_letter)} and not 'none'", completion.text)
    chosen = None if choice == "none" else by_letter[choice].index
    legend = ", ".join(f"{letter} is rollout {one.index}" for letter, one in by_letter.items())
    return Opinion(
        ballot=Ballot(order=tuple(one.index for one in order), choice=chosen, reply=completion.text),
        confidence=answer.confidence,
        reasons=f"{one_line(answer.reasons, 2_000)} ({legend})",
        citations=_citations(answer, by_letter),
        usage=usage,
    )


def _citations(answer: Answer, by_letter: Mapping[str, Candidate]) -> tuple[Citation, ...]:
    """Those that exist; a step that is not there is no evidence."""
    known = [(by_letter[c.attempt], c.step - 1) for c in answer.citations if c.attempt in by_letter]
    return tuple(Citation(candidate=one.index, step=step) for one, step in known if 0 <= step < one.steps)
