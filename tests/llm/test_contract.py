"""What every model behind HTTP keeps to, said once and run against all three dialects on real sockets."""

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from peer_models import CLICK, HI, KEY, PRICE, SCHEMA, World, connect
from scripted_peers import DIALECTS, PATHS, Body, Cut, Deed, Dialect, Drop, Fault, Peer, Picky, Say, Slow, render

from llm.anthropic import MessagesWire
from llm.anthropic import request_body as messages_body
from llm.budget import upper_estimate
from llm.chat import Abilities, ImagePart, Message, Request, TextPart, ThinkingPart, ToolCall, ToolResult
from llm.client import Endpoint, HttpModel
from llm.errors import (
    BadReply,
    ContextTooLong,
    ProviderTimeout,
    RateLimited,
    Refused,
    Unavailable,
)
from llm.limits import Limits
from llm.openai import request_body as openai_body
from llm.settings import Settings


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def settings(world: World) -> Settings:
    return Settings(timeout_s=5.0, retry=world.policy())


async def ask(peer: Peer, settings: Settings, request: Request = HI) -> Any:
    model = connect(peer, settings)
    try:
        return await model.complete(request, role="worker")
    finally:
        await model.aclose()


async def outcome(dialect: Dialect, settings: Settings, *deeds: Deed, request: Request = HI) -> tuple[Any, Peer]:
    """The completion or the error, and the peer that was asked."""
    async with Peer(dialect, *deeds) as peer:
        try:
            return await ask(peer, settings, request), peer
        except Exception as error:  # noqa: BLE001  whatever it is, the test says what it should be
            return error, peer


async def test_a_text_reply_comes_with_its_tokens_and_its_cost(dialect: Dialect, settings: Settings) -> None:
    done, peer = await outcome(dialect, settings, Say("good morning"))
    assert (done.text, done.model, done.stop_reason) == ("good morning", "peer-1", "end")
    usage = done.usage
    assert (usage.calls, usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (1, 1000, 400, 50)
    assert usage.usd == pytest.approx((600 * 2.0 + 400 * 0.5 + 50 * 8.0) / 1e6)
    assert usage.seconds > 0
    assert peer.seen[0].path == PATHS[dialect]


async def test_tokens_that_the_server_does_not_tell_are_counted_as_the_most_that_was_asked_for(
    dialect: Dialect, settings: Settings
) -> None:
    silent = {key: value for key, value in render(dialect, Say()).items() if key != "usage"}
    done, _ = await outcome(dialect, settings, Body(json.dumps(silent)))
    most = upper_estimate(HI, PRICE)
    assert done.usage.input_tokens + done.usage.output_tokens == most.tokens
    assert done.usage.usd == pytest.approx(most.usd)


async def test_a_picture_arrives_as_its_bytes(dialect: Dialect, settings: Settings) -> None:
    request = Request(messages=(Message.of("user", "what is this?", ImagePart(b"\x89PNG-bytes")),))
    _, peer = await outcome(dialect, settings, request=request)
    body = json.dumps(peer.seen[0].body)
    assert base64.b64encode(b"\x89PNG-bytes").decode() in body
    assert "image/png" in body


async def test_a_model_that_sees_no_pictures_refuses_them_before_asking(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect) as peer:
        model = connect(peer, settings, images=False)
        with pytest.raises(Refused, match="cannot see pictures"):
            await model.complete(Request(messages=(Message.of("user", ImagePart(b"x")),)), role="worker")
        await model.aclose()
        assert peer.seen == []


async def test_a_tool_call_is_read_and_its_result_is_sent_back(dialect: Dialect, settings: Settings) -> None:
    done, _ = await outcome(
        dialect,
        settings,
        Say("", calls=(("click", '{"x": 3}'),)),
        request=replace(HI, tools=(CLICK,), tool_choice="required"),
    )
    assert done.stop_reason == "tool"
    assert (done.tool_calls[0].name, done.tool_calls[0].arguments) == ("click", {"x": 3})
    call = done.tool_calls[0]
    history = (
        *HI.messages,
        Message.of("assistant", "I click.", call),
        Message.of("user", ToolResult(call.id, "clicked"), "go on"),
    )
    _, peer = await outcome(dialect, settings, request=Request(messages=history, tools=(CLICK,)))
    body = json.dumps(peer.seen[0].body)
    assert all(word in body for word in ("clicked", "go on", "I click.", call.id))


async def test_a_required_tool_that_is_not_called_is_a_bad_reply(dialect: Dialect, settings: Settings) -> None:
    error, _ = await outcome(dialect, settings, Say("no"), request=replace(HI, tools=(CLICK,), tool_choice="required"))
    assert isinstance(error, BadReply)
    assert error.reply == "no"


async def test_a_structured_reply_is_asked_for_and_checked(dialect: Dialect, settings: Settings) -> None:
    done, peer = await outcome(dialect, settings, Say('{"winner": 2}'), request=replace(HI, schema=SCHEMA))
    assert json.loads(done.text) == {"winner": 2}
    assert "winner" in json.dumps(peer.seen[0].body)


@pytest.mark.parametrize("text", ['{"winner": "two"}', '{"loser": 1}', "The winner is 2.", '{"winner": 2'])
async def test_a_reply_against_the_schema_is_bad_but_kept_and_paid(
    dialect: Dialect, settings: Settings, text: str
) -> None:
    error, peer = await outcome(dialect, settings, Say(text), request=replace(HI, schema=SCHEMA))
    assert isinstance(error, BadReply)
    assert error.reply == text
    assert error.usage is not None
    assert error.usage.output_tokens == 50
    assert len(peer.seen) == 1, "asking again is the caller's decision"


async def test_a_structured_reply_that_was_cut_off_says_so(dialect: Dialect, settings: Settings) -> None:
    error, _ = await outcome(dialect, settings, Say('{"win', length=True), request=replace(HI, schema=SCHEMA))
    assert isinstance(error, BadReply)
    assert "max_tokens" in str(error)


async def test_an_empty_reply_is_a_bad_reply(dialect: Dialect, settings: Settings) -> None:
    error, _ = await outcome(dialect, settings, Say(""))
    assert isinstance(error, BadReply)


@pytest.mark.parametrize("body", ["{not json", "[]", "{}", '"text"', ""])
async def test_a_body_that_cannot_be_read_is_a_bad_reply(dialect: Dialect, settings: Settings, body: str) -> None:
    error, _ = await outcome(dialect, settings, Body(body))
    assert isinstance(error, BadReply), error


async def test_a_reply_that_ends_at_the_token_limit_says_so(dialect: Dialect, settings: Settings) -> None:
    done, _ = await outcome(dialect, settings, Say("and then", length=True))
    assert done.stop_reason == "length"


async def test_a_stop_sequence_ends_the_text(dialect: Dialect, settings: Settings) -> None:
    done, _ = await outcome(dialect, settings, Say("one STOP two"), request=replace(HI, stop=("STOP",)))
    assert (done.text, done.stop_reason) == ("one ", "stop")


async def test_too_many_requests_are_repeated_after_the_time_the_provider_names(
    dialect: Dialect, settings: Settings, world: World
) -> None:
    done, peer = await outcome(dialect, settings, Fault(429, headers={"retry-after": "7"}), Say("at last"))
    assert done.text == "at last"
    assert len(peer.seen) == 2
    assert world.slept == [pytest.approx(7.25)]


async def test_a_broken_server_is_asked_again_with_growing_waits(
    dialect: Dialect, settings: Settings, world: World
) -> None:
    done, _ = await outcome(dialect, settings, Fault(500), Fault(503), Fault(529), Say("back"))
    assert done.text == "back"
    assert world.slept == [0.375, 0.75, 1.5]


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, Unavailable), (504, ProviderTimeout)])
async def test_a_fault_that_stays_is_raised_after_the_last_try(
    dialect: Dialect, settings: Settings, status: int, kind: type[Exception]
) -> None:
    error, peer = await outcome(dialect, settings, Fault(status))
    assert type(error) is kind
    assert len(peer.seen) == 4


async def test_a_rate_limit_that_names_the_billing_page_is_asked_again(dialect: Dialect, settings: Settings) -> None:
    words = "Rate limit reached. Add a payment method at https://platform.openai.com/account/billing."
    done, _ = await outcome(dialect, settings, Fault(429, words), Say("at last"))
    assert done.text == "at last"


async def test_a_used_up_quota_is_not_asked_again(dialect: Dialect, settings: Settings) -> None:
    error, peer = await outcome(dialect, settings, Fault(429, "You exceeded your current quota: insufficient_quota"))
    assert type(error) is Refused
    assert len(peer.seen) == 1


async def test_a_cut_answer_is_asked_again(dialect: Dialect, settings: Settings) -> None:
    done, peer = await outcome(dialect, settings, Cut(), Say("whole"))
    assert done.text == "whole"
    assert len(peer.seen) == 2


async def test_a_dropped_connection_is_asked_again_and_then_unavailable(dialect: Dialect, settings: Settings) -> None:
    assert (await outcome(dialect, settings, Drop(), Say("ok")))[0].text == "ok"
    assert type((await outcome(dialect, settings, Drop()))[0]) is Unavailable


async def test_a_server_that_is_not_there_is_unavailable(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect) as peer:
        model = connect(peer, settings)
    with pytest.raises(Unavailable):
        await model.complete(HI, role="worker")
    await model.aclose()


async def test_a_slow_answer_is_a_timeout_and_its_socket_is_closed(dialect: Dialect, world: World) -> None:
    quick = Settings(timeout_s=1.0, retry=world.policy(attempts=2))
    async with Peer(dialect, Slow(30)) as peer:
        with pytest.raises(ProviderTimeout, match="1 s"):
            await ask(peer, quick)
        await asyncio.wait_for(peer.hung_up.wait(), 5)
    assert len(world.slept) == 1, "asked twice"


async def test_a_cancelled_question_closes_its_socket(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect, Slow(30)) as peer:
        model = connect(peer, settings)
        question = asyncio.create_task(model.complete(HI, role="worker"))
        await asyncio.wait_for(peer.asked.wait(), 5)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await asyncio.wait_for(peer.hung_up.wait(), 5)
        await model.aclose()


async def test_a_wrong_key_is_refused_at_once_and_never_repeated_in_words(dialect: Dialect, settings: Settings) -> None:
    error, peer = await outcome(dialect, settings, Fault(401, f"Incorrect API key provided: {KEY}"))
    assert type(error) is Refused
    assert len(peer.seen) == 1
    assert KEY not in f"{error} {error!r} {error.__cause__}"


async def test_the_key_is_in_no_representation(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect) as peer:
        model = connect(peer, settings)
        assert KEY not in repr(model) + repr(Endpoint(peer.base_url, KEY, 1))
        await model.aclose()


async def test_a_server_given_by_url_gets_its_own_key_and_nothing_else_of_the_environment(
    dialect: Dialect, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "leak")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "leak")
    for name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.setenv(name, "Authorization: Bearer leak\nX-Gateway-Key: leak")
    _, peer = await outcome(dialect, settings)
    assert "leak" not in str(peer.seen[0].headers)
    sent = {name: value for name, value in peer.seen[0].headers.items() if KEY in value}
    assert sent == ({"x-api-key": KEY} if dialect == "messages" else {"authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(
    "fault",
    [
        Fault(400, "prompt is too long: 300000 tokens > 200000 maximum"),
        Fault(400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        Fault(400, "Your input exceeds the context window of this model."),
        Fault(413, "Request exceeds the maximum size"),
    ],
)
async def test_a_context_that_is_too_long_is_told_apart(dialect: Dialect, settings: Settings, fault: Fault) -> None:
    error, _ = await outcome(dialect, settings, fault)
    assert type(error) is ContextTooLong


async def test_a_redirect_is_not_followed_with_the_key(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect) as other:
        error, _ = await outcome(dialect, settings, Fault(307, headers={"location": f"{other.root}/v1"}))
        assert type(error) is Refused
        assert other.seen == []


async def test_a_refused_temperature_is_left_out_from_then_on(dialect: Dialect, settings: Settings) -> None:
    async with Peer(dialect, Fault(400, "`temperature` is deprecated for this model."), Say("a"), Say("b")) as peer:
        model = connect(peer, settings)
        for text in ("a", "b"):
            assert (await model.complete(replace(HI, temperature=0.7), role="worker")).text == text
        await model.aclose()
        assert ["temperature" in seen.body for seen in peer.seen] == [True, False, False]


async def test_a_refused_temperature_is_left_out_by_all_questions_under_way(
    dialect: Dialect, settings: Settings
) -> None:
    async with Peer(dialect, Picky(("temperature",), crowd=4)) as peer:
        model = connect(peer, settings)
        rollouts = [model.complete(replace(HI, temperature=0.7), role="worker") for _ in range(4)]
        assert [done.text for done in await asyncio.gather(*rollouts)] == ["hello"] * 4
        await model.aclose()
        assert ["temperature" in seen.body for seen in peer.seen] == [True] * 4 + [False] * 4


async def test_features_that_are_refused_one_after_the_other_are_all_left_out(
    dialect: Dialect, settings: Settings
) -> None:
    click = Say("", calls=(("click", "{}"),))
    async with Peer(dialect, Picky(("temperature", "tool_choice"), click)) as peer:
        model = connect(peer, settings)
        request = replace(HI, temperature=0.7, tools=(CLICK,), tool_choice="required")
        done = await model.complete(request, role="worker")
        await model.aclose()
        assert done.tool_calls[0].name == "click"
        assert len(peer.seen) == 3


async def test_one_tool_call_is_asked_for_until_the_model_refuses_to_be_asked(
    dialect: Dialect, settings: Settings
) -> None:
    click = Say("", calls=(("click", "{}"),))
    async with Peer(dialect, click, Picky(("parallel_tool_calls",), click)) as peer:
        model = connect(peer, settings)
        request = replace(HI, tools=(CLICK,), one_call=True)
        for _ in range(2):
            assert (await model.complete(request, role="worker")).tool_calls[0].name == "click"
        await model.aclose()
        assert ["parallel_tool" in json.dumps(seen.body) for seen in peer.seen] == [True, True, False]


async def test_a_provider_is_asked_at_most_so_often_at_once(dialect: Dialect, world: World) -> None:
    few = Settings(limits=Limits({"test": 2}), retry=world.policy())
    async with Peer(dialect, Slow(0.05)) as peer:
        models = [connect(peer, few) for _ in range(2)]
        await asyncio.gather(*(models[i % 2].complete(HI, role="worker") for i in range(6)))
        await asyncio.gather(*(model.aclose() for model in models))
        assert peer.most_at_once == 2


@pytest.mark.parametrize("style", ["responses", "chat"])
async def test_logprobs_are_natural_logarithms_with_alternatives(style: Dialect, settings: Settings) -> None:
    done, _ = await outcome(style, settings, Say("A", logprobs=True), request=replace(HI, top_logprobs=2))
    assert done.logprobs[0].token == "A"
    assert done.logprobs[0].top == {"A": -0.1, "B": -2.4}


@pytest.mark.parametrize("style", ["responses", "chat"])
async def test_tool_arguments_that_are_no_json_are_a_bad_reply(style: Dialect, settings: Settings) -> None:
    error, _ = await outcome(
        style, settings, Say("", calls=(("click", '{"x": '),)), request=replace(HI, tools=(CLICK,))
    )
    assert isinstance(error, BadReply)
    assert error.reply == '{"x": '


def failed(code: str) -> Body:
    body = {"model": "m", "status": "failed", "output": [], "usage": None, "error": {"code": code, "message": "sorry"}}
    return Body(json.dumps(body))


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded"])
async def test_a_response_that_failed_in_passing_is_asked_again(settings: Settings, code: str) -> None:
    done, peer = await outcome("responses", settings, failed(code), Say("at last"))
    assert done.text == "at last"
    assert len(peer.seen) == 2


async def test_a_response_that_failed_for_good_is_refused_with_its_reason(settings: Settings) -> None:
    error, peer = await outcome("responses", settings, failed("invalid_image"))
    assert type(error) is Refused
    assert "invalid_image: sorry" in str(error)
    assert len(peer.seen) == 1


async def test_nothing_is_kept_at_openai(settings: Settings) -> None:
    _, peer = await outcome("responses", settings)
    assert peer.seen[0].body["store"] is False


async def test_a_server_that_wants_the_newer_name_of_the_token_limit_gets_it_from_then_on(settings: Settings) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    async with Peer("chat", Fault(400, words), Say("a"), Say("b")) as peer:
        model = connect(peer, settings)
        for text in ("a", "b"):
            assert (await model.complete(HI, role="worker")).text == text
        await model.aclose()
        names = [[name for name in seen.body if name.startswith("max_")] for seen in peer.seen]
        assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


async def test_a_server_whose_model_reads_text_only_is_not_asked_again(dialect: Dialect, settings: Settings) -> None:
    words = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    error, peer = await outcome(dialect, settings, Fault(500, words))
    assert type(error) is Refused
    assert len(peer.seen) == 1


async def test_a_seed_goes_where_one_is_taken(settings: Settings) -> None:
    _, peer = await outcome("chat", settings, request=replace(HI, seed=7))
    assert peer.seen[0].body["seed"] == 7


async def test_anthropic_caches_at_the_marked_parts_at_most_four(settings: Settings) -> None:
    parts = [TextPart(f"part {i}", cache=True) for i in range(6)]
    _, peer = await outcome("messages", settings, request=Request(messages=(Message.of("user", *parts, TextPart("")),)))
    blocks = peer.seen[0].body["messages"][0]["content"]
    assert [("cache_control" in b) for b in blocks] == [False, False, True, True, True, True]


async def test_neighbouring_messages_of_one_role_become_one_turn_for_anthropic(settings: Settings) -> None:
    messages = (Message.of("system", "rules"), Message.of("user", "a"), Message.of("user", "b"))
    _, peer = await outcome("messages", settings, request=Request(messages=messages))
    assert [turn["role"] for turn in peer.seen[0].body["messages"]] == ["user"]
    assert peer.seen[0].body["system"][0]["text"] == "rules"


async def test_a_compatible_anthropic_server_is_asked_for_a_schema_by_a_forced_tool(settings: Settings) -> None:
    async with Peer("messages", Say("", calls=(("reply", '{"winner": 2}'),))) as peer:
        wire = MessagesWire("m", Endpoint(peer.base_url, KEY, 5), schema_by="tool")
        abilities = Abilities(schema=True)
        model = HttpModel(wire, name="t", provider="t", abilities=abilities, settings=settings, price=None)
        done = await model.complete(replace(HI, schema=SCHEMA), role="judge")
        assert (done.text, done.stop_reason, done.tool_calls) == ('{"winner":2}', "end", ())
        assert done.usage.usd is None
        assert peer.seen[0].body["tool_choice"] == {"type": "tool", "name": "reply"}
        with pytest.raises(Refused, match="schema"):
            await model.complete(replace(HI, schema=SCHEMA, tools=(CLICK,)), role="judge")
        peer.deeds[:] = [Say("", calls=(("reply", "{}"),), length=True)]
        with pytest.raises(BadReply, match="cut off at max_tokens"):
            await model.complete(replace(HI, schema=SCHEMA), role="judge")
        await model.aclose()


async def test_tool_results_stand_first_in_their_turn_for_anthropic(settings: Settings) -> None:
    call = Message.of("assistant", ToolCall("c", "click", {}))
    told = Message.of("user", "a note", ToolResult("c", "clicked"), "go on")
    _, peer = await outcome("messages", settings, request=Request(messages=(*HI.messages, call, told)))
    assert [b["type"] for b in peer.seen[0].body["messages"][2]["content"]] == ["tool_result", "text", "text"]


async def test_texts_and_calls_of_one_message_keep_their_order_at_openai(settings: Settings) -> None:
    message = Message.of("assistant", "before", ToolCall("c", "click", {}), "after")
    _, peer = await outcome("responses", settings, request=Request(messages=(message, *HI.messages)))
    kinds = [item.get("type", item.get("role")) for item in peer.seen[0].body["input"]]
    assert kinds == ["assistant", "function_call", "assistant", "user"]


def test_openai_models_that_think_are_asked_for_what_can_be_sent_back() -> None:
    wanted = ["reasoning.encrypted_content"]
    assert openai_body("gpt-5-mini", HI)["include"] == wanted
    assert "include" not in openai_body("gpt-4.1", HI)
    assert openai_body("o3", replace(HI, top_logprobs=2))["include"] == [*wanted, "message.output_text.logprobs"]


def test_thoughts_of_another_provider_are_not_sent() -> None:
    ours, theirs = ThinkingPart("anthropic", {"type": "thinking"}), ThinkingPart("openai", {"type": "reasoning"})
    request = Request(messages=(Message("assistant", (ours, theirs, TextPart("hi"))),))
    content = messages_body("m", request, schema_by="tool")["messages"][0]["content"]
    assert [block["type"] for block in content] == ["thinking", "text"]
    assert [item.get("type") for item in openai_body("m", request)["input"]] == ["reasoning", None]
