"""Statistics in numbers that can be checked by hand or against published values."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import (
    Cluster,
    cluster_bootstrap,
    estimate,
    mean_estimate,
    mean_pass_at,
    pass_at_k,
    random_pick,
    single_rollout,
    wilson,
)

tasks = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5), min_size=1, max_size=8)


def test_the_wilson_interval_agrees_with_the_textbook():
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_the_wilson_interval_does_not_collapse_when_nothing_or_everything_succeeds():
    assert wilson(0, 16).high == pytest.approx(0.1936, abs=1e-4)
    assert wilson(16, 16).low == pytest.approx(1 - 0.1936, abs=1e-4)


def test_the_bootstrap_treats_a_tasks_rollouts_as_one_draw():
    alike = [Cluster(8.0, 8)] * 5 + [Cluster(0.0, 8)] * 5
    apart = [Cluster(4.0, 8)] * 10
    low, high = cluster_bootstrap(alike)
    assert low < 0.3
    assert high > 0.7
    assert cluster_bootstrap(apart) == (0.5, 0.5)


def test_the_bootstrap_is_reproducible():
    clusters = [Cluster(1.0, 2), Cluster(0.0, 2), Cluster(2.0, 2)]
    assert cluster_bootstrap(clusters, seed=7) == cluster_bootstrap(clusters, seed=7)


def test_nothing_scored_is_no_estimate_rather_than_zero():
    nothing = mean_estimate([None, None])
    assert (nothing.value, nothing.low, nothing.tasks, nothing.method) == (None, None, 0, "none")
    assert random_pick([]) is None


def test_unscored_tasks_are_left_out_of_the_mean():
    some = mean_estimate([1.0, None, 0.0])
    assert (some.value, some.tasks, some.method) == (0.5, 2, "wilson")


def test_a_signed_difference_may_have_a_negative_interval():
    gain = mean_estimate([0.5, -0.5, 0.25, -0.25], signed=True)
    assert gain.method == "bootstrap"
    assert gain.low is not None
    assert gain.low < 0


@pytest.mark.parametrize("scores", [[[1.0, 0.0]], [[1.0, 0.0]] * 10])
def test_tasks_that_are_all_alike_do_not_make_a_share_certain(scores: list[list[float]]):
    found = single_rollout(scores)
    assert found.method == "wilson"
    assert (found.low, found.high) == wilson(len(scores) / 2, len(scores))


def test_differences_that_are_all_alike_tell_no_interval():
    for gains in ([0.0] * 10, [0.25]):
        found = mean_estimate(gains, signed=True)
        assert (found.value, found.low, found.high, found.method) == (gains[0], None, None, "none")


def test_a_single_rollout_weighs_each_rollout_the_same():
    assert single_rollout([[1.0, 1.0, 0.0], [0.0]]).value == 0.5


@given(st.integers(1, 7), st.data())
def test_pass_at_k_equals_counting_all_choices(n: int, data: st.DataObject):
    successes, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    rollouts = [True] * successes + [False] * (n - successes)
    hits = sum(any(choice) for choice in combinations(rollouts, k))
    assert pass_at_k(n, successes, k) == pytest.approx(hits / math.comb(n, k))


def test_pass_at_k_is_undefined_beyond_the_rollouts():
    with pytest.raises(ValueError, match="pass@5 of 1 successes among 4 rollouts"):
        pass_at_k(4, 1, 5)


@given(tasks)
def test_pass_at_one_is_the_mean_over_tasks_and_grows_with_k(scores: list[list[float]]):
    width = min(len(task) for task in scores)
    table = mean_pass_at([task[:width] for task in scores], width)
    blind = [random_pick(task[:width]) for task in scores]
    assert table[1] == pytest.approx(mean_estimate(blind).value)
    assert list(table.values()) == sorted(table.values())


@given(tasks)
def test_an_interval_holds_its_value(scores: list[list[float]]):
    found = estimate([Cluster(sum(task), len(task)) for task in scores])
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1
