"""Intervals and tests over tasks, from scipy. Pure: numbers in, estimates out.

Tasks are the unit: what is resampled is whole tasks, with all that is known of them, so that two judges are compared
on the same tasks in every resample.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from benchmarks.results import Estimate

stats: Any = scipy_stats
"""Its types are known in part only."""
RESAMPLES = 9_999
_BATCH = 1_000
"""Resamples at a time, so that memory stays small with hundreds of tasks."""


def paired_difference(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Estimate:
    """Mean of the differences over tasks, with a 95 % percentile bootstrap interval."""
    return _estimate(_mean_difference, [ours, theirs], seed=seed)


def gap_taken(chosen: Sequence[float], blind: Sequence[float], best: Sequence[float], *, seed: int = 0) -> Estimate:
    """Share of the way from the blind choice to the best one: sum of gains over sum of possible gains, over tasks.

    Every task must have something to gain. Interval as of `paired_difference`.
    """
    if any(high <= low for low, high in zip(blind, best, strict=True)):
        raise ValueError("where the best is no better than blind choice there is no way to go a share of")
    return _estimate(_share, [chosen, blind, best], seed=seed)


def _mean_difference(ours: Any, theirs: Any, axis: int = -1) -> Any:
    return np.mean(ours - theirs, axis=axis)


def _share(chosen: Any, blind: Any, best: Any, axis: int = -1) -> Any:
    return np.sum(chosen - blind, axis=axis) / np.sum(best - blind, axis=axis)


def _estimate(statistic: Callable[..., Any], columns: Sequence[Sequence[float]], *, seed: int) -> Estimate:
    """Without an interval where there are fewer than two tasks, or all of them are alike."""
    data = np.array(columns, dtype=np.float64)
    tasks = data.shape[1]
    if not tasks:
        return Estimate(value=None, low=None, high=None, tasks=0, method="none")
    value = float(statistic(*data))
    if tasks < 2 or (data == data[:, :1]).all():
        return Estimate(value=value, low=None, high=None, tasks=tasks, method="none")
    found = stats.bootstrap(
        tuple(data),
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value=value, low=float(found.low), high=float(found.high), tasks=tasks, method="bootstrap")


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """Two-sided exact p of as uneven a split of the tasks in which just one of two judges succeeded.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947); exact by the binomial distribution.
    """
    differing = only_ours + only_theirs
    return float(stats.binomtest(only_ours, differing, 0.5).pvalue) if differing else 1.0


def uneven(picked: Sequence[int], expected: Sequence[float]) -> float | None:
    """Chi-square p of counts against expected ones of the same sum; None: fewer than two places, or nothing counted."""
    if len(picked) < 2 or not sum(picked):
        return None
    return float(stats.chisquare(picked, expected).pvalue)
