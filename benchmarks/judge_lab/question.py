"""One multiple-choice question to a judge about some candidates, and its orders. All other judges are made of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agent_s3.record import FrameStore
from agent_s3.settings import answer_tokens
from bbon.errors import JudgeError
from bbon.judge import judge
from bbon.letters import LETTERS
from bbon.quoting import one_line
from bbon.reply import read_object
from bbon.types import Ballot, Verdict
from benchmarks.judge_lab.evidence import Form, Shown
from benchmarks.judge_lab.prompt import render
from llm.chat import ChatModel, ImagePart, Message, Part, Request, Usage
from llm.errors import BadReply

_REPLIES = 3


@dataclass(frozen=True)
class Question:
    """What is asked."""

    task: str
    form: Form
    shown: tuple[Shown, ...]
    frames: FrameStore
    model: ChatModel
    seed: int = 0
    """Decides the order of the candidates."""
    votes: int = 3
    """How often `majority` asks."""

    def only(self, *indices: int) -> "Question":
        """The same about these rollouts, in this order."""
        by_index = {one.candidate.index: one for one in self.shown}
        return replace(self, shown=tuple(by_index[index] for index in indices))


async def ask(question: Question, *, turn: int = 0) -> Verdict:
    """The verdict of a run's judge; in the form `screens` that of the same question with pictures alone.

    `turn` moves every candidate so many places on, so that over as many turns as candidates each has stood once in
    each place. Raises: `JudgeError`, errors of `llm.errors`, `RecordError`.
    """
    turned = _Turned(question.shown, turn)
    moved = replace(question, shown=turned.shown)
    if question.form == "screens":
        return turned.back(await _ask_screens(moved))
    candidates = [one.candidate for one in moved.shown]
    return turned.back(await judge(question.task, candidates, question.model, question.frames, seed=question.seed))


class _Turned:
    """Candidates under other numbers: the judge sorts by them before it shuffles, so numbers are places."""

    def __init__(self, shown: Sequence[Shown], turn: int) -> None:
        ordered = sorted(shown, key=lambda one: one.candidate.index)
        places = {one.candidate.index: (place + turn) % len(shown) for place, one in enumerate(ordered)}
        self._real = {place: index for index, place in places.items()}
        renamed = [_renamed(one, places[one.candidate.index]) for one in ordered]
        self.shown = tuple(sorted(renamed, key=lambda one: one.candidate.index))

    def back(self, verdict: Verdict) -> Verdict:
        """With the real numbers; `reasons` may speak of places."""
        cited = tuple(c.model_copy(update={"candidate": self._real[c.candidate]}) for c in verdict.citations)
        ballots = tuple(map(self._ballot, verdict.ballots))
        return verdict.model_copy(
            update={"winner": self._index(verdict.winner), "citations": cited, "ballots": ballots}
        )

    def _ballot(self, ballot: Ballot) -> Ballot:
        shares = ballot.probabilities and {
            str(self._real[int(name)]) if name.isdecimal() else name: share
            for name, share in ballot.probabilities.items()
        }
        order = tuple(map(self._index, ballot.order))
        update = {"order": order, "choice": self._index(ballot.choice), "probabilities": shares}
        return ballot.model_copy(update=update)

    def _index(self, place: int | None) -> int | None:
        return None if place is None else self._real[place]


def _renamed(one: Shown, index: int) -> Shown:
    return replace(one, candidate=one.candidate.model_copy(update={"index": index}))


# --- pictures alone ------------------------------------------------------------------------------------------------


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    reasons: str = ""
    choice: str
    confidence: float = Field(default=0.5, ge=0, le=1)


async def _ask_screens(question: Question) -> Verdict:
    order = list(question.shown)
    random.Random(question.seed).shuffle(order)  # noqa: S311 - a reproducible shuffle, no secret
    letters = list(LETTERS[: len(order)])
    messages = (await _picture_message(question, order, letters),)
    usage, fault = Usage(), ""
    for _ in range(_REPLIES):
        request = Request(
            messages=messages,
            schema=_schema(letters) if question.model.abilities.schema else None,
            temperature=0.0,
            max_tokens=answer_tokens(question.model.abilities),
        )
        try:
            completion = await question.model.complete(request, role="judge")
            usage += completion.usage
            return _verdict(question, order, letters, completion.text, usage)
        except (BadReply, ValueError) as error:
            usage += (error.usage or Usage(calls=1)) if isinstance(error, BadReply) else Usage()
            fault = one_line(str(error))
            again = Message.of("user", f"That answer could not be used: {fault}. Answer with the JSON object alone.")
            messages = (*messages, Message.of("assistant", "(unusable)"), again)
    raise JudgeError(f"{question.model.name} gave no usable verdict in {_REPLIES} replies: {fault}")


async def _picture_message(question: Question, order: Sequence[Shown], letters: Sequence[str]) -> Message:
    parts: list[Part | str] = [
        render("screens", n=len(order), task=one_line(question.task, 8_000), letters=letters),
    ]
    for letter, one in zip(letters, order, strict=True):
        parts.append(f"Attempt {letter}, {len(one.screens)} screens in order of time:")
        parts += [ImagePart(await question.frames.png(ref), detail="high") for ref in one.screens]
    return Message.of("user", *parts)


def _schema(letters: Sequence[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "reasons": {"type": "string"},
        "choice": {"type": "string", "enum": [*letters, "none"]},
        "confidence": {"type": "number"},
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _verdict(question: Question, order: Sequence[Shown], letters: Sequence[str], text: str, usage: Usage) -> Verdict:
    """Raises: `ValueError` in words that a model can act on."""
    answer = read_object(text, _Answer)
    by_letter = dict(zip(letters, (one.candidate.index for one in order), strict=True))
    choice = answer.choice.strip()
    if choice != "none" and choice not in by_letter:
        raise ValueError(f"choice {choice!r} is none of {', '.join(letters)} and not 'none'")
    chosen = by_letter.get(choice)
    ballot = Ballot(order=tuple(by_letter.values()), choice=chosen, reply=text)
    return Verdict(
        winner=chosen,
        confidence=answer.confidence,
        reasons=one_line(answer.reasons, 2_000),
        method="mcq" if len(order) > 1 else "single",
        ballots=(ballot,),
        model=question.model.name,
        usage=usage,
    )
