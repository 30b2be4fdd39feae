"""Statistics against closed forms and published examples."""

import math
from itertools import combinations, pairwise
from statistics import NormalDist, fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbon.types import Ballot
from benchmarks.judge_lab.agreement import cohen, fleiss
from benchmarks.judge_lab.intervals import gap_taken, mcnemar, paired_difference, uneven
from benchmarks.judge_lab.positions import positions
from benchmarks.judge_lab.subsets import expected_best, expected_pick, windows


def test_the_interval_of_a_difference_is_that_of_the_normal_approximation_for_many_tasks() -> None:
    ours = [float(task % 3 == 0) for task in range(600)]
    theirs = [float(task % 4 == 0) for task in range(600)]
    found = paired_difference(ours, theirs, seed=1)
    gains = [a - b for a, b in zip(ours, theirs, strict=True)]
    half = NormalDist().inv_cdf(0.975) * pstdev(gains) / math.sqrt(len(gains))
    assert found.value == pytest.approx(1 / 3 - 1 / 4)
    assert found.low == pytest.approx(fmean(gains) - half, abs=half / 10)
    assert found.high == pytest.approx(fmean(gains) + half, abs=half / 10)
    assert found.tasks == 600


def test_tasks_are_resampled_whole_so_a_constant_difference_has_no_width() -> None:
    found = paired_difference([0.5, 0.75, 1.0, 0.25], [0.25, 0.5, 0.75, 0.0])
    assert (found.low, found.high) == (0.25, 0.25)


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.43, 1.0])
def test_a_judge_that_takes_a_share_of_every_gap_takes_that_share(share: float) -> None:
    blind, best = [0.25, 0.5, 0.125, 0.75], [1.0, 1.0, 0.5, 1.0]
    chosen = [low + share * (high - low) for low, high in zip(blind, best, strict=True)]
    found = gap_taken(chosen, blind, best)
    assert found.value == pytest.approx(share)
    assert found.low == pytest.approx(share)


def test_a_gap_that_is_not_there_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="no way"):
        gap_taken([1.0], [1.0], [1.0])
    assert gap_taken([], [], []).value is None


def test_one_task_has_a_value_and_no_interval() -> None:
    found = paired_difference([1.0], [0.0])
    assert (found.value, found.low, found.method) == (1.0, None, "none")


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 7, 2 * (1 + 8) / 2**8), (0, 6, 2 / 2**6), (7, 1, 2 * (1 + 8) / 2**8)],
)
def test_mcnemar_is_the_exact_binomial_tail(ours: int, theirs: int, p: float) -> None:
    assert mcnemar(ours, theirs) == pytest.approx(p)


def test_an_uneven_choice_of_two_places_is_the_chi_square_of_one_degree() -> None:
    assert uneven([30, 10], [20.0, 20.0]) == pytest.approx(math.erfc(math.sqrt(10 / 2)))
    assert uneven([20, 20], [20.0, 20.0]) == pytest.approx(1.0)
    assert uneven([], []) is None
    assert uneven([0, 0], [0.0, 0.0]) is None


def test_cohens_kappa_of_two_judges_over_fifty_tasks() -> None:
    ours = ["yes"] * 25 + ["no"] * 25
    theirs = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen(ours, theirs) == pytest.approx(0.4)
    assert cohen([1, 2, 3], [1, 2, 3]) == 1.0
    assert cohen([1, 1], [1, 1]) is None


def test_fleiss_kappa_is_that_of_the_published_example() -> None:
    """Fleiss' table as it is usually quoted: 10 subjects, 14 raters, 5 categories, kappa 0.210."""
    table = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    labels = [[label for label, count in enumerate(row) for _ in range(count)] for row in table]
    assert fleiss(labels) == pytest.approx(0.210, abs=5e-4)
    assert fleiss([["a"], ["b"]]) is None


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=7), st.data())
def test_the_oracle_at_n_is_the_mean_over_all_sets(scores: list[float], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(scores)))
    every = [max(some) for some in combinations(scores, size)]
    assert expected_best(scores, size) == pytest.approx(fmean(every))
    assert expected_best(scores, 1) == pytest.approx(expected_pick(scores))


@given(st.integers(2, 12), st.data())
def test_as_many_sets_as_candidates_hold_each_equally_often(total: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, total - 1) if total > 2 else st.just(2))
    found = windows(total, size, total, seed="x")
    counts = [sum(place in some for some in found) for place in range(total)]
    assert all(len(set(some)) == min(size, total) for some in found)
    assert len(set(counts)) == 1


def test_one_set_for_each_size_gives_growing_prefixes_of_one_order() -> None:
    sets = [set(windows(8, size, 1, seed="7 task")[0]) for size in range(2, 9)]
    assert all(smaller < larger for smaller, larger in pairwise(sets))
    assert windows(8, 3, 1, seed="7 task") != windows(8, 3, 1, seed="8 task")


def ballot(order: tuple[int | None, ...], choice: int | None) -> Ballot:
    return Ballot(order=order, choice=choice)


def test_a_judge_that_always_takes_the_first_is_found_out() -> None:
    tasks = [[[ballot((turn, (turn + 1) % 3, (turn + 2) % 3), turn)] for turn in range(3)] for _ in range(20)]
    found = positions("j", tasks)
    assert found.picked == (60, 0, 0)
    assert found.expected == (20.0, 20.0, 20.0)
    assert found.p is not None
    assert found.p < 1e-20
    assert found.steady == 0.0


def test_a_judge_that_sticks_to_its_choice_has_no_bias_for_places() -> None:
    tasks = [[[ballot((turn, (turn + 1) % 3, (turn + 2) % 3), 1)] for turn in range(3)] for _ in range(20)]
    found = positions("j", tasks)
    assert found.picked == (20, 20, 20)
    assert (found.p, found.steady) == (1.0, 1.0)


def test_a_choice_without_a_place_and_a_single_option_are_not_counted() -> None:
    found = positions("j", [[[ballot((0, 1), None)]], [[ballot((0,), 0)]], [[ballot((0, None), None)]]])
    assert found.questions == 1
    assert found.picked == (0, 1)
