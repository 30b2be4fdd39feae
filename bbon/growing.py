"""Whether a run that is not sure gets more rollouts, and how many. Pure.

Source: adaptive sampling until an answer is agreed on saves most samples at equal quality (arXiv 2305.11860); here the
judge's own confidence takes the place of agreement, as no two rollouts need to end alike.
"""

from collections.abc import Iterable

from bbon.types import Verdict

BATCH = 3
"""Rollouts added at a time: side by side they take the time of one, but each batch is another question to the judge."""


def unsure(verdict: Verdict, confidence: float) -> bool:
    """Whether a verdict asks for more rollouts: none was right, or the judge was less sure than `confidence`.

    Where nothing could be judged, machines or models failed; more of the same would not mend that.
    """
    return verdict.method != "no_candidate" and (verdict.winner is None or verdict.confidence < confidence)


def affordable(n: int, budgets: Iterable[tuple[float | None, float]]) -> int | None:
    """How many rollouts the rest of all budgets pays, at what `n` took on average with all else; None: no limit.

    `budgets`: each a limit, None for none, and what is used of it.
    """
    rooms = [int((limit - used) // (used / n)) if used else n for limit, used in budgets if limit is not None]
    return max(0, min(rooms)) if rooms else None


def more(verdict: Verdict, *, n: int, most: int, confidence: float, room: int | None) -> int:
    """How many rollouts to add to `n`; `room`: how many can be paid, None for any number."""
    if not unsure(verdict, confidence):
        return 0
    return max(0, min(BATCH, most - n, BATCH if room is None else room))
