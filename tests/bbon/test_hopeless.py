from collections.abc import Sequence

from bbon_stage import make_step

from agent_s3.types import CodeReport, Delta, FrameRef, Region, Step
from bbon.hopeless import IDLE_STEPS, LOOP_STEPS, hopeless
from vm_pool.types import Box, FileChange

CLICK = {"action": "click", "element_description": "Save"}
PIXELS = Delta(regions=(Region(box=Box(x=0, y=0, width=9, height=9), changed_pixels=9),))


def screen(name: str) -> FrameRef:
    return FrameRef(sha256=name, width=1, height=1)


def steps(deltas: Sequence[Delta | None], screens: str = "") -> list[Step]:
    shown = screens or "a" * len(deltas)
    return [
        make_step(i, CLICK, delta=delta, after=screen(name))
        for i, (delta, name) in enumerate(zip(deltas, shown, strict=True))
    ]


def test_steps_without_any_change_are_hopeless_after_a_while() -> None:
    assert hopeless(steps([Delta()] * (IDLE_STEPS - 1))) is None
    assert "nothing changed" in (hopeless(steps([PIXELS] + [Delta()] * IDLE_STEPS)) or "")


def test_one_change_in_between_is_hope() -> None:
    assert hopeless(steps([Delta()] * 3 + [PIXELS] + [Delta()] * 3)) is None


def test_a_step_that_was_not_seen_or_not_settled_is_no_evidence() -> None:
    assert hopeless(steps([None] * IDLE_STEPS, "abcd")) is None
    assert hopeless(steps([Delta(settled=False)] * IDLE_STEPS)) is None


def test_going_to_and_fro_between_two_screens_is_hopeless() -> None:
    assert "the same 2 screens" in (hopeless(steps([PIXELS] * LOOP_STEPS, "ab" * (LOOP_STEPS // 2))) or "")
    assert hopeless(steps([PIXELS] * LOOP_STEPS, "abc" + "a" * (LOOP_STEPS - 3))) is None


def test_work_on_files_is_none_that_a_screen_must_show() -> None:
    saved = PIXELS.model_copy(update={"files": (FileChange(path="/home/user/a", kind="modified", size=1),)})
    assert hopeless(steps([PIXELS] * (LOOP_STEPS - 1) + [saved], "ab" * (LOOP_STEPS // 2))) is None
    coded = [
        step.model_copy(update={"code": CodeReport(task="", turns=(), ended="done", summary="")})
        for step in steps([PIXELS] * LOOP_STEPS, "a" * LOOP_STEPS)
    ]
    assert hopeless(coded) is None
