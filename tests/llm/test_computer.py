"""The providers' own computer tools, over the official SDKs and real sockets."""

import json
from typing import Any

import pytest
from peer_models import CLICK, KEY, World
from scripted_peers import Body, Dialect, Peer, Say, render

from llm.anthropic import MessagesWire, open_anthropic
from llm.budget import upper_estimate
from llm.chat import (
    Abilities,
    Completion,
    ComputerDialect,
    ComputerTool,
    ImagePart,
    Message,
    Request,
    SafetyCheck,
    ScreenCall,
    ScreenResult,
    ToolCall,
)
from llm.client import Endpoint, HttpModel
from llm.computer import anthropic_dialect, openai_dialect
from llm.errors import Refused
from llm.openai import ResponsesWire
from llm.pricing import FREE
from llm.scripted import FULL_ABILITIES, Reply, ScriptedModel
from llm.settings import Settings

SCREEN = ComputerTool(1280, 720)
ASK = Request(messages=(Message.of("user", "Save it"),), computer=SCREEN)
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"}
PICTURE = ImagePart(b"\x89PNG-after")


def computer_call(**fields: Any) -> dict[str, Any]:
    plain = {"type": "computer_call", "id": "cu_1", "call_id": "call_1", "status": "completed"}
    return {**plain, "pending_safety_checks": [], **fields}


def response(*output: dict[str, Any]) -> Body:
    return Body(json.dumps({**render("responses", Say()), "output": list(output)}))


def message(*content: dict[str, Any]) -> Body:
    return Body(json.dumps({**render("messages", Say()), "content": list(content), "stop_reason": "tool_use"}))


def member(name: str, **arguments: Any) -> dict[str, Any]:
    caller = {"type": "direct"}
    return {
        "type": "tool_use",
        "id": "tu_1",
        "name": name,
        "input": arguments,
        "toolset_name": "computer",
        "caller": caller,
    }


def connect(peer: Peer, model: str) -> HttpModel:
    settings = Settings(timeout_s=5.0, retry=World().policy())
    endpoint = Endpoint(peer.base_url, KEY, settings.timeout_s)
    if peer.dialect == "responses":
        wire, dialect = ResponsesWire(model, endpoint), openai_dialect(model)
    else:
        wire, dialect = MessagesWire(model, endpoint, schema_by="output_config"), anthropic_dialect(model)
    abilities = Abilities(images=True, tools=True, schema=True, computer=dialect)
    return HttpModel(wire, name="test", provider="test", abilities=abilities, settings=settings, price=FREE)


async def ask(peer: Peer, model: str, request: Request = ASK) -> Completion:
    client = connect(peer, model)
    try:
        return await client.complete(request, role="worker")
    finally:
        await client.aclose()


def answered(call: ScreenCall, *, text: str = "", acknowledged: tuple[SafetyCheck, ...] = ()) -> Request:
    """The next question: the call, and the screen afterwards."""
    result = ScreenResult(call.id, PICTURE, text, acknowledged)
    said = (*ASK.messages, Message("assistant", (call,)), Message("user", (result,)))
    return Request(messages=said, computer=SCREEN)


async def test_openai_is_offered_its_tool_and_a_batch_of_actions_is_read():
    batch = [{"type": "click", "button": "left", "x": 10, "y": 20}, {"type": "type", "text": "hi"}]
    async with Peer("responses", response(REASONING, computer_call(actions=batch))) as peer:
        done = await ask(peer, "gpt-5.4")
    assert peer.seen[0].body["tools"] == [{"type": "computer"}]
    assert (peer.seen[0].body["store"], peer.seen[0].body["include"]) == (False, ["reasoning.encrypted_content"])
    (call,) = done.screen_calls
    assert (call.id, call.dialect, list(call.actions), done.stop_reason) == ("call_1", "openai", batch, "tool")


async def test_an_openai_call_is_sent_back_as_it_came_with_its_reasoning_and_the_screen():
    checks = [{"id": "sc_1", "code": "malicious_instructions", "message": "odd text"}]
    sent = computer_call(actions=[{"type": "screenshot"}], pending_safety_checks=checks)
    async with Peer("responses", response(REASONING, sent), Say("ok")) as peer:
        (call,) = (await ask(peer, "gpt-5.4")).screen_calls
        assert call.checks == (SafetyCheck("sc_1", "malicious_instructions", "odd text"),)
        await ask(peer, "gpt-5.4", answered(call, text="a window opened", acknowledged=call.checks))
    items = peer.seen[1].body["input"]
    assert items[1:3] == [REASONING, sent]
    assert items[3]["type"] == "computer_call_output"
    assert items[3]["call_id"] == "call_1"
    assert items[3]["output"]["image_url"].startswith("data:image/png;base64,")
    assert items[3]["acknowledged_safety_checks"] == checks
    assert items[4]["content"][0]["text"] == "a window opened"


async def test_what_nobody_acknowledged_is_not_said_to_be():
    async with Peer("responses", Say("ok")) as peer:
        await ask(peer, "gpt-5.4", answered(ScreenCall("c", "openai", ({"type": "wait"},))))
    assert "acknowledged_safety_checks" not in json.dumps(peer.seen[0].body)


async def test_the_forerunner_of_openai_s_tool_is_told_the_size_and_calls_one_action():
    click = {"type": "click", "button": "left", "x": 1, "y": 2}
    async with Peer("responses", response(computer_call(action=click))) as peer:
        done = await ask(peer, "computer-use-preview")
    tool = {"type": "computer_use_preview", "display_width": 1280, "display_height": 720, "environment": "linux"}
    assert (peer.seen[0].body["tools"], peer.seen[0].body["truncation"]) == ([tool], "auto")
    assert done.screen_calls[0].actions == (click,)


async def test_anthropic_is_offered_its_toolset_without_what_leaves_keys_pressed():
    async with Peer("messages", message(member("left_click", coordinate=[10, 20], text="ctrl"))) as peer:
        done = await ask(peer, "claude-opus-5-5")
    (tool,) = peer.seen[0].body["tools"]
    assert tool["type"] == "computer_toolset_20260801"
    assert {name for name, config in tool["configs"].items() if not config["enabled"]} == {
        "cursor_position",
        "hold_key",
        "left_mouse_down",
        "left_mouse_up",
    }
    assert "anthropic-beta" not in peer.seen[0].headers
    (call,) = done.screen_calls
    assert call.actions == ({"action": "left_click", "coordinate": [10, 20], "text": "ctrl"},)
    assert done.tool_calls == ()


async def test_an_anthropic_call_is_answered_with_the_screen_and_the_name_of_its_toolset():
    async with Peer("messages", message(member("screenshot")), Say("ok")) as peer:
        (call,) = (await ask(peer, "claude-opus-5-5")).screen_calls
        await ask(peer, "claude-opus-5-5", answered(call, text="nothing changed"))
    use, result = (turn["content"][0] for turn in peer.seen[1].body["messages"][1:])
    assert (use["type"], use["id"], use["name"], use["toolset_name"]) == ("tool_use", "tu_1", "screenshot", "computer")
    assert (result["type"], result["tool_use_id"], result["toolset_name"]) == ("tool_result", "tu_1", "computer")
    assert [block["type"] for block in result["content"]] == ["text", "image"]


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-opus-4-5-20251101"])
async def test_an_older_claude_is_offered_the_tool_of_its_time(model: str):
    use = {"type": "tool_use", "id": "tu_1", "name": "computer", "input": {"action": "wait", "duration": 2}}
    async with Peer("messages", message(use), Say("ok")) as peer:
        (call,) = (await ask(peer, model)).screen_calls
        await ask(peer, model, answered(call))
    (tool,) = peer.seen[0].body["tools"]
    assert (tool["type"], tool["display_width_px"], tool["display_height_px"]) == ("computer_20251124", 1280, 720)
    assert peer.seen[0].headers["anthropic-beta"] == "computer-use-2025-11-24"
    assert call.actions == ({"action": "wait", "duration": 2},)
    assert "toolset_name" not in json.dumps(peer.seen[1].body)


@pytest.mark.parametrize("dialect", ["responses", "messages"])
async def test_our_own_tools_may_be_offered_beside_the_computer(dialect: Dialect):
    async with Peer(dialect, Say("", calls=(("click", '{"x": 3}'),))) as peer:
        model = "gpt-5.4" if dialect == "responses" else "claude-opus-5-5"
        done = await ask(peer, model, Request(messages=ASK.messages, tools=(CLICK,), computer=SCREEN))
    assert len(peer.seen[0].body["tools"]) == 2
    assert [call.name for call in done.tool_calls] == ["click"]
    assert done.screen_calls == ()


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("gpt-5.4", "openai"),
        ("gpt-5.10-mini", "openai"),
        ("computer-use-preview-2025-03-11", "openai"),
        ("gpt-5.1", None),
        ("gpt-4.1", None),
    ],
)
def test_which_openai_models_have_the_tool(model: str, dialect: ComputerDialect | None):
    assert openai_dialect(model) == dialect


@pytest.mark.parametrize("model", ["claude-opus-4-1", "claude-sonnet-4-5", "some-model"])
def test_which_models_of_the_messages_api_do_not_have_it(model: str):
    assert anthropic_dialect(model) is None


async def test_a_model_without_the_tool_refuses_before_asking():
    async with Peer("responses") as peer:
        with pytest.raises(Refused, match="no computer tool"):
            await ask(peer, "gpt-4.1")
        assert peer.seen == []
    assert open_anthropic("claude-opus-5-5", name="a", base_url=None, key="k", settings=Settings()).abilities.computer


def test_the_screen_and_the_call_count_in_the_estimate_of_what_a_question_takes():
    call = ScreenCall("c", "openai", ({"type": "type", "text": "x" * 1000},))
    assert upper_estimate(answered(call), FREE).tokens > upper_estimate(ASK, FREE).tokens + 1000 + FREE.image_tokens


async def test_a_script_can_call_the_computer_tool_where_it_claims_to_have_one():
    reply = Reply(screen=({"type": "wait"},), checks=("odd",))
    model = ScriptedModel([reply], abilities=Abilities(images=True, tools=True, computer="openai"))
    (call,) = (await model.complete(ASK, role="worker")).screen_calls
    assert (call.actions, call.checks[0].message) == (({"type": "wait"},), "odd")
    with pytest.raises(Refused, match="no computer tool"):
        await ScriptedModel([reply], abilities=FULL_ABILITIES).complete(ASK, role="worker")


async def test_a_call_that_is_no_screen_call_stays_a_tool_call():
    use = {"type": "tool_use", "id": "t", "name": "left_click", "input": {}}
    async with Peer("messages", message(use)) as peer:
        done = await ask(peer, "claude-opus-5-5")
    assert done.screen_calls == ()
    assert done.tool_calls == (ToolCall("t", "left_click", {}),)
