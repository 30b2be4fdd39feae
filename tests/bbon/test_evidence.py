from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_s3.types import FrameRef, RolloutResult, WindowChange
from bbon import evidence
from bbon.types import Candidate, Fact
from vm_pool.types import FileChange


def result(index: int, **fields: Any) -> RolloutResult:
    base: dict[str, Any] = {"status": "done", "reason": "", "steps": 3, "seconds": 1.0}
    return RolloutResult(index=index, **{**base, **fields})


def made(text: str) -> FileChange:
    return FileChange(path="/home/user/Documents/a.txt", kind="created", size=len(text), sha256=text, mode=0o644)


def groups(*results: RolloutResult) -> list[tuple[int, ...]]:
    return [outcome.members for outcome in evidence.outcomes([evidence.candidate(r, ()) for r in results])]


def test_rollouts_with_equal_files_and_windows_are_one_outcome() -> None:
    assert groups(result(0, files=(made("x"),)), result(1, files=(made("y"),)), result(2, files=(made("x"),))) == [
        (0, 2),
        (1,),
    ]


def test_the_one_with_the_fewest_steps_stands_for_its_equals() -> None:
    found = evidence.outcomes(
        [evidence.candidate(r, ()) for r in (result(0, files=(made("x"),)), result(1, files=(made("x"),), steps=1))]
    )
    assert found[0].candidate.index == 1


def test_an_open_window_makes_a_difference() -> None:
    opened = WindowChange(kind="opened", title="Save?", app="Mousepad")
    assert len(groups(result(0, files=(made("x"),)), result(1, files=(made("x"),), windows=(opened,)))) == 2


def test_without_changed_files_only_equal_screens_are_equal() -> None:
    one, other = FrameRef(sha256="1", width=1, height=1), FrameRef(sha256="2", width=1, height=1)
    assert groups(result(0, last=one), result(1, last=other), result(2, last=one)) == [(0, 2), (1,)]


def test_what_only_the_screen_shows_makes_a_difference() -> None:
    """Two calculators are open; one shows 84, the other 96."""
    opened = (WindowChange(kind="opened", title="Calculator", app="Calculator"),)
    right, wrong = FrameRef(sha256="1", width=1, height=1), FrameRef(sha256="2", width=1, height=1)
    assert groups(result(0, windows=opened, last=wrong), result(1, windows=opened, last=right)) == [(0,), (1,)]
    saved = (made("x"),)
    assert groups(result(0, files=saved, last=wrong), result(1, files=saved, last=right)) == [(0, 1)]


def test_a_rollout_that_ended_on_the_first_screen_without_any_change_is_idle() -> None:
    start, other = FrameRef(sha256="1", width=1, height=1), FrameRef(sha256="2", width=1, height=1)
    assert evidence.candidate(result(0, first=start, last=start), ()).idle
    assert not evidence.candidate(result(0, first=start, last=other), ()).idle
    assert not evidence.candidate(result(0, first=start, last=start, status="fail"), ()).idle
    assert not evidence.candidate(result(0, first=start, last=start, files=(made("x"),)), ()).idle


def test_declaring_a_task_impossible_is_an_outcome_of_its_own() -> None:
    assert len(groups(result(0), result(1, status="fail"))) == 2


def test_files_that_were_not_hashed_equal_nothing() -> None:
    huge = FileChange(path="/home/user/huge", kind="created", size=10**9)
    assert groups(result(0, files=(huge,)), result(1, files=(huge,))) == [(0,), (1,)]


def test_what_a_model_saw_is_marked_and_what_was_measured_is_not() -> None:
    facts = (Fact(step=0, text="A file came.", source="delta"), Fact(step=1, text="It reads 3.", source="model"))
    one = Candidate(index=0, status="done", facts=facts, first=None, last=None, steps=2)
    assert evidence.told([one], 1_000)[0].facts == ("step 1: A file came.", "step 2 (seen): It reads 3.")


@given(st.dictionaries(st.integers(0, 30), st.integers(0, 5000), min_size=1, max_size=10), st.integers(0, 20_000))
def test_a_limit_is_shared_evenly_and_never_passed(needs: dict[int, int], limit: int) -> None:
    shares = evidence.share_out(needs, limit)
    assert sum(shares.values()) <= max(limit, 0)
    assert all(shares[i] <= needs[i] for i in needs)
    unmet = [shares[i] for i in needs if shares[i] < needs[i]]
    assert not unmet or max(unmet) - min(unmet) <= 1
    if sum(needs.values()) <= limit:
        assert shares == needs


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(50, 3000))
def test_shortened_evidence_keeps_the_ends_and_counts_the_rest(lengths: list[int], limit: int) -> None:
    told = tuple(Fact(step=i, text="x" * size, source="delta") for i, size in enumerate(lengths))
    one = Candidate(index=0, status="done", facts=told, first=None, last=None, steps=len(told), changes=("c",))
    shown = evidence.told([one], limit)[0]
    assert sum(len(line) + 3 for line in (*shown.changes, *shown.facts)) <= max(limit, 60)
    if len(shown.facts) > 1 and shown.facts[-1].startswith("step"):
        assert shown.facts[-1].startswith(f"step {len(told)}:")
    missing = [line for line in shown.facts if "left out" in line]
    if missing:
        assert f"({len(told) - len(shown.facts) + 1} facts left out)" in missing
