"""What models read: deltas in words, prompts, history, reflection."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from rollout_stage import BLIND

from agent_s3.actions import ACTION, ACTIONS
from agent_s3.history import Hints, Now, messages, outcome_words
from agent_s3.prompt import prompt_hashes, render
from agent_s3.schema import offered, signatures
from agent_s3.settings import AgentSettings
from agent_s3.types import Delta, FrameRef, Region, Step, StepError, TreeChange, WindowChange
from agent_s3.words import action_words, delta_words
from llm.chat import Abilities, ToolCall, ToolResult
from vm_pool.types import Box, FileChange

PROMPTS = Path(__file__).parents[2] / "agent_s3" / "prompts"
CHANGED = Delta(regions=(Region(box=Box(x=1, y=2, width=3, height=4), changed_pixels=12),), changed_fraction=0.1)


def step(index: int = 0, action: dict[str, Any] | None = None, **more: Any) -> Step:
    chosen = ACTION.validate_python(action or {"action": "hotkey", "keys": ["esc"]})
    fields: dict[str, Any] = {"action": chosen, "thought": "because", "delta": CHANGED, **more}
    return Step(index=index, started_at=datetime(2026, 1, 1, tzinfo=UTC), **fields)


def test_changes_are_told_with_windows_and_files_first():
    delta = Delta(
        windows=(WindowChange(kind="opened", title="Save", app="E"),),
        files=(FileChange(path="/a.txt", kind="modified", size_before=3, size=5, text_before="old", text="new\nx"),),
        tree=(
            TreeChange(kind="added", role="push-button", name="OK"),
            TreeChange(kind="changed", role="text", name="Name", field="text", before="", after="Bob"),
        ),
    )
    assert delta_words(delta).splitlines() == [
        "- window 'Save' opened",
        "- file modified: /a.txt (3 -> 5 bytes, text 'new x')",
        "- text of text 'Name' is now 'Bob'",
    ]


def test_a_change_of_pixels_alone_is_said_to_be_one():
    assert "only pixels changed: 10.0% of the screen" in delta_words(CHANGED)
    assert delta_words(Delta()) == "nothing changed"
    assert "still moving" in delta_words(Delta(settled=False))


def test_a_change_of_mode_is_told():
    change = FileChange(path="/s", kind="modified", size_before=1, size=1, mode_before=0o644, mode=0o755)
    assert "mode 644 -> 755" in delta_words(Delta(files=(change,)))


def test_many_changes_are_cut_and_counted():
    changes = tuple(TreeChange(kind="added", role="label", name=str(i)) for i in range(30))
    assert delta_words(Delta(tree=changes, tree_dropped=5), limit=10).endswith("- and 25 more changes")


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_can_be_said_in_words(kind: Any):
    needed: dict[str, Any] = {
        "click": {"element_description": "x"},
        "scroll": {"element_description": "x", "clicks": 1},
        "drag_and_drop": {"starting_description": "a", "ending_description": "b"},
        "highlight_text_span": {"starting_phrase": "a", "ending_phrase": "b"},
        "hotkey": {"keys": ["a"]},
        "hold_and_press": {"hold_keys": ["a"], "press_keys": ["b"]},
        "open": {"app_or_filename": "a"},
        "switch_applications": {"app_code": "a"},
        "set_cell_values": {"cell_values": {"A1": 1}, "app_name": "a", "sheet_name": "b"},
        "save_to_knowledge": {"text": ["a"]},
        "wait": {"time": 1},
        "ask_user": {"question": "which one?"},
    }
    name = kind.model_fields["action"].default
    assert action_words(kind(**needed.get(name, {})))


VALUES: dict[str, Any] = {
    "platform": "linux",
    "width": 1,
    "height": 1,
    "user": "u",
    "home": "/h",
    "pictures": True,
    "elements": ["#1 x"],
    "as_text": True,
    "signatures": "s",
    "code": True,
    "notes": ["n"],
    "windows": ["w"],
    "short": True,
    "task": "t",
    "step": 1,
    "max_steps": 2,
    "steps": ["s"],
    "picture": True,
    "evidence": "e",
    "asks": True,
    "listing": "l",
    "turn": {"returncode": None, "output": "o"},
    "repeated": True,
    "left": 1,
    "reason": "r",
    "work": "w",
    "ended": "done",
    "kind": "not_found",
    "message": "m",
    "phrase": "p",
    "part": True,
    "per_mille": False,
}


@pytest.mark.parametrize("name", sorted(prompt_hashes()))
def test_every_prompt_renders_and_nothing_may_be_missing(name: str):
    assert render(name, **VALUES)
    if "{{" in (PROMPTS / f"{name}.md").read_text():
        with pytest.raises(UndefinedError):
            render(name)


def test_the_prompts_for_small_models_are_short():
    """About 3.5 characters make a token; 60 tokens a second are read."""
    actions = offered(can_run=True, has_office=True, short=True)
    worker = render("worker_short", **{**VALUES, "signatures": signatures(actions)})
    assert len(worker) / 3.5 < 700
    assert len(render("code_short")) / 3.5 < 400


def talk(steps: list[Step], **more: Any) -> Any:
    arguments: dict[str, Any] = {
        "system": "S",
        "task": "T",
        "now": Now("STATE", Hints(), picture="c"),
        "pictures": {"a": b"1", "b": b"2", "c": b"3"},
        "images_kept": 8,
        "as_tools": True,
        "context_tokens": 100_000,
    }
    return messages(steps=steps, **{**arguments, **more})


def ref(name: str) -> FrameRef:
    return FrameRef(sha256=name, width=1, height=1)


def test_a_conversation_alternates_and_every_tool_call_has_its_result():
    out = talk([step(0, before=ref("a")), step(1, before=ref("b"))])
    assert [m.role for m in out] == ["system", "user", "assistant", "user", "assistant", "user"]
    calls = [p.id for m in out for p in m.parts if isinstance(p, ToolCall)]
    results = [p.call_id for m in out for p in m.parts if isinstance(p, ToolResult)]
    assert calls == results == ["step_0", "step_1"]
    assert "STATE" in out[-1].text


def test_all_text_is_kept_and_the_newest_pictures():
    out = talk([step(0, before=ref("a")), step(1, before=ref("b"))], images_kept=2)
    pictures = [getattr(p, "data", None) for m in out for p in m.parts if type(p).__name__ == "ImagePart"]
    assert pictures == [b"2", b"3"]


def test_only_when_the_context_overflows_are_old_steps_told_in_a_line():
    steps = [step(i, thought="long " * 100) for i in range(50)]
    assert len(talk(steps)) == 102
    short = talk(steps, context_tokens=4000)
    assert len(short) < 40
    assert "1. press esc" in short[1].text


def test_pictures_take_room_only_where_they_are_shown():
    steps = [step(i, thought="long " * 20, before=FrameRef(sha256="a", width=1920, height=1080)) for i in range(9)]
    assert len(talk(steps, context_tokens=4000, pictures={})) == 20
    assert len(talk(steps, context_tokens=4000)) < 20


def test_a_step_without_action_shows_the_reply_and_why_it_was_of_no_use():
    bad = step().model_copy(
        update={"action": None, "reply": "hm", "delta": None, "error": StepError(kind="bad_reply", message="no action")}
    )
    out = talk([bad])
    assert out[2].text == "hm"
    assert "no action" in out[3].text


def test_a_failed_action_is_told_with_what_changed_all_the_same():
    failed = step(error=StepError(kind="refused_by_guest", message="no such key"))
    assert "no such key" in outcome_words(failed)
    assert "only pixels changed" in outcome_words(failed)


def test_settings_fit_the_model():
    eyes = Abilities(images=True, tools=True, context_tokens=200_000)
    assert (AgentSettings().mode(eyes), AgentSettings().prompt_style(eyes)) == ("screenshot+a11y", "full")
    assert (AgentSettings().mode(BLIND), AgentSettings().prompt_style(BLIND)) == ("a11y", "short")
    assert AgentSettings(observe="screenshot").mode(BLIND) == "a11y"
    assert AgentSettings().reply_tokens(BLIND) < AgentSettings().reply_tokens(eyes)
