"""Smaller N from the same recordings: which candidates are judged, and what chance and oracle reach. Pure."""

import math
import random
from collections.abc import Sequence
from statistics import fmean


def windows(total: int, size: int, count: int, *, seed: str) -> list[tuple[int, ...]]:
    """At most `count` sets of `size` out of `total` places, ascending.

    The places are shuffled once per `seed` and laid in a ring; the sets are windows on it with evenly spread starts. So
    one set per size gives growing prefixes of one order, and `total` sets hold every place equally often.
    """
    ring = list(range(total))
    random.Random(seed).shuffle(ring)  # noqa: S311 - a reproducible shuffle, no secret
    starts = sorted({round(number * total / min(count, total)) for number in range(min(count, total))})
    found = {tuple(sorted(ring[(start + step) % total] for step in range(size))) for start in starts}
    return sorted(found)


def expected_best(scores: Sequence[float], size: int) -> float:
    """Mean of the best score over all sets of `size` of these scores: the oracle at that N, exactly.

    Raises: `ValueError` unless 1 <= size <= number of scores.
    """
    if not 1 <= size <= len(scores):
        raise ValueError(f"there are no {size} of {len(scores)} scores")
    ways = math.comb(len(scores), size)
    return sum(score * math.comb(rank, size - 1) for rank, score in enumerate(sorted(scores))) / ways


def expected_pick(scores: Sequence[float]) -> float:
    """Mean of one score picked blindly; the same at every N."""
    return fmean(scores)
