"""Picking the best of N rollouts, or none, in one question over all of them.

Rollouts that ended in the same state are shown once: a model that is bad at four options is better at two, and equal
results cannot be told apart anyway. If all ended alike, a judge that writes is asked whether that is right; one that
answers by letters is not, since it cannot tell that all are wrong (see `bbon.letters`).
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Literal

from agent_s3.record import FrameStore
from bbon import letters, written
from bbon.errors import JudgeError
from bbon.evidence import Outcome, outcomes
from bbon.types import Candidate, Citation, Verdict
from bbon.votes import count
from bbon.written import Opinion
from llm.chat import ChatModel, Usage
from llm.errors import LLMError

log = logging.getLogger(__name__)

_CITED = 3


async def judge(
    task: str, candidates: Sequence[Candidate], model: ChatModel, frames: FrameStore, *, seed: int = 0, votes: int = 1
) -> Verdict:
    """The verdict on candidates that all could have done the task; `seed` decides the order of the options.

    `votes`: how many written answers are asked for; a judge by letters is asked in every order whatever it says.

    Raises: `bbon.errors.JudgeError` when the model gives no usable answer, errors of `llm.errors`, `RecordError`.
    """
    found = outcomes(candidates)
    if not found:
        reasons = "No rollout came to an end that can be judged."
        return Verdict(winner=None, confidence=1.0, reasons=reasons, method="no_candidate")
    if len(found) == 1 < len(candidates) and found[0].candidate.changed and letters.usable(model.abilities):
        return _all_equal(found[0])
    verdict = await _ask(task, [outcome.candidate for outcome in found], model, frames, seed=seed, votes=votes)
    return verdict.model_copy(update={"reasons": " ".join([verdict.reasons, *_same(found)])})


def _all_equal(outcome: Outcome) -> Verdict:
    winner = outcome.candidate
    reasons = f"All {len(outcome.members)} rollouts ended in the same state; rollout {winner.index} took fewest steps."
    return Verdict(winner=winner.index, confidence=1.0, reasons=reasons, method="all_equal")


def _same(found: Sequence[Outcome]) -> list[str]:
    """Which rollouts were not shown, because another one stood for them."""
    return [
        f"Rollouts {', '.join(map(str, outcome.members))} ended in the same state and were shown once."
        for outcome in found
        if len(outcome.members) > 1
    ]


async def _ask(
    task: str, shown: Sequence[Candidate], model: ChatModel, frames: FrameStore, *, seed: int, votes: int
) -> Verdict:
    if letters.usable(model.abilities):
        try:
            return await _by_letters(task, shown, model, seed=seed)
        except letters.NoLetters:
            pass  # the server gave no logprobs after all: ask for a written answer
    asked = [written.ask(task, shown, model, frames, seed=seed, vote=vote) for vote in range(votes)]
    opinions = _usable(await asyncio.gather(*asked, return_exceptions=True))
    counted = count([opinion.ballot for opinion in opinions], shown)
    agreed = [opinion for opinion in opinions if opinion.ballot.choice == counted.winner]
    return Verdict(
        winner=counted.winner,
        confidence=counted.confidence,
        reasons=agreed[0].reasons if votes == 1 else f"{counted.split} {agreed[0].reasons}",
        citations=tuple(dict.fromkeys(cited for opinion in agreed for cited in opinion.citations)),
        method=_method(shown, votes),
        ballots=tuple(opinion.ballot for opinion in opinions),
        model=model.name,
        usage=sum((opinion.usage for opinion in opinions), Usage()),
    )


def _method(shown: Sequence[Candidate], votes: int) -> Literal["single", "mcq", "mcq_votes"]:
    if len(shown) == 1:
        return "single"
    return "mcq" if votes == 1 else "mcq_votes"


def _usable(answers: Sequence[Opinion | BaseException]) -> list[Opinion]:
    """The votes that were given. Raises: what the first failed with when there is none, and any fault of ours."""
    opinions = [answer for answer in answers if isinstance(answer, Opinion)]
    failures = [answer for answer in answers if not isinstance(answer, Opinion)]
    for failure in failures:
        if not opinions or not isinstance(failure, JudgeError | LLMError):
            raise failure
        log.warning("one vote of the judge is missing: %s", failure)
    return opinions


async def _by_letters(task: str, every: Sequence[Candidate], model: ChatModel, *, seed: int) -> Verdict:
    """A small model cannot tell that nothing was done, so those that did nothing are not put before it."""
    shown = [one for one in every if not one.idle]
    if not shown:
        reasons = "Every rollout ended exactly as it started: nothing was done."
        return Verdict(winner=None, confidence=1.0, reasons=reasons, method="all_equal")
    ballots, usage = await letters.ask(task, shown, model, seed=seed)
    shares = letters.average(ballots)
    steps = {letters.name(one.index): one.steps for one in shown}
    best = min(shares, key=lambda option: (-round(shares[option], 6), steps.get(option, math.inf), option))
    winner = next((one for one in shown if letters.name(one.index) == best), None)
    return Verdict(
        winner=winner.index if winner else None,
        confidence=shares[best],
        reasons=_measured_reasons(shown, shares, len(ballots)),
        citations=_telling(winner, shown) if winner else (),
        method="mcq_logprobs" if len(shown) > 1 else "single",
        ballots=ballots,
        model=model.name,
        usage=usage,
    )


def _measured_reasons(shown: Sequence[Candidate], shares: dict[str, float], orders: int) -> str:
    """What the model preferred and what the candidates ended with; the model itself gave no reasons."""
    ranked = sorted(shares, key=lambda option: -shares[option])
    odds = ", ".join(f"{_option(option)} {shares[option]:.0%}" for option in ranked)
    ends = [f"Rollout {one.index}: {' '.join(one.changes[:_CITED])}" for one in shown]
    return f"Letter probabilities averaged over {orders} orders of the options: {odds}. {' '.join(ends)}"


def _option(option: str) -> str:
    return "none of them" if option == letters.NONE else f"rollout {option}"


def _telling(winner: Candidate, shown: Sequence[Candidate]) -> tuple[Citation, ...]:
    """Steps of the winner with a fact that no other candidate has; the last few."""
    others = {fact.text for one in shown if one is not winner for fact in one.facts}
    steps = sorted({fact.step for fact in winner.facts if fact.text not in others})
    return tuple(Citation(candidate=winner.index, step=step) for step in steps[-_CITED:])
