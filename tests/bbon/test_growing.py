from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbon.growing import BATCH, affordable, more, unsure
from bbon.types import Verdict


def verdict(winner: int | None, confidence: float, method: Any = "mcq") -> Verdict:
    return Verdict(winner=winner, confidence=confidence, reasons="", method=method)


def test_a_judge_that_chose_none_or_is_not_sure_enough_is_unsure() -> None:
    assert unsure(verdict(None, 1.0), 0.7)
    assert unsure(verdict(2, 0.69), 0.7)
    assert not unsure(verdict(2, 0.7), 0.7)


def test_where_nothing_could_be_judged_more_of_the_same_is_no_cure() -> None:
    assert not unsure(verdict(None, 1.0, "no_candidate"), 0.7)


def test_rollouts_are_added_by_batches_up_to_the_most() -> None:
    def added(n: int, room: int | None = None) -> int:
        return more(verdict(None, 0.1), n=n, most=10, confidence=0.7, room=room)

    assert [added(4), added(7), added(9), added(10), added(12)] == [BATCH, BATCH, 1, 0, 0]
    assert [added(4, room=2), added(4, room=0)] == [2, 0]
    assert more(verdict(1, 0.9), n=4, most=10, confidence=0.7, room=None) == 0


def test_the_budgets_pay_as_many_as_the_average_so_far_allows() -> None:
    assert affordable(4, [(3.0, 2.0), (None, 400)]) == 2
    assert affordable(4, [(3.0, 2.0), (450, 400)]) == 0
    assert affordable(4, [(None, 2.0), (None, 400)]) is None
    assert affordable(4, [(3.0, 0.0)]) == 4
    assert affordable(4, [(450, 500)]) == 0


@given(st.integers(1, 10), st.integers(1, 10**6), st.integers(1, 10**6))
def test_what_is_affordable_fits_at_the_average(n: int, spent: int, limit: int) -> None:
    room = affordable(n, [(limit, spent)])
    assert room is not None
    assert room == 0 or spent + room * spent / n <= limit + 1e-6 * limit


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_none_is_never_sure(confidence: float) -> None:
    assert unsure(verdict(None, 1.0), confidence)
