"""From task results to the table."""

import pytest

from benchmarks.results import Outcome, Pick, RolloutScore, TaskResult
from benchmarks.table import judged_score, tabulate
from llm.chat import Usage

LOST = Outcome(kind="guest_lost", detail="gone")


def task(
    *scores: float | None, winner: int | None = None, pick: Pick | None = None, difficulty: str = ""
) -> TaskResult:
    outcomes = [LOST if score is None else Outcome.scored(score) for score in scores]
    rollouts = [
        RolloutScore(index=i, status="done", steps=1, seconds=1.0, outcome=outcome)
        for i, outcome in enumerate(outcomes)
    ]
    return TaskResult(
        task_id="t",
        domain="files",
        instruction="Do it",
        image="slim",
        difficulty=difficulty,
        rollouts=tuple(rollouts),
        pick=pick or ("unjudged" if winner is None else "picked"),
        winner=winner,
        usage={"worker": Usage(calls=2, input_tokens=10, output_tokens=5), "judge": Usage(calls=1)},
        seconds={"rollouts": 3.0, "total": 4.0},
        run_dir="tasks/t/attempts/1",
    )


def test_the_table_holds_single_judged_random_and_oracle_success():
    table = tabulate([task(1, 0, winner=0), task(0, 1, winner=0), task(0, 0, pick="none"), task(1, 1, winner=1)], n=2)
    assert table.single.value == 0.5
    assert table.random_pick.value == 0.5
    assert table.best_of_n.value == 0.5
    assert table.oracle.value == 0.75
    assert table.judge_gain.value == 0.0
    assert table.pass_at == {1: pytest.approx(0.5), 2: pytest.approx(0.75)}
    assert (table.none_chosen, table.tasks, table.n) == (1, 4, 2)


def test_lost_machines_are_left_out_and_counted():
    table = tabulate([task(1, None, winner=0), task(None, None)], n=2)
    assert table.single.value == 1.0
    assert (table.oracle.tasks, table.oracle.value) == (1, 1.0)
    assert table.outcomes == {"scored": 1, "guest_lost": 3}


def test_choosing_none_delivers_nothing_and_no_verdict_is_not_counted():
    assert judged_score(task(1, 1, pick="none")) == 0.0
    assert judged_score(task(1, 1, pick="unjudged")) is None
    assert judged_score(task(0, None, winner=1)) is None


def test_calls_tokens_and_seconds_add_up():
    table = tabulate([task(1, winner=0), task(0, winner=0)], n=1)
    assert (table.calls, table.input_tokens, table.output_tokens, table.seconds) == (6, 20, 10, 8.0)


def test_success_is_told_by_difficulty():
    table = tabulate([task(1, 1, difficulty="easy"), task(0, 0, difficulty="hard"), task(0, 1)], n=2)
    assert table.by_difficulty == {"easy": 1.0, "hard": 0.0, "unrated": 0.5}


def test_an_outcome_has_a_score_exactly_when_it_is_scored():
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Outcome(kind="guest_lost", score=0.0)
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Outcome(kind="scored")


def test_a_result_is_complete_unless_another_attempt_may_find_out_more():
    assert task(1, 0).complete
    assert not task(1, None).complete
