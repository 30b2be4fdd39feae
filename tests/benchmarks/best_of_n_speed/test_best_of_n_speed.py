"""Wall times are those of runs that went as they were written."""

import pytest

from benchmarks.best_of_n_speed import Plan, measure, measure_stopping
from benchmarks.best_of_n_speed.script import actions
from vm_pool.errors import GuestError
from vm_pool.providers import make_provider
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import Script


def test_each_rollout_types_a_line_of_its_own_saves_it_and_says_done() -> None:
    one, other = actions(1, 8), actions(2, 8)
    assert len(one) == 9
    assert [first != second for first, second in zip(one, other, strict=True)].count(True) == 1
    assert (one[0]["action"], one[-2]["keys"], one[-1]["action"]) == ("open", ["ctrl", "s"], "done")


@pytest.mark.desktop
async def test_whole_runs_are_measured_and_compared_with_the_smallest() -> None:
    plan = Plan(ns=(1, 2), steps=3, latency_s=0.1, warm=False)
    report = await measure(make_provider("sandbox"), "slim", plan=plan)
    assert set(report["runs"]) == {1, 2}
    for found in report["runs"].values():
        phases = [found[f"{name}_s"]["p50"] for name in ("boot", "setup", "snapshot", "rollouts", "judge", "deliver")]
        assert found["total_s"]["p50"] >= sum(phases) * 0.99
        assert found["judge_s"]["p50"] >= 0.1
        assert found["rollouts_s"]["p50"] >= 4 * 0.1
    assert report["ratios"]["wall(1)/wall(1)"] == 1.0
    assert report["ratios"]["wall(2)/wall(1)"] > 0


@pytest.mark.desktop
async def test_stopping_rollouts_without_hope_saves_their_calls_and_not_the_winner() -> None:
    found = await measure_stopping(make_provider("sandbox"), "slim", latency_s=0.1)
    assert (found["off"]["stopped"], found["on"]["stopped"]) == (0, 3)
    assert found["off"]["steps"] == 4 + 3 * 15
    assert found["on"]["worker_calls"] < found["off"]["worker_calls"]


async def test_a_run_that_does_not_go_as_written_is_no_measurement() -> None:
    script = Script()
    script.fail_next("perform", GuestError("the keyboard is broken"))
    with pytest.raises(GuestError, match="the written run broke off"):
        await measure(FakeProvider(script=script), "slim", plan=Plan(ns=(1,), steps=3, latency_s=0.0, warm=False))
