"""The judges that are compared. Each takes candidates and answers with a choice, or with chances of choices.

`longest`, `shortest`, `random` and `oracle` ask nobody. They answer with chances, so that their success is exact and
not a draw.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from agent_s3.settings import answer_tokens
from bbon.errors import JudgeError
from bbon.evidence import told
from bbon.letters import NoLetters, letter_logprobs, normal, usable
from bbon.quoting import one_line
from bbon.reply import read_object
from bbon.types import Ballot, Candidate
from benchmarks.judge_lab.cases import Case
from benchmarks.judge_lab.evidence import Shown
from benchmarks.judge_lab.prompt import render
from benchmarks.judge_lab.question import Question, ask
from llm.chat import Completion, ImagePart, Message, Request, Usage
from llm.errors import BadReply

Kind = Literal["mcq", "majority", "pairwise", "tournament", "rubric", "longest", "shortest", "random", "oracle"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANINGS: dict[Kind, str] = {
    "mcq": "one question over all, as in a run",
    "majority": "the same question in K orders, and the most votes",
    "pairwise": "the best so far against the next",
    "tournament": "each against each, and the most wins",
    "rubric": "each alone gets a grade from 1 to 5",
    "longest": "most steps",
    "shortest": "fewest steps",
    "random": "any, with equal chances",
    "oracle": "the best by the benchmark's own score",
}
BLIND: tuple[Kind, ...] = ("longest", "shortest", "random", "oracle")
"""They ask no model and read no evidence."""
REUSING: frozenset[Kind] = frozenset({"tournament", "rubric"})
"""What they ask about all candidates answers for each part of them as well, so smaller N cost no call."""

_DIGITS = "12345"
_EVIDENCE_CHARS = 4_000
_REPLIES = 3
_TOP = 20


class Decision(NamedTuple):
    """What a judge answers."""

    chances: Mapping[int | None, float]
    """Rollout index, or None for none of them, -> chance of being the choice; they add up to 1."""
    asked: tuple[tuple[Ballot, ...], ...] = ()
    """The ballots of each multiple-choice question over all candidates."""
    usage: Usage = Usage()

    @property
    def pick(self) -> int | None:
        """The likeliest choice."""
        return max(self.chances, key=lambda index: self.chances[index])


Decide = Callable[[Question], Awaitable[Decision]]


# --- multiple choice -----------------------------------------------------------------------------------------------


async def mcq(question: Question) -> Decision:
    verdict = await ask(question)
    return Decision({verdict.winner: 1.0}, (verdict.ballots,), verdict.usage)


async def majority(question: Question) -> Decision:
    """The same candidates in `votes` orders, counted as in a run (`bbon.votes`). By letters it is all orders anyway."""
    verdict = await ask(question, votes=question.votes)
    return Decision({verdict.winner: 1.0}, (verdict.ballots,), verdict.usage)


async def pairwise(question: Question) -> Decision:
    """The winner so far against the next; when neither did it, the winner so far goes on.

    Source: the iterative comparison of arXiv 2510.02250, section 5.
    """
    first, *others = [one.candidate.index for one in question.shown]
    if not others:
        return await mcq(question)
    champion, done, usage = first, False, Usage()
    for challenger in others:
        verdict = await ask(question.only(champion, challenger))
        usage += verdict.usage
        done = done or verdict.winner is not None
        champion = champion if verdict.winner is None else verdict.winner
    return Decision({champion if done else None: 1.0}, (), usage)


async def tournament(question: Question) -> Decision:
    """Each against each. Most wins; ties: fewer steps, then the lower index. None when no match had a winner."""
    indices = [one.candidate.index for one in question.shown]
    if len(indices) == 1:
        return await mcq(question)
    verdicts = [await ask(question.only(*pair)) for pair in combinations(indices, 2)]
    wins = Counter(verdict.winner for verdict in verdicts if verdict.winner is not None)
    best = max(wins, key=lambda index: (wins[index], *_fewest_steps(question, index)), default=None)
    return Decision({best: 1.0}, (), sum((verdict.usage for verdict in verdicts), Usage()))


def _fewest_steps(question: Question, index: int | None) -> tuple[int, int]:
    """Greater for fewer steps, then for a lower index; none of them comes last."""
    steps = {one.candidate.index: one.candidate.steps for one in question.shown}
    return (-steps[index], -index) if index is not None else (-(10**9), -(10**9))


# --- grades --------------------------------------------------------------------------------------------------------


class _Grade(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    grade: int = Field(ge=1, le=5)


_GRADE_SCHEMA = {
    "type": "object",
    "properties": {"reasons": {"type": "string"}, "grade": {"type": "integer"}},
    "required": ["reasons", "grade"],
    "additionalProperties": False,
}


class Graded(NamedTuple):
    grade: float
    """From 1 to 5; of a model that gives log-probabilities the expected one."""
    usage: Usage


async def rubric(question: Question) -> Decision:
    """The best grade; ties: fewer steps. It never answers that none did it.

    Source: grading each trajectory by itself is WebJudge's way, arXiv 2504.01382; the expected grade over the
    probabilities of the digits is G-Eval's, arXiv 2303.16634.
    """
    graded = {one.candidate.index: await grade(question, one) for one in question.shown}
    best = max(graded, key=lambda index: (round(graded[index].grade, 6), *_fewest_steps(question, index)))
    return Decision({best: 1.0}, (), sum((one.usage for one in graded.values()), Usage()))


async def grade(question: Question, one: Shown) -> Graded:
    """Raises: `JudgeError` after three unusable replies, errors of `llm.errors`, `RecordError`."""
    if usable(question.model.abilities):
        completion = await question.model.complete(await _grading(question, one, digit=True), role="judge")
        try:
            return Graded(expected_grade(completion), completion.usage)
        except NoLetters:
            pass  # the server gave no logprobs after all: ask for a written grade
    request, usage, fault = await _grading(question, one, digit=False), Usage(), ""
    for _ in range(_REPLIES):
        try:
            completion = await question.model.complete(request, role="judge")
            usage += completion.usage
            return Graded(read_object(completion.text, _Grade).grade, usage)
        except (BadReply, ValueError) as error:
            usage += (error.usage or Usage(calls=1)) if isinstance(error, BadReply) else Usage()
            fault = one_line(str(error))
            again = Message.of("user", f"That answer could not be used: {fault}. Answer with the JSON object alone.")
            messages = (*request.messages, Message.of("assistant", "(unusable)"), again)
            request = Request(messages=messages, schema=request.schema, temperature=0.0, max_tokens=request.max_tokens)
    raise JudgeError(f"{question.model.name} gave no usable grade in {_REPLIES} replies: {fault}")


def expected_grade(completion: Completion) -> float:
    """The mean of the grades, weighted with the probabilities of their digits. Raises: `NoLetters`."""
    scores = normal(letter_logprobs(completion, _DIGITS))
    return sum(int(digit) * math.exp(score) for digit, score in zip(_DIGITS, scores, strict=True))


async def _grading(question: Question, one: Shown, *, digit: bool) -> Request:
    abilities = question.model.abilities
    refs = one.screens or ((one.candidate.last,) if one.candidate.last else ())
    shown = refs if abilities.images else ()
    limit = min(_EVIDENCE_CHARS, abilities.context_tokens) if digit else abilities.context_tokens
    words = render(
        "rubric",
        pictures=bool(shown),
        task=one_line(question.task, 2_000),
        steps=one.candidate.steps,
        told=told([one.candidate], limit)[one.candidate.index],
        digit=digit,
    )
    pictures = [ImagePart(await question.frames.png(ref), detail="high") for ref in shown]
    message = Message.of("user", words, *pictures)
    if digit:
        return Request(messages=(message,), temperature=0.0, max_tokens=1, top_logprobs=_TOP)
    schema = _GRADE_SCHEMA if abilities.schema else None
    return Request(messages=(message,), schema=schema, temperature=0.0, max_tokens=answer_tokens(abilities))


# --- without a model -----------------------------------------------------------------------------------------------


def blind(kind: Kind, case: Case) -> Decision:
    """What the judges that ask nobody choose. Raises: `ValueError` for the oracle where nobody scored."""
    candidates = [attempt.candidate for attempt in case.attempts]
    match kind:
        case "longest":
            return _equally([c for c in candidates if c.steps == max(one.steps for one in candidates)])
        case "shortest":
            return _equally([c for c in candidates if c.steps == min(one.steps for one in candidates)])
        case "random":
            return _equally(candidates)
        case _:
            if case.scores is None:
                raise ValueError("the oracle needs scores")
            best = max(case.scores)
            return _equally([c for c, score in zip(candidates, case.scores, strict=True) if score == best])


def _equally(candidates: Sequence[Candidate]) -> Decision:
    return Decision({candidate.index: 1 / len(candidates) for candidate in candidates})


JUDGES: Mapping[Kind, Decide] = {
    "mcq": mcq,
    "majority": majority,
    "pairwise": pairwise,
    "tournament": tournament,
    "rubric": rubric,
}


def kind_of(text: str) -> Kind:
    """Raises: `ValueError` that lists the known ones."""
    if text not in KINDS:
        raise ValueError(f"there is no judge {text!r}; the judges are: {', '.join(KINDS)}")
    return text
