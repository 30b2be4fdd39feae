"""Judging by one letter: the probabilities of the option letters, averaged over all rotations of the options.

For small text models that give logprobs. Such a model's plain pick follows the place of an option: an embedded 1.5B
model chose the first of two options in 40 of 40 questions, but the mean of its log-probabilities over both orders was
right in 19 of 20. Every option stands once in every place, so a constant bias for a place cancels out.

"None of them" is an option like the others, but the 1.5B model cannot judge it: over four tasks it got 0.21 to 0.28
of the probability when a right attempt was there and 0.22 to 0.31 when all were wrong, and it never won. So with that
model "none" comes about only where it follows from the records (see `bbon.judge`); larger models are asked in writing.
"""

import math
import random
from collections.abc import Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase

from bbon.evidence import Told, told
from bbon.prompt import render
from bbon.quoting import one_line
from bbon.types import Ballot, Candidate
from llm.chat import Abilities, ChatModel, Completion, Message, Request, Usage

LETTERS = ascii_uppercase + ascii_lowercase
"""Names of options, in order; each is one token to a model."""
NONE = "none"
_TOP = 20
_EVIDENCE_CHARS = 4_000
"""All candidates together; a small model on a CPU reads some 40 tokens a second, and each order is read anew."""
_CHARS_PER_TOKEN = 3
_PROMPT_TOKENS = 400

Options = tuple[int | None, ...]
"""Rollout indices in the order shown; None: none of these."""


class NoLetters(Exception):
    """The model gave no logprobs, or none of the option letters was among its likeliest tokens."""


def usable(abilities: Abilities) -> bool:
    """Models that see pictures answer in writing, with reasons; they lose too much in text alone."""
    return abilities.logprobs and not abilities.images


async def ask(
    task: str, candidates: Sequence[Candidate], model: ChatModel, *, seed: int
) -> tuple[tuple[Ballot, ...], Usage]:
    """One ballot per rotation of the options, none of them included.

    Raises: `NoLetters`, errors of `llm.errors`.
    """
    evidence = told(candidates, room(model.abilities))
    ballots: list[Ballot] = []
    usage = Usage()
    for order in rotations([c.index for c in candidates], seed=seed):
        completion = await model.complete(question(task, order, evidence), role="judge")
        usage += completion.usage
        ballots.append(ballot(order, completion).model_copy(update={"usage": completion.usage}))
    return tuple(ballots), usage


def room(abilities: Abilities) -> int:
    """Characters of evidence that fit into one question."""
    return min(_EVIDENCE_CHARS, max(400, (abilities.context_tokens - _PROMPT_TOKENS) * _CHARS_PER_TOKEN))


def rotations(indices: Sequence[int], *, seed: int) -> list[Options]:
    """All rotations of the shuffled options, so that each stands once in each place."""
    options: list[int | None] = [*indices, None]
    random.Random(seed).shuffle(options)  # noqa: S311 - a reproducible shuffle, no secret
    return [tuple(options[start:] + options[:start]) for start in range(len(options))]


def question(task: str, order: Options, evidence: Mapping[int, Told]) -> Request:
    """The question with the options in this order; the answer is one letter."""
    options = [
        {"letter": letter, "told": None if index is None else evidence[index]}
        for letter, index in zip(LETTERS, order, strict=False)
    ]
    text = render("judge_letter", task=one_line(task, 2_000), options=options)
    return Request(messages=(Message.of("user", text),), temperature=0.0, max_tokens=1, top_logprobs=_TOP)


def ballot(order: Options, completion: Completion) -> Ballot:
    """The vote of one order. Raises: `NoLetters`."""
    scores = normal(letter_logprobs(completion, LETTERS[: len(order)]))
    shares = {name(index): math.exp(score) for index, score in zip(order, scores, strict=True)}
    best = max(range(len(order)), key=lambda place: scores[place])
    return Ballot(order=order, choice=order[best], probabilities=shares, reply=completion.text)


def name(option: int | None) -> str:
    return NONE if option is None else str(option)


def letter_logprobs(completion: Completion, letters: str) -> list[float]:
    """The first token's log-probability of each letter; a letter that is not listed gets less than the least listed.

    Raises: `NoLetters`.
    """
    if not completion.logprobs:
        raise NoLetters
    top = completion.logprobs[0].top
    found = {letter: [p for token, p in top.items() if token.strip() == letter] for letter in letters}
    if not any(found.values()):
        raise NoLetters
    floor = min(top.values()) - 1.0
    return [math.log(sum(map(math.exp, found[letter]))) if found[letter] else floor for letter in letters]


def normal(scores: Sequence[float]) -> list[float]:
    """Log-scores shifted so that their exponentials add up to 1."""
    highest = max(scores)
    total = highest + math.log(sum(math.exp(score - highest) for score in scores))
    return [score - total for score in scores]


def average(ballots: Sequence[Ballot]) -> dict[str, float]:
    """Probability of each option: the mean of the log-probabilities over all ballots, normalised again."""
    names = list(ballots[0].probabilities or {})
    means = [sum(math.log(max((b.probabilities or {})[n], 1e-12)) for b in ballots) / len(ballots) for n in names]
    return {n: math.exp(score) for n, score in zip(names, normal(means), strict=True)}
