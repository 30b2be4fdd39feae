"""Judging by one written multiple-choice answer: choice, confidence, cited facts and reasons, in JSON."""

import asyncio
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from agent_s3.record import FrameStore
from agent_s3.settings import answer_tokens
from agent_s3.types import FrameRef
from bbon.crop import jpeg
from bbon.errors import JudgeError
from bbon.evidence import told
from bbon.letters import LETTERS
from bbon.prompt import render
from bbon.quoting import one_line
from bbon.rations import Ration, ration, sheet, task_chars
from bbon.reply import read_object
from bbon.types import Ballot, Candidate, Citation
from bbon.votes import shuffled
from llm.chat import Abilities, ChatModel, Completion, ImagePart, Message, Part, Request, Usage
from llm.errors import BadReply, ContextTooLong

log = logging.getLogger(__name__)

MOST_REPLIES = 3


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
    task: str, candidates: Sequence[Candidate], model: ChatModel, frames: FrameStore, *, seed: int, vote: int = 0
) -> Opinion:
    """One question over all candidates in shuffled order; an unusable answer is asked again, with the reason.

    `vote`: the how manieth question over the same candidates it is; each has another order.
    Raises: `JudgeError` after `MOST_REPLIES` unusable answers, errors of `llm.errors`, `RecordError`.
    """
    order = shuffled(candidates, seed=seed, vote=vote)
    fits = rationed(task, order, model.abilities)
    talk = _Talk(task, order, model, frames, fits, await _messages(task, order, model.abilities, frames, fits))
    for _ in range(MOST_REPLIES):
        opinion = await talk.turn()
        if opinion is not None:
            return opinion
        log.warning("the judge's answer was not usable: %s", talk.fault)
    raise JudgeError(f"{model.name} gave no usable verdict in {MOST_REPLIES} replies: {talk.fault}")


def rationed(task: str, order: Sequence[Candidate], abilities: Abilities) -> Ration:
    """What fits into a question over these candidates."""
    shown = min(len(task), task_chars(abilities))
    return ration(abilities, len(order), task=shown, start=_common_start(order) is not None)


def _common_start(order: Sequence[Candidate]) -> FrameRef | None:
    starts = {one.first.sha256: one.first for one in order if one.first}
    return next(iter(starts.values())) if len(starts) == 1 else None


@dataclass
class _Talk:
    """A question, its re-asks and what they cost."""

    task: str
    order: Sequence[Candidate]
    model: ChatModel
    frames: FrameStore
    fits: Ration
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    rejected: list[str] = field(default_factory=list[str])
    fault: str = ""

    async def turn(self) -> Opinion | None:
        """Ask once; None when the answer was not usable: then `fault` says why and the next turn tells the model."""
        abilities = self.model.abilities
        try:
            completion = await self.model.complete(_request(self.messages, self.order, abilities), role="judge")
            self.usage += completion.usage
            return _opinion(self.order, completion, self.usage, tuple(self.rejected))
        except ContextTooLong as error:
            self.fault, self.fits = str(error), self.fits._replace(chars=self.fits.chars // 2)
            self.messages = await _messages(self.task, self.order, abilities, self.frames, self.fits)
        except BadReply as error:
            self.usage += error.usage or Usage(calls=1)
            self._ask_again(error.reply, str(error))
        except Unusable as error:
            self._ask_again(error.reply, str(error))
        return None

    def _ask_again(self, reply: str, fault: str) -> None:
        self.fault = one_line(fault)
        self.rejected.append(reply)
        said = Message.of("assistant", reply or "(nothing)")
        self.messages = (*self.messages, said, Message.of("user", render("judge_reask", reason=self.fault)))


class Unusable(Exception):
    """An answer that names no option or is no JSON; the message goes back to the model."""

    def __init__(self, reason: str, reply: str) -> None:
        super().__init__(reason)
        self.reply = reply


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
    task: str, order: Sequence[Candidate], abilities: Abilities, frames: FrameStore, fits: Ration
) -> tuple[Message, ...]:
    evidence = told(order, fits.chars)
    parts: list[Part | str] = [render("judge_task", task=one_line(task, task_chars(abilities)))]
    start = _common_start(order) if fits.start else None
    if start is not None:
        parts += ["All attempts started from this screen:", await _screen(start, frames)]
    ends = await _ends(order, frames, fits.per_sheet)
    for letter, one in zip(LETTERS, order, strict=False):
        parts.append(render("judge_attempt", letter=letter, steps=one.steps, told=evidence[one.index]))
        parts += ends.get(letter, ())
    letters = list(LETTERS[: len(order)])
    system = render("judge", n=len(order), letters=letters, pictures=start is not None or bool(ends))
    return Message.of("system", system), Message.of("user", *parts)


Shown = tuple[str, ImagePart]


async def _ends(order: Sequence[Candidate], frames: FrameStore, per_sheet: int) -> dict[str, Shown]:
    """Pictures of the ends, by the letter of the attempt after which each is shown."""
    known = [(letter, one.last) for letter, one in zip(LETTERS, order, strict=False) if one.last]
    if per_sheet == 0:
        return {}
    if per_sheet == 1:
        said = "The screen at the end of attempt {}:"
        return {letter: (said.format(letter), await _screen(ref, frames)) for letter, ref in known}
    groups = [known[i : i + per_sheet] for i in range(0, len(known), per_sheet)]
    return {group[-1][0]: await _sheet(group, frames) for group in groups}


async def _screen(ref: FrameRef, frames: FrameStore) -> ImagePart:
    return ImagePart(await frames.png(ref), detail="high")


async def _sheet(group: Sequence[tuple[str, FrameRef]], frames: FrameStore) -> Shown:
    files = [(letter, await frames.png(ref)) for letter, ref in group]
    said = f"The screens at the end of attempts {', '.join(letter for letter, _ in files)}, each below its letter:"
    return said, ImagePart(await asyncio.to_thread(_drawn, files), media_type="image/jpeg", detail="high")


def _drawn(files: Sequence[tuple[str, bytes]]) -> bytes:
    made = sheet([(letter, Image.open(io.BytesIO(data)).convert("RGB")) for letter, data in files])
    return jpeg(made)


def _opinion(order: Sequence[Candidate], completion: Completion, usage: Usage, rejected: tuple[str, ...]) -> Opinion:
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
        ballot=Ballot(
            order=tuple(one.index for one in order),
            choice=chosen,
            reply=completion.text,
            confidence=answer.confidence,
            rejected=rejected,
            usage=usage,
        ),
        confidence=answer.confidence,
        reasons=f"{one_line(answer.reasons, 2_000)} ({legend})",
        citations=_citations(answer, by_letter),
        usage=usage,
    )


def _citations(answer: Answer, by_letter: Mapping[str, Candidate]) -> tuple[Citation, ...]:
    """Those that exist, each once; a step of which no fact is known is no evidence."""
    known = [(by_letter[c.attempt], c.step - 1) for c in answer.citations if c.attempt in by_letter]
    there = {(one.index, fact.step) for one in by_letter.values() for fact in one.facts}
    cited = dict.fromkeys((one.index, step) for one, step in known)
    return tuple(Citation(candidate=index, step=step) for index, step in cited if (index, step) in there)
