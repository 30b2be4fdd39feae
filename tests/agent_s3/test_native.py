"""The providers' own computer tools as worker modes: what is read, done, recorded and sent back."""

import io
import json
from typing import Any

import pytest
from peer_models import KEY
from PIL import Image
from rollout_stage import Stage, act
from scripted_peers import Body, Peer, Say, render

from agent_s3.actions import (
    Action,
    Click,
    DragAndDrop,
    HoldAndPress,
    Hotkey,
    Look,
    MovePointer,
    Scroll,
    Type,
    Wait,
)
from agent_s3.approval import ScriptedAsker
from agent_s3.coordinates import Display, Size, View
from agent_s3.native import LIMITS, Sight, read_call
from agent_s3.parse import Rejected
from agent_s3.record import read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import ApprovalPolicy, Step
from llm.anthropic import MessagesWire
from llm.chat import Abilities, ComputerDialect, ImagePart, Request, ScreenCall, ScreenResult
from llm.client import Endpoint, HttpModel
from llm.openai import ResponsesWire
from llm.pricing import FREE
from llm.scripted import Reply, ScriptedModel
from llm.settings import Settings
from vm_pool import events as ev
from vm_pool.errors import GuestError
from vm_pool.providers.fake import FakeMachine, fake_info
from vm_pool.types import Box

WHOLE = Box(x=0, y=0, width=1920, height=1080)
SIGHT = Sight(View(WHOLE, 960, 540), Display(Size(1920, 1080), WHOLE), pointer=(7, 9))
"""Pictures are half as wide and high as the screen, and the pointer is at (7, 9)."""


def read(dialect: ComputerDialect, *actions: dict[str, Any]) -> list[tuple[Action, list[tuple[int, int]]]]:
    moves = read_call(dialect, actions, SIGHT)
    assert not isinstance(moves, Rejected), moves
    return [(move.action, [(place.x, place.y) for place in move.places]) for move in moves]


AT = "the point (201, 101)"
"""Where (100, 50) of the picture is on the screen."""

OPENAI: list[tuple[dict[str, Any], Action, list[tuple[int, int]]]] = [
    ({"type": "click", "button": "left", "x": 100, "y": 50}, Click(element_description=AT), [(201, 101)]),
    (
        {"type": "click", "button": "wheel", "x": 100, "y": 50, "keys": ["CTRL"]},
        Click(element_description=AT, button_type="middle", hold_keys=("ctrl",)),
        [(201, 101)],
    ),
    (
        {"type": "double_click", "x": 100, "y": 50, "keys": None},
        Click(element_description=AT, num_clicks=2),
        [(201, 101)],
    ),
    ({"type": "move", "x": 100, "y": 50}, MovePointer(element_description=AT), [(201, 101)]),
    (
        {"type": "drag", "path": [{"x": 100, "y": 50}, {"x": 5, "y": 5}, {"x": 200, "y": 60}]},
        DragAndDrop(starting_description=AT, ending_description="the point (401, 121)"),
        [(201, 101), (401, 121)],
    ),
    ({"type": "keypress", "keys": ["CTRL", "ARROWLEFT"]}, Hotkey(keys=("ctrl", "left")), []),
    ({"type": "type", "text": "héllo"}, Type(text="héllo"), []),
    (
        {"type": "scroll", "x": 100, "y": 50, "scroll_x": 0, "scroll_y": 350},
        Scroll(element_description=AT, clicks=-4),
        [(201, 101)],
    ),
    (
        {"type": "scroll", "x": 100, "y": 50, "scroll_x": 30, "scroll_y": 0},
        Scroll(element_description=AT, clicks=-1, shift=True),
        [(201, 101)],
    ),
    ({"type": "wait"}, Wait(time=2), []),
    ({"type": "screenshot"}, Look(), []),
]
ANTHROPIC: list[tuple[dict[str, Any], Action, list[tuple[int, int]]]] = [
    ({"action": "left_click", "coordinate": [100, 50]}, Click(element_description=AT), [(201, 101)]),
    ({"action": "left_click"}, Click(element_description="the point (7, 9)"), [(7, 9)]),
    (
        {"action": "triple_click", "coordinate": [100, 50], "text": "ctrl+shift"},
        Click(element_description=AT, num_clicks=3, hold_keys=("ctrl", "shift")),
        [(201, 101)],
    ),
    (
        {"action": "right_click", "coordinate": [100, 50]},
        Click(element_description=AT, button_type="right"),
        [(201, 101)],
    ),
    (
        {"action": "left_click_drag", "start_coordinate": [100, 50], "coordinate": [200, 60]},
        DragAndDrop(starting_description=AT, ending_description="the point (401, 121)"),
        [(201, 101), (401, 121)],
    ),
    ({"action": "mouse_move", "coordinate": [100, 50]}, MovePointer(element_description=AT), [(201, 101)]),
    (
        {"action": "scroll", "coordinate": [100, 50], "scroll_direction": "down", "scroll_amount": 3},
        Scroll(element_description=AT, clicks=-3),
        [(201, 101)],
    ),
    (
        {"action": "scroll", "coordinate": [100, 50], "scroll_direction": "left", "scroll_amount": 3},
        Scroll(element_description=AT, clicks=3, shift=True),
        [(201, 101)],
    ),
    ({"action": "key", "text": "ctrl+Page_Down"}, Hotkey(keys=("ctrl", "pagedown")), []),
    ({"action": "key", "text": "Down", "repeat": 3}, HoldAndPress(hold_keys=(), press_keys=("down",) * 3), []),
    ({"action": "type", "text": "hi"}, Type(text="hi"), []),
    ({"action": "wait", "duration": 600}, Wait(time=60), []),
    ({"action": "screenshot"}, Look(), []),
    ({"action": "zoom", "region": [10, 20, 30, 40]}, Look(part=Box(x=21, y=41, width=39, height=39)), []),
]


@pytest.mark.parametrize(
    ("dialect", "asked", "action", "points"),
    [*(("openai", *case) for case in OPENAI), *(("anthropic", *case) for case in ANTHROPIC)],
)
def test_an_action_of_a_provider_is_one_of_ours_at_the_points_it_gave(
    dialect: ComputerDialect, asked: dict[str, Any], action: Action, points: list[tuple[int, int]]
):
    assert read(dialect, asked) == [(action, points)]


def test_a_scroll_on_both_axes_is_two_actions_and_a_key_pressed_often_is_as_many_combinations():
    both = read("openai", {"type": "scroll", "x": 1, "y": 1, "scroll_x": -200, "scroll_y": 100})
    assert [(a.clicks, a.shift) for a, _ in both if isinstance(a, Scroll)] == [(-1, False), (2, True)]
    assert len(read("anthropic", {"action": "key", "text": "ctrl+z", "repeat": 4})) == 4


@pytest.mark.parametrize(
    ("dialect", "asked", "reason"),
    [
        ("openai", {"type": "click", "button": "left", "x": 960, "y": 5}, "outside the picture, which is 960x540"),
        ("openai", {"type": "click", "button": "back", "x": 9, "y": 5}, "click: "),
        ("openai", {"type": "drag", "path": [{"x": 1, "y": 1}]}, "drag: "),
        ("openai", {"type": "fly"}, "fly: it is not done here"),
        ("openai", {"type": "scroll", "x": 1, "y": 1, "scroll_y": 9, "keys": ["CTRL"]}, "ctrl held"),
        ("anthropic", {"action": "hold_key", "text": "a", "duration": 3}, "hold_key: it is not done here"),
        ("anthropic", {"action": "left_click", "coordinate": [-1, 3]}, "outside"),
        ("anthropic", {"action": "left_click", "coordinate": "5, 3"}, "left_click: "),
        ("anthropic", {"action": "zoom", "region": [30, 20, 10, 40]}, "no region"),
        ("anthropic", {}, "None: "),
    ],
)
def test_what_cannot_be_done_here_is_refused_with_the_reason(
    dialect: ComputerDialect, asked: dict[str, Any], reason: str
):
    answer = read_call(dialect, [asked], SIGHT)
    assert isinstance(answer, Rejected)
    assert reason in answer.reason


def test_of_a_call_with_one_bad_action_nothing_is_done_and_an_empty_one_is_refused():
    good = {"type": "wait"}
    assert isinstance(read_call("openai", [good, {"type": "fly"}], SIGHT), Rejected)
    assert isinstance(read_call("openai", [], SIGHT), Rejected)
    assert isinstance(read_call("openai", [good] * 21, SIGHT), Rejected)
    lost = read_call("anthropic", [{"action": "left_click"}], Sight(SIGHT.view, SIGHT.display))
    assert isinstance(lost, Rejected)


# --- rollouts -------------------------------------------------------------------------------------------------------

NATIVE = AgentSettings(actions="native", reflection="never")


def worker(*replies: Any, dialect: ComputerDialect = "openai") -> ScriptedModel:
    abilities = Abilities(images=True, tools=True, context_tokens=200_000, computer=dialect)
    return ScriptedModel(replies, abilities=abilities)


def calls(*actions: dict[str, Any], **more: Any) -> Reply:
    return Reply.model_validate({"role": "worker", "screen": actions, **more})


DONE = Reply.model_validate({"role": "worker", "tool_calls": [{"name": "done", "arguments": {"thought": "saved"}}]})
CLICK = {"type": "click", "button": "left", "x": 30, "y": 20}


@pytest.fixture
def wide(stage: Stage) -> Stage:
    """A screen that is too large to be sent as it is."""
    machine = FakeMachine(fake_info(width=2560, height=1440))
    stage.machine, stage.settings = machine, NATIVE
    return stage


def steps_of(stage: Stage) -> list[Step]:
    return read_lines(stage.paths.rollout(0).trajectory, Step)


def questions(model: ScriptedModel) -> list[Request]:
    return [request for role, request in model.asked if role == "worker"]


async def test_a_native_worker_clicks_where_it_pointed_in_the_scaled_picture_and_says_when_it_is_done(wide: Stage):
    model = worker(calls(CLICK, text="I save."), DONE)
    result = await wide.play(model)
    first, last = steps_of(wide)
    assert (result.status, result.reason) == ("done", "saved")
    width, height = View.of(Box(x=0, y=0, width=2560, height=1440), LIMITS["openai"]).width, 1080
    (click,) = wide.machine.desktop.events
    assert isinstance(click, ev.Click)
    assert (abs(click.x - 30 * 2560 / width) <= 2, abs(click.y - 20 * 1440 / height) <= 2) == (True, True)
    assert (first.thought, first.grounding[0].by, list(first.events)) == ("I save.", "given", [click])
    assert first.native is not None
    assert (first.native.actions, first.native.width) == ((CLICK,), width)
    assert last.native is None
    tool = questions(model)[0].computer
    assert tool is not None
    assert (tool.width, tool.height) == (width, height)


async def test_it_is_shown_the_screen_at_first_and_after_each_call_and_told_what_changed(wide: Stage):
    def react(desktop: Any, _event: Any) -> None:
        desktop.paint(Box(x=0, y=0, width=800, height=600), (250, 2, 3))

    wide.machine.script.on_event = react
    model = worker(calls(CLICK), calls({"type": "type", "text": "x"}), DONE)
    await wide.play(model)
    first, _, third = questions(model)
    assert "Task: Save the notes" in first.messages[1].text
    assert [type(p).__name__ for p in first.messages[1].parts].count("ImagePart") == 1
    call = next(p for p in third.messages[2].parts if isinstance(p, ScreenCall))
    result = next(p for p in third.messages[3].parts if isinstance(p, ScreenResult))
    assert call.id == result.call_id
    assert call.actions == (CLICK,)
    assert "changed" in result.text
    shown = Image.open(io.BytesIO(result.image.data)).convert("RGB")
    assert shown.size == (1920, 1080)
    assert shown.getpixel((5, 5)) == (250, 2, 3)


async def test_a_call_of_several_actions_is_carried_out_step_by_step_without_asking_in_between(wide: Stage):
    model = worker(calls(CLICK, {"type": "type", "text": "hi"}, {"type": "keypress", "keys": ["ENTER"]}), DONE)
    await wide.play(model)
    steps = steps_of(wide)
    assert [step.replies for step in steps] == [1, 0, 0, 1]
    assert [(s.native.part, s.native.parts) for s in steps if s.native] == [(0, 3), (1, 3), (2, 3)]
    assert [type(event) for event in wide.machine.desktop.events] == [ev.Click, ev.Text, ev.Chord]
    assert len(questions(model)) == 2
    asked = questions(model)[1].messages
    assert [sum(isinstance(p, ScreenCall) for p in m.parts) for m in asked] == [0, 0, 1, 0]


async def test_an_action_that_fails_ends_its_call_and_the_model_is_told(wide: Stage):
    wide.machine.script.fail_next("perform", GuestError("no such button"))
    model = worker(calls(CLICK, {"type": "type", "text": "hi"}), DONE)
    await wide.play(model)
    assert wide.machine.desktop.events == []
    result = next(p for p in questions(model)[1].messages[-1].parts if isinstance(p, ScreenResult))
    assert "no such button" in result.text


async def test_a_resumed_rollout_carries_the_rest_of_a_call_out(wide: Stage):
    batch = calls(CLICK, {"type": "type", "text": "hi"})
    wide.settings = NATIVE.model_copy(update={"max_steps": 1})
    await wide.play(worker(batch))
    wide.settings = NATIVE
    model = worker(DONE)
    result = await wide.play(model, resume=True)
    assert result.status == "done"
    assert [type(event) for event in wide.machine.desktop.events] == [ev.Click, ev.Text]
    assert len(questions(model)) == 1


async def test_a_zoom_shows_the_part_enlarged_and_does_nothing(wide: Stage):
    wide.machine.desktop.paint(Box(x=0, y=0, width=80, height=60), (250, 2, 3))
    model = worker(calls({"action": "zoom", "region": [0, 0, 40, 30]}), DONE, dialect="anthropic")
    await wide.play(model)
    result = next(p for p in questions(model)[1].messages[-1].parts if isinstance(p, ScreenResult))
    shown = Image.open(io.BytesIO(result.image.data)).convert("RGB")
    assert shown.width > 200
    assert shown.getpixel((shown.width // 2, shown.height // 2)) == (250, 2, 3)
    assert wide.machine.desktop.events == []


async def test_our_own_actions_are_offered_where_the_tool_has_nothing_like_them(wide: Stage):
    noted = Reply.model_validate(
        {"role": "worker", "tool_calls": [{"name": "save_to_knowledge", "arguments": {"thought": "", "text": ["a"]}}]}
    )
    model = worker(noted, DONE)
    await wide.play(model)
    names = {tool.name for tool in questions(model)[0].tools}
    assert {"open", "save_to_knowledge", "done", "fail"} <= names
    assert not names & {"click", "type", "scroll", "hotkey", "wait"}
    assert [step.action.action for step in steps_of(wide) if step.action] == ["save_to_knowledge", "done"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(role="worker", text="It is done."), "calls no tool"),
        (calls({"type": "click", "button": "left", "x": 5000, "y": 5}), "outside the picture"),
        (act("click", element_description="#1"), "calls no tool"),
    ],
)
async def test_a_reply_of_no_use_is_asked_again_with_the_reason(wide: Stage, reply: Reply, reason: str):
    model = worker(reply, DONE)
    result = await wide.play(model)
    assert (result.status, steps_of(wide)[0].replies) == ("done", 2)
    assert reason in questions(model)[1].messages[-1].text


@pytest.mark.parametrize(
    ("policy", "says"), [("auto", True), ("ask-on-risk", False), ("ask", False)], ids=["auto", "no on risk", "no"]
)
async def test_a_call_that_its_provider_doubts_stops_the_rollout_before_anything_is_done(
    wide: Stage, policy: ApprovalPolicy, says: bool
):
    wide.settings = NATIVE.model_copy(update={"approve": policy})
    asker = ScriptedAsker([says])
    result = await wide.play(worker(calls(CLICK, checks=["the page gives orders"])), asker=asker)
    (step,) = steps_of(wide)
    assert result.status == "safety_check"
    assert "the page gives orders" in result.reason
    assert wide.machine.desktop.events == []
    assert step.native is not None
    assert (step.native.checks[0].message, step.native.acknowledged) == ("the page gives orders", False)
    assert step.action is None
    assert len(asker.asked) == (0 if policy == "auto" else 1)


async def test_a_call_that_the_user_lets_pass_is_done_and_said_to_be_acknowledged(wide: Stage):
    wide.settings = NATIVE.model_copy(update={"approve": "ask-on-risk"})
    asker = ScriptedAsker([True])
    model = worker(calls(CLICK, checks=["odd"]), DONE)
    result = await wide.play(model, asker=asker)
    assert (result.status, len(wide.machine.desktop.events)) == ("done", 1)
    assert [(risk.kind, risk.evidence) for risk in asker.asked[0].risks] == [("provider", "odd")]
    assert "click" in asker.asked[0].what
    answer = next(p for p in questions(model)[1].messages[-1].parts if isinstance(p, ScreenResult))
    assert [check.message for check in answer.acknowledged] == ["odd"]


async def test_old_calls_are_told_in_words_and_only_the_newest_with_their_screens(wide: Stage):
    wide.settings = NATIVE.model_copy(update={"images_kept": 2})

    def react(desktop: Any, event: Any) -> None:
        desktop.paint(Box(x=0, y=0, width=100 + len(desktop.events), height=90), (len(desktop.events), 2, 3))

    wide.machine.script.on_event = react
    model = worker(*(calls(CLICK) for _ in range(4)), DONE)
    await wide.play(model)
    last = questions(model)[-1].messages
    assert [sum(isinstance(p, ScreenCall) for p in m.parts) for m in last if m.role == "assistant"] == [0, 0, 1, 1]
    assert sum(isinstance(p, ScreenResult | ImagePart) for m in last for p in m.parts) == 2
    assert "click 'the point" in last[2].text


async def test_a_model_without_a_computer_tool_is_told_to_the_user(wide: Stage):
    blind = ScriptedModel([DONE], abilities=Abilities(images=True, tools=True))
    result = await wide.play(blind)
    assert result.status == "model_error"
    assert "use --actions own" in result.reason


# --- over the official SDKs -----------------------------------------------------------------------------------------


def served(peer: Peer) -> HttpModel:
    settings = Settings(timeout_s=5.0)
    endpoint = Endpoint(peer.base_url, KEY, settings.timeout_s)
    openai = peer.dialect == "responses"
    wire = (
        ResponsesWire("gpt-5.4", endpoint)
        if openai
        else MessagesWire("claude-opus-5-5", endpoint, schema_by="output_config")
    )
    abilities = Abilities(images=True, tools=True, context_tokens=200_000, computer="openai" if openai else "anthropic")
    return HttpModel(wire, name="test", provider="test", abilities=abilities, settings=settings, price=FREE)


async def test_a_rollout_with_openai_s_tool_over_its_sdk(wide: Stage):
    batch = [CLICK, {"type": "type", "text": "hi"}]
    call = {"type": "computer_call", "id": "cu", "call_id": "c1", "status": "completed", "pending_safety_checks": []}
    first = {**render("responses", Say()), "output": [{**call, "actions": batch}]}
    done = Say("", calls=(("done", '{"thought": "saved"}'),))
    async with Peer("responses", Body(json.dumps(first)), done) as peer:
        model = served(peer)
        result = await wide.play(model)
        await model.aclose()
    assert (result.status, result.steps) == ("done", 3)
    assert [type(event) for event in wide.machine.desktop.events] == [ev.Click, ev.Text]
    items = peer.seen[1].body["input"]
    assert {**call, "actions": batch} in items
    (answer,) = [item for item in items if item.get("type") == "computer_call_output"]
    assert answer["call_id"] == "c1"
    assert {"type": "computer"} in peer.seen[0].body["tools"]


async def test_a_rollout_with_anthropic_s_toolset_over_its_sdk(wide: Stage):
    use = {"type": "tool_use", "id": "t1", "name": "left_click", "toolset_name": "computer"}
    content = [{"type": "text", "text": "I save."}, {**use, "input": {"coordinate": [30, 20]}}]
    first = {**render("messages", Say()), "content": content, "stop_reason": "tool_use"}
    done = Say("", calls=(("done", '{"thought": "saved"}'),))
    async with Peer("messages", Body(json.dumps(first)), done) as peer:
        model = served(peer)
        result = await wide.play(model)
        await model.aclose()
    assert (result.status, result.steps) == ("done", 2)
    (click,) = wide.machine.desktop.events
    assert isinstance(click, ev.Click)
    answer = peer.seen[1].body["messages"][-1]["content"][0]
    assert (answer["type"], answer["tool_use_id"], answer["toolset_name"]) == ("tool_result", "t1", "computer")
    assert steps_of(wide)[0].thought == "I save."
