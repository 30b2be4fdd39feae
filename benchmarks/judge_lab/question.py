"""One multiple-choice question to a judge about some candidates, and its orders. All other judges are made of it."""

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
from bbon.votes import count, shuffled
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


async def ask(question: Question, *, votes: int = 1) -> Verdict:
    """The verdict of a run's judge; in the form `screens` that of the same question with pictures alone.

    Raises: `JudgeError`, errors of `llm.errors`, `RecordError`.
    """
    if question.form == "screens":
        return await _ask_screens(question, votes)
    candidates = [one.candidate for one in question.shown]
    return await judge(question.task, candidates, question.model, question.frames, seed=question.seed, votes=votes)


# --- pictures alone ------------------------------------------------------------------------------------------------


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    reasons: str = ""
    choice: str
    confidence: float = Field(default=0.5, ge=0, le=1)


async def _ask_screens(question: Question, votes: int) -> Verdict:
    asked = [await _one_vote(question, shuffled(question.shown, seed=question.seed, vote=n)) for n in range(votes)]
    counted = count([ballot for ballot, _ in asked], [one.candidate for one in question.shown])
    return Verdict(
        winner=counted.winner,
        confidence=counted.confidence,
        reasons=counted.split,
        method="mcq_votes" if votes > 1 else "mcq",
        ballots=tuple(ballot for ballot, _ in asked),
        model=question.model.name,
        usage=sum((usage for _, usage in asked), Usage()),
    )


async def _one_vote(question: Question, order: Sequence[Shown]) -> tuple[Ballot, Usage]:
    """Raises: `JudgeError` after three unusable replies."""
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
            return _ballot(order, letters, completion.text), usage
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


def _ballot(order: Sequence[Shown], letters: Sequence[str], text: str) -> Ballot:
    """Raises: `ValueError` in words that a model can act on."""
    answer = read_object(text, _Answer)
    by_letter = dict(zip(letters, (one.candidate.index for one in order), strict=True))
    choice = answer.choice.strip()
    if choice != "none" and choice not in by_letter:
        raise ValueError(f"choice {choice!r} is none of {', '.join(letters)} and not 'none'")
    return Ballot(
        order=tuple(by_letter.values()), choice=by_letter.get(choice), confidence=answer.confidence, reply=text
    )
