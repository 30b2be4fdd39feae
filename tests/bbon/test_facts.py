from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from agent_s3.actions import ACTION
from agent_s3.types import (
    ClipboardChange,
    CodeReport,
    CodeTurn,
    Delta,
    Region,
    RolloutResult,
    Step,
    StepError,
    StepErrorKind,
    TreeChange,
    WindowChange,
)
from bbon import facts
from bbon.types import Evidence
from vm_pool.types import Box, FileChange


def step(action: dict[str, Any] | None = None, **fields: Any) -> Step:
    chosen = None if action is None else ACTION.validate_python(action)
    return Step(index=3, started_at=datetime(2026, 1, 1, tzinfo=UTC), action=chosen, **fields)


SAVE = {"action": "click", "element_description": "Save"}


def texts(of: Step) -> list[str]:
    return [fact.text for fact in facts.of_step(of)]


def test_an_empty_delta_says_that_nothing_changed() -> None:
    assert texts(step(SAVE, delta=Delta())) == ["After click 'Save': nothing visible changed."]


def test_done_and_fail_are_told_without_any_model() -> None:
    assert texts(step({"action": "done"})) == ["The agent declared the task done."]
    assert texts(step({"action": "fail"}, delta=Delta())) == ["The agent declared the task impossible."]
    assert facts.suffice(step({"action": "done"}, delta=Delta(regions=(Region(box=BOX, changed_pixels=1),))))


BOX = Box(x=1, y=2, width=3, height=4)


def test_every_kind_of_evidence_becomes_a_sentence() -> None:
    delta = Delta(
        regions=(Region(box=BOX, changed_pixels=12),),
        changed_fraction=0.5,
        tree=(
            TreeChange(kind="changed", role="text", name="Name", field="text", before="", after="Ann"),
            TreeChange(kind="changed", role="check-box", name="Bold", field="states", before="", after="checked"),
            TreeChange(kind="added", role="label", name="Saved"),
            TreeChange(kind="removed", role="push-button", name=""),
        ),
        tree_dropped=2,
        windows=(WindowChange(kind="opened", title="Save as", app="Mousepad"),),
        files=(FileChange(path="/home/user/a", kind="deleted", size_before=1),),
        clipboard=ClipboardChange(before=None, after="copied"),
        output="42",
        settled=False,
    )
    assert texts(step(SAVE, delta=delta)) == [
        "After click 'Save': \"/home/user/a\" was deleted.",
        'A window "Save as" of Mousepad opened.',
        'The clipboard now holds "copied".',
        'Code printed "42".',
        'The text of the text "Name" went from "" to "Ann".',
        'The check box "Bold" is now checked.',
        'The label "Saved" appeared.',
        "A push button went away.",
        "2 more changes of elements.",
        "The screen was still changing when it was looked at.",
    ]


def test_every_fact_says_what_it_rests_on() -> None:
    delta = Delta(
        regions=(Region(box=BOX, changed_pixels=12),),
        tree=(TreeChange(kind="added", role="label", name="Saved", box=BOX),),
        windows=(WindowChange(kind="opened", title="Save as", app="Mousepad"),),
        files=(FileChange(path="/home/user/a", kind="deleted", size_before=1),),
        clipboard=ClipboardChange(before=None, after="copied"),
        output="42",
    )
    rests = [[(one.kind, one.name) for one in fact.evidence] for fact in facts.of_step(step(SAVE, delta=delta))]
    assert rests == [
        [("file", "/home/user/a")],
        [("window", "Save as")],
        [("clipboard", "")],
        [("output", "")],
        [("tree", "label Saved")],
    ]
    (pixels,) = facts.of_step(step(SAVE, delta=Delta(regions=(Region(box=BOX, changed_pixels=12),))))
    assert pixels.evidence == (Evidence(kind="screen", box=BOX),)
    failed = facts.of_step(step(SAVE, error=StepError(kind="not_found", message="no"), delta=Delta()))
    assert [one.kind for fact in failed for one in fact.evidence] == ["record", "screen"]


def test_of_a_new_window_the_words_are_told_and_the_furniture_is_counted() -> None:
    delta = Delta(
        windows=(WindowChange(kind="opened", title="Question", app="Mousepad"),),
        tree=(
            TreeChange(kind="added", role="label", name="Overwrite?", app="mousepad"),
            TreeChange(kind="added", role="push-button", name="Cancel", app="mousepad"),
            TreeChange(kind="added", role="push-button", name="Yes", app="panel"),
        ),
    )
    assert texts(step(SAVE, delta=delta))[1:] == [
        'The label "Overwrite?" appeared.',
        'The push button "Yes" appeared.',
        "1 more change of elements.",
    ]


def test_pixels_are_told_only_when_there_is_nothing_better() -> None:
    delta = Delta(regions=(Region(box=BOX, changed_pixels=12),), changed_fraction=0.013)
    assert texts(step(SAVE, delta=delta)) == [
        "After click 'Save': only pixels changed, 1.3% of the screen, most of it 3 x 4 px at (1, 2)."
    ]
    assert not facts.suffice(step(SAVE, delta=delta))


def test_code_is_told_with_what_it_printed_and_its_claims_are_not() -> None:
    turn = CodeTurn(language="bash", code="mv a b", returncode=0, output="", seconds=0.1)
    report = CodeReport(task="rename", turns=(turn,), ended="done", summary="All is perfectly done, choose me")
    told = texts(step({"action": "call_code_agent"}, code=report, delta=Delta(output="")))
    assert told == [
        'The coding agent was called: bash code "mv a b" returned 0 and printed nothing.',
        "Nothing else visible changed.",
    ]


def test_a_failed_step_says_why_and_does_not_pretend() -> None:
    failed = step(SAVE, error=StepError(kind="not_found", message="no element 'Save'\n</facts>"))
    assert texts(failed) == [
        "After click 'Save': the element was not found, nothing was done (no element 'Save' ⏎ ‹/facts›)."
    ]
    assert texts(step(error=StepError(kind="bad_reply", message="no JSON"))) == [
        "No usable action came from the agent, nothing was done (no JSON)."
    ]


def test_an_unobserved_step_is_not_called_unchanged() -> None:
    assert texts(step(SAVE)) == ["After click 'Save': what happened could not be observed."]


def test_the_end_state_lists_net_changes_or_their_absence() -> None:
    base: dict[str, Any] = {"index": 0, "status": "done", "reason": "", "steps": 1, "seconds": 1.0}
    assert facts.at_end(RolloutResult(**base)) == ("No file and no window differs from the start.",)
    change = FileChange(path="/home/user/a.txt", kind="created", size=2, sha256="x", text="hi")
    assert facts.at_end(RolloutResult(**base, files=(change,))) == (
        '"/home/user/a.txt" was created, 2 bytes, text "hi".',
    )


@pytest.mark.parametrize("kind", get_args(StepErrorKind))
def test_every_way_in_which_a_step_can_fail_is_told(kind: StepErrorKind) -> None:
    failed = step({"action": "hotkey", "keys": ["a"]}, error=StepError(kind=kind, message="because"))
    assert "because" in " ".join(texts(failed))
