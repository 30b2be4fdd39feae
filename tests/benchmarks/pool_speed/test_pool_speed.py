"""The speed report has one shape, and every figure in it was measured."""

import os

import pytest

from benchmarks.pool_speed import Plan, measure
from benchmarks.pool_speed.samples import pss_mib, summarise
from vm_pool.providers import make_provider

FEW = Plan(single=1, crowd=2, crowds=1, frames=3, inputs=2, settles=1, starts=2)


def test_a_summary_has_the_middle_and_the_ends():
    assert summarise([3.0, 1.0, 2.0004]) == {"min": 1.0, "p50": 2.0, "max": 3.0, "n": 3}
    with pytest.raises(ValueError, match="at least one sample"):
        summarise([])


def test_memory_counts_living_processes_only():
    assert pss_mib([os.getpid()]) > 1
    assert pss_mib([2**22 + 1]) == 0


@pytest.mark.desktop
async def test_a_short_plan_measures_every_metric():
    notes: list[str] = []
    report = await measure(make_provider("sandbox"), "slim", plan=FEW, on_note=notes.append)
    assert list(report) == ["provider", "image", "metrics"]
    assert (report["provider"], report["image"]) == ("sandbox", "slim")
    metrics = report["metrics"]
    assert isinstance(metrics, dict)
    counts = {name: summary["n"] for name, summary in metrics.items()}
    assert counts == {
        "ready_ms_n1": 1,
        "ready_ms_n2_slowest": 1,
        "pss_mib_n2": 2,
        "frame_grab_ms": 3,
        "frame_client_ms": 3,
        "click_ms": 2,
        "type100_ms": 2,
        "settle_ms": 1,
    }
    assert all(0 < summary["min"] <= summary["p50"] <= summary["max"] for summary in metrics.values())
    assert len(notes) == 3
