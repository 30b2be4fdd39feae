"""What a step costs is read from steps that were really executed."""

import pytest

from benchmarks.step_speed import Plan, measure
from vm_pool.errors import GuestError
from vm_pool.providers import make_provider
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import Script


@pytest.mark.desktop
async def test_every_phase_of_the_steps_of_a_written_rollout_is_measured() -> None:
    report = await measure(make_provider("sandbox"), "slim", plan=Plan(steps=5, screenshots=2))
    metrics = report["metrics"]
    assert isinstance(metrics, dict)
    phases = {"act", "approve", "decide", "delta", "ground", "observe", "record", "reflect"}
    assert set(metrics) == {
        f"{name}_ms" for name in phases | {"step_own", "settle", "transition", "evidence", "frame_client", "scrot"}
    }
    assert {metrics[f"{phase}_ms"]["n"] for phase in phases} == {5}
    assert metrics["step_own_ms"]["max"] >= max(metrics[f"{phase}_ms"]["max"] for phase in phases)
    assert metrics["transition_ms"]["n"] == metrics["evidence_ms"]["n"] >= 2
    assert metrics["evidence_ms"]["p50"] > metrics["transition_ms"]["min"]
    ratios = report["ratios"]
    assert isinstance(ratios, dict)
    assert ratios["scrot_over_frame"] > 1


async def test_a_rollout_that_does_not_go_as_written_is_no_measurement() -> None:
    script = Script()
    script.fail_next("perform", GuestError("the keyboard is broken"))
    with pytest.raises(GuestError, match="the written rollout ended as 'done': the keyboard is broken"):
        await measure(FakeProvider(script=script), "slim", plan=Plan(steps=5, screenshots=1))
