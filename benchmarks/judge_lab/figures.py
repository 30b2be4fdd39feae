"""From decisions to figures: how often each judge was right, against chance, oracle and each other. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from benchmarks.judge_lab.agreement import cohen, fleiss
from benchmarks.judge_lab.cases import Case
from benchmarks.judge_lab.cells import NONE, Named
from benchmarks.judge_lab.intervals import gap_taken, mcnemar, paired_difference
from benchmarks.judge_lab.report import Agreement, Cell, Comparison, CurvePoint, Row
from benchmarks.judge_lab.subsets import expected_best, expected_pick
from benchmarks.stats import mean_estimate
from llm.chat import Usage


def cell_of(named: Named, rows: Sequence[Row], cases: Mapping[str, Case], *, making: Usage, seed: int) -> Cell:
    """All figures of one cell; `making` is what its evidence took."""
    whole = {row.task: row for row in rows if row.whole}
    chosen = {task: row.score for task, row in whole.items() if not row.error and row.score is not None}
    blind = {task: expected_pick(cases[task].scores or ()) for task in chosen}
    tight = [task for task in chosen if cases[task].decidable]
    best = {task: max(cases[task].scores or ()) for task in tight}
    none = [row for row in whole.values() if not row.error and row.label == NONE]
    return Cell(
        name=named.name,
        judge=named.judge,
        evidence=named.evidence,
        model=named.model,
        skipped=named.skipped,
        answered=sum(not row.error for row in whole.values()),
        unanswered=sum(bool(row.error) for row in whole.values()),
        none=len(none),
        none_right=sum(max(cases[row.task].scores or (1.0,)) == 0 for row in none),
        success=mean_estimate(list(chosen.values()), seed=seed),
        over_random=paired_difference(list(chosen.values()), list(blind.values()), seed=seed),
        accuracy=mean_estimate([_right(whole[task], cases[task]) for task in tight], seed=seed),
        gap=gap_taken([chosen[t] for t in tight], [blind[t] for t in tight], list(best.values()), seed=seed),
        curve=curve(rows, cases, seed=seed),
        usage=sum((row.usage for row in whole.values()), making),
    )


def _right(row: Row, case: Case) -> float:
    """Share of the choice that fell on a candidate with the best score."""
    scores = {attempt.index: attempt.score for attempt in case.attempts}
    best = max(case.scores or ())
    return sum(share for index, share in row.shares.items() if index != NONE and scores[int(index)] == best)


def curve(rows: Sequence[Row], cases: Mapping[str, Case], *, seed: int) -> tuple[CurvePoint, ...]:
    """Success by number of candidates: the mean over a task's sets of that size, then over tasks."""
    by_size: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.score is not None and not row.error:
            by_size[row.n][row.task].append(row.score)
    if not by_size:
        return ()
    alone = [expected_pick(case.scores) for case in cases.values() if case.scores]
    points = {1: mean_estimate(alone, seed=seed)}
    for size, tasks in by_size.items():
        points[size] = mean_estimate([fmean(scores) for scores in tasks.values()], seed=seed)
    return tuple(CurvePoint(n=size, success=points[size]) for size in sorted(points))


def exact_curve(judge: str, cases: Sequence[Case], sizes: Sequence[int], *, seed: int) -> tuple[CurvePoint, ...]:
    """Of random and oracle, over all sets of each size."""
    points: list[CurvePoint] = []
    for size in sizes:
        every = [case.scores for case in cases if case.scores and len(case.scores) >= size]
        values = [expected_best(scores, size) if judge == "oracle" else expected_pick(scores) for scores in every]
        if values:
            points.append(CurvePoint(n=size, success=mean_estimate(values, seed=seed)))
    return tuple(points)


def compare(cell: str, rows: Mapping[str, Row], other: str, others: Mapping[str, Row], *, seed: int) -> Comparison:
    """Two cells on the tasks that both answered and that are scored."""
    both = [task for task in rows if task in others]
    pairs = [(ours, theirs) for t in both if None not in (ours := rows[t].score, theirs := others[t].score)]
    ours, theirs = [a for a, _ in pairs if a is not None], [b for _, b in pairs if b is not None]
    only_ours = sum(a >= 1 > b for a, b in zip(ours, theirs, strict=True))
    only_theirs = sum(b >= 1 > a for a, b in zip(ours, theirs, strict=True))
    return Comparison(
        cell=cell,
        other=other,
        difference=paired_difference(ours, theirs, seed=seed),
        only_cell=only_ours,
        only_other=only_theirs,
        p=mcnemar(only_ours, only_theirs),
    )


def agreements(cells: Mapping[str, Mapping[str, Row]]) -> tuple[Agreement, ...]:
    """Every two cells on the tasks that both answered; `cells`: name -> task -> row."""
    found: list[Agreement] = []
    for (cell, rows), (other, others) in combinations(cells.items(), 2):
        labels = [(rows[task].label, others[task].label) for task in rows if task in others]
        if labels:
            kappa = cohen(*zip(*labels, strict=True))
            same = fmean(a == b for a, b in labels)
            found.append(Agreement(cell=cell, other=other, tasks=len(labels), same=same, kappa=kappa))
    return tuple(found)


def fleiss_over(cells: Mapping[str, Mapping[str, Row]]) -> float | None:
    """Over the tasks that all cells answered; None where there is no such task, or fewer than two cells."""
    everywhere = [set(rows) for rows in cells.values()]
    shared = sorted(set[str].intersection(*everywhere)) if everywhere else []
    return fleiss([[rows[task].label for rows in cells.values()] for task in shared]) if shared else None
