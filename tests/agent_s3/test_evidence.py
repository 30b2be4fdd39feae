"""What the record shows of a rollout that is not getting on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agent_s3.actions import ACTION
from agent_s3.evidence import signs, warned_at, words
from agent_s3.types import Delta, FrameRef, Step, StepError, TreeChange
from vm_pool.types import FileChange


def ref(name: str) -> FrameRef:
    return FrameRef(sha256=name, width=1, height=1)


def pressed(key: str, index: int = 0, **more: Any) -> Step:
    """A step that pressed a key and changed something."""
    text = TreeChange(kind="changed", role="text", name="Log", field="text", before=f"{index}", after=f"{index + 1}")
    fields: dict[str, Any] = {"delta": Delta(tree=(text,)), **more}
    action = fields.pop("action", {"action": "hotkey", "keys": [key]})
    return Step(
        index=index, started_at=datetime(2026, 1, 1, tzinfo=UTC), action=ACTION.validate_python(action), **fields
    )


def kinds(*steps: Step, **more: Any) -> list[str]:
    return [sign.kind for sign in signs(steps, **more)]


def test_steps_that_change_something_by_different_actions_are_no_sign():
    assert kinds() == []
    assert kinds(*(pressed(key, i) for i, key in enumerate("abcdef"))) == []


def test_the_same_action_again_is_a_sign_and_waiting_again_is_none():
    assert kinds(pressed("a"), pressed("b", 1), pressed("a", 2)) == ["repeated"]
    wait = {"action": "wait", "time": 1}
    assert kinds(*(pressed("", i, action=wait, delta=Delta()) for i in range(3))) == []


def test_two_failures_and_two_steps_without_effect_are_signs():
    error = StepError(kind="not_found", message="no")
    assert kinds(pressed("a", error=error), pressed("b", 1, error=error)) == ["failed"]
    assert kinds(pressed("a", delta=Delta()), pressed("b", 1, delta=Delta())) == ["idle"]
    assert kinds(pressed("a", delta=Delta()), pressed("b", 1)) == []


def menu(rounds: int, **more: Any) -> list[Step]:
    """A menu that is opened and closed, by another key each time."""
    return [
        pressed(f"{side}{i}", 2 * i + side, before=ref("shut" if not side else "open"), after=ref(after), **more)
        for i in range(rounds)
        for side, after in enumerate(("open", "shut"))
    ]


def test_a_screen_that_comes_back_twice_is_a_sign_and_one_menu_opened_and_closed_is_none():
    assert kinds(*menu(1)) == []
    assert kinds(*menu(2)) == ["been_here"]


def test_a_screen_that_comes_back_while_files_change_is_no_sign():
    changed = Delta(files=(FileChange(path="/a", kind="modified", size=1),))
    steps = menu(2)
    assert kinds(*steps[:1], steps[1].model_copy(update={"delta": changed}), *steps[2:]) == []


def test_a_list_of_elements_that_comes_back_is_a_sign_where_carets_blink_on_the_screen():
    states = ["shut", "open", "shut", "open", "shut"]
    steps = [pressed(str(i), i, after=ref(str(i)), listed=state) for i, state in enumerate(states)]
    assert kinds(*steps) == ["been_here"]
    pixels = [step.model_copy(update={"delta": Delta(settled=False, output="x")}) for step in steps]
    assert kinds(*pixels) == [], "the list did not change, so it says nothing"


def modified(before: str, after: str) -> Delta:
    return Delta(files=(FileChange(path="/a", kind="modified", sha256_before=before, sha256=after),))


def element(field: str, before: str, after: str) -> Delta:
    change = TreeChange(kind="changed", role="check-box", name="Wrap", field=field, before=before, after=after)
    return Delta(tree=(change,))


@pytest.mark.parametrize(
    ("first", "second", "undone"),
    [
        (modified("1", "2"), modified("2", "1"), True),
        (modified("1", "2"), modified("2", "3"), False),
        (
            Delta(files=(FileChange(path="/a", kind="created"),)),
            Delta(files=(FileChange(path="/a", kind="deleted"),)),
            True,
        ),
        (element("states", "", "checked focused"), element("states", "checked", ""), True),
        (element("states", "", "focused"), element("states", "focused", ""), False),
        (element("text", "a", "b"), element("text", "b", "a"), True),
        (element("text", "a", "b"), element("text", "b", "c"), False),
    ],
)
def test_a_change_that_a_later_step_takes_back_is_a_sign(first: Delta, second: Delta, undone: bool):
    steps = [pressed("a", delta=first), pressed("b", 1), pressed("c", 2, delta=second)]
    assert kinds(*steps) == (["undone"] if undone else [])
    if undone:
        assert "step 1" in str(words(signs(steps)))


def test_the_agent_is_told_once_when_few_steps_are_left():
    told = [n for n in range(1, 16) if kinds(*(pressed(str(i), i) for i in range(n)), max_steps=15)]
    assert told == [12]
    assert [warned_at(most) for most in (1, 7, 8, 100)] == [None, None, 2, 3]


def test_a_reply_without_an_action_has_a_reason_of_its_own():
    bad = Step(
        index=0, started_at=datetime(2026, 1, 1, tzinfo=UTC), error=StepError(kind="bad_reply", message="no action")
    )
    assert kinds(bad, bad) == []
