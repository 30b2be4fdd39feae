"""Statistics of benchmark results. Pure: scores in, estimates out.

Rollouts of one task are not independent, so tasks are the unit: intervals resample tasks, never rollouts.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

import numpy as np

from benchmarks.results import Estimate

RESAMPLES = 10_000
_Z95 = NormalDist().inv_cdf(0.975)


class Interval(NamedTuple):
    low: float
    high: float


class Cluster(NamedTuple):
    """What one task adds to a ratio of sums: `total` over `size` observations."""

    total: float
    size: int


def wilson(successes: float, trials: int) -> Interval:
    """95 % score interval of a proportion; sound for few trials and at 0 and 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if trials <= 0:
        raise ValueError("a proportion needs at least one trial")
    share, z2 = successes / trials, _Z95**2
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Interval(max(0.0, center - half), min(1.0, center + half))


def cluster_bootstrap(clusters: Sequence[Cluster], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """95 % percentile interval of the ratio of sums, drawing whole clusters with replacement.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
    """
    if not clusters:
        raise ValueError("an interval needs at least one cluster")
    data = np.array(clusters, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(clusters), size=(resamples, len(clusters)))
    sums = data[draws].sum(axis=1)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    return Interval(float(low), float(high))


def estimate(clusters: Sequence[Cluster], *, signed: bool = False, seed: int = 0) -> Estimate:
    """Ratio of sums over tasks with its interval; tasks without observations are left out.

    Where all tasks are alike the bootstrap would answer an interval of no width, e.g. 0 to 0 when nothing ever
    succeeded. So a share counts as one trial per task then (`wilson`), which for values between 0 and 1 is the widest
    that can be; likewise when every task gave only 0 or only 1. `signed`: values may be negative, so only resample,
    and tell no interval when all are alike.
    """
    counted = [cluster for cluster in clusters if cluster.size]
    if not counted:
        return Estimate(value=None, low=None, high=None, tasks=0, method="none")
    value = sum(c.total for c in counted) / sum(c.size for c in counted)
    alike = len({c.total / c.size for c in counted}) == 1
    if signed and alike:
        return Estimate(value=value, low=None, high=None, tasks=len(counted), method="none")
    if not signed and (alike or all(c.total in (0, c.size) for c in counted)):
        method, interval = "wilson", wilson(value * len(counted), len(counted))
    else:
        method, interval = "bootstrap", cluster_bootstrap(counted, seed=seed)
    return Estimate(value=value, low=interval.low, high=interval.high, tasks=len(counted), method=method)


def mean_estimate(values: Sequence[float | None], *, signed: bool = False, seed: int = 0) -> Estimate:
    """Mean of one value per task; None: the task is not counted."""
    return estimate([Cluster(value, 1) for value in values if value is not None], signed=signed, seed=seed)


def single_rollout(scores: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """Mean over all rollouts of all tasks; `scores` holds the scored rollouts of each task."""
    return estimate([Cluster(sum(task), len(task)) for task in scores], seed=seed)


def random_pick(scores: Sequence[float]) -> float | None:
    """Expected score of one rollout picked blindly; None when none is scored."""
    return fmean(scores) if scores else None


def oracle_pick(scores: Sequence[float]) -> float | None:
    """Score of the best rollout; None when none is scored."""
    return max(scores, default=None)


def pass_at_k(n: int, successes: int, k: int) -> float:
    """Unbiased chance that at least one of k rollouts succeeds, from n rollouts of which some did.

    Raises: `ValueError` unless 1 <= k <= n and 0 <= successes <= n.
    Source: M. Chen et al., "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, equation 1.
    """
    if not 1 <= k <= n or not 0 <= successes <= n:
        raise ValueError(f"pass@{k} of {successes} successes among {n} rollouts is not defined")
    return 1.0 - math.comb(n - successes, k) / math.comb(n, k)


def mean_pass_at(scores: Sequence[Sequence[float]], n: int) -> Mapping[int, float]:
    """k -> mean unbiased pass@k for k from 1 to n, over the tasks with at least k scored rollouts; success is 1."""
    table: dict[int, float] = {}
    for k in range(1, n + 1):
        enough = [task for task in scores if len(task) >= k]
        if enough:
            table[k] = fmean(pass_at_k(len(task), sum(score >= 1.0 for score in task), k) for task in enough)
    return table
