"""From task results to the table of a benchmark. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from statistics import fmean

from benchmarks.results import Table, TaskResult
from benchmarks.stats import mean_estimate, mean_pass_at, oracle_pick, random_pick, single_rollout
from llm.chat import Usage


def tabulate(results: Sequence[TaskResult], *, n: int, seed: int = 0) -> Table:
    """All figures of a benchmark run; `n` is the number of rollouts that was asked for."""
    scores = [_scored(result) for result in results]
    picks = [judged_score(result) for result in results]
    blind = [random_pick(task) for task in scores]
    gains = [
        pick - chance for pick, chance in zip(picks, blind, strict=True) if pick is not None and chance is not None
    ]
    usage = total_usage(results)
    return Table(
        n=n,
        tasks=len(results),
        single=single_rollout(scores, seed=seed),
        best_of_n=mean_estimate(picks, seed=seed),
        random_pick=mean_estimate(blind, seed=seed),
        oracle=mean_estimate([oracle_pick(task) for task in scores], seed=seed),
        judge_gain=mean_estimate(gains, signed=True, seed=seed),
        pass_at=mean_pass_at(scores, n),
        none_chosen=sum(result.pick == "none" for result in results),
        outcomes=Counter(rollout.outcome.kind for result in results for rollout in result.rollouts),
        by_difficulty=_by_difficulty(results),
        calls=usage.calls,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        usd=usage.usd,
        seconds=sum(result.seconds.get("total", 0.0) for result in results),
    )


def judged_score(result: TaskResult) -> float | None:
    """Score of what the judge would have delivered: 0 when it chose none of them, None when that is unknown."""
    if result.pick == "none":
        return 0.0 if _scored(result) else None
    if result.winner is None:
        return None
    return next((r.outcome.score for r in result.rollouts if r.index == result.winner), None)


def total_usage(results: Sequence[TaskResult]) -> Usage:
    """Tokens and money of all roles of all tasks."""
    return reduce(add, (usage for result in results for usage in result.usage.values()), Usage())


def _scored(result: TaskResult) -> list[float]:
    return [score for score in result.scores if score is not None]


def _by_difficulty(results: Sequence[TaskResult]) -> Mapping[str, float]:
    groups: dict[str, list[float]] = defaultdict(list)
    for result in results:
        groups[result.difficulty or "unrated"].extend(_scored(result))
    return {name: fmean(scores) for name, scores in groups.items() if scores}
