"""Counting the written votes of one judge. Pure."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from bbon.types import Ballot, Candidate

T = TypeVar("T")


class Count(NamedTuple):
    """What came of the votes."""

    winner: int | None
    """Rollout index; None: none of them."""
    confidence: float
    """Share of the votes for it, times the mean of what those wrote."""
    split: str
    """The votes in words."""


def shuffled(options: Sequence[T], *, seed: int, vote: int) -> list[T]:
    """The order for vote number `vote`: one shuffle turned by one place each time, so that places are shared out.

    After a full turn it is shuffled anew.
    """
    around, turn = divmod(vote, max(1, len(options)))
    order = list(options)
    random.Random(seed + around).shuffle(order)  # noqa: S311 - a reproducible shuffle, no secret
    return order[turn:] + order[:turn]


def count(ballots: Sequence[Ballot], shown: Sequence[Candidate]) -> Count:
    """Most votes win; of equal ones the candidate with the fewest steps, and any candidate before *none*."""
    votes = Counter(ballot.choice for ballot in ballots)
    steps = {one.index: one.steps for one in shown}

    def rank(choice: int | None) -> tuple[int, bool, int, int]:
        return -votes[choice], choice is None, steps.get(choice, 0) if choice is not None else 0, choice or 0

    winner = min(votes, key=rank)
    agreed = [ballot.confidence or 0.0 for ballot in ballots if ballot.choice == winner]
    confidence = len(agreed) / len(ballots) * (sum(agreed) / len(agreed))
    ranked = ", ".join(f"{_option(choice)} {votes[choice]}" for choice in sorted(votes, key=rank))
    tied = sum(1 for choice in votes if votes[choice] == votes[winner]) > 1
    why = "; of equal votes the attempt with the fewest steps was taken" if tied else ""
    return Count(winner, confidence, f"{len(ballots)} votes: {ranked}{why}.")


def _option(choice: int | None) -> str:
    return "none of them" if choice is None else f"rollout {choice}"
