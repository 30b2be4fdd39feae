"""The model that answers from a script."""

import json
from pathlib import Path

import pytest

from llm.chat import Completion, Message, Request, Tool, Usage
from llm.errors import BadReply, ConfigError, ProviderTimeout, RateLimited
from llm.registry import open_model
from llm.scripted import Reply, ScriptedModel, load_script


def ask(*texts: str, schema: dict[str, object] | None = None, top_logprobs: int = 0) -> Request:
    """A conversation that begins and ends with the user."""
    roles = ("user", "assistant")
    messages = tuple(Message.of(roles[i % 2], t) for i, t in enumerate(texts or ("hi",)))
    return Request(messages=messages, schema=schema, top_logprobs=top_logprobs)


async def text_of(model: ScriptedModel, *texts: str, role: str = "worker") -> str:
    return (await model.complete(ask(*texts), role=role)).text


async def test_replies_are_given_in_their_order() -> None:
    model = ScriptedModel(["one", "two"])
    assert [await text_of(model), await text_of(model)] == ["one", "two"]


async def test_each_role_has_its_own_queue() -> None:
    model = ScriptedModel(
        [Reply(role="worker", text="w1"), Reply(role="judge", text="j1"), Reply(role="worker", text="w2")]
    )
    assert await text_of(model, role="judge") == "j1"
    assert [await text_of(model), await text_of(model)] == ["w1", "w2"]


async def test_a_script_that_runs_out_says_who_asked_what() -> None:
    model = ScriptedModel([Reply(role="judge", text="A")])
    with pytest.raises(
        ConfigError, match=r"no reply for question 1 of role 'worker' \(turn 0, ends in 'open the file'\)"
    ):
        await text_of(model, "open the file")


async def test_a_reply_waits_for_the_text_it_fits() -> None:
    model = ScriptedModel([Reply(when=("Rename", "report"), text="mv"), Reply(unless="Rename", text="other")])
    assert await text_of(model, "Copy report.txt") == "other"
    assert await text_of(model, "Rename report.txt") == "mv"


async def test_parallel_conversations_are_told_apart_by_their_turn() -> None:
    model = ScriptedModel([Reply(turn=0, times=0, text="first"), Reply(turn=1, times=0, text="second")])
    assert await text_of(model, "a") == "first"
    assert await text_of(model, "a", "first", "b") == "second"
    assert await text_of(model, "other") == "first"


async def test_a_reply_can_be_given_several_times() -> None:
    model = ScriptedModel([Reply(times=2, text="x"), "y"])
    assert [await text_of(model) for _ in range(3)] == ["x", "x", "y"]
    assert model.unused == 0


async def test_a_fresh_copy_begins_at_the_start() -> None:
    model = ScriptedModel(["one"])
    await text_of(model)
    assert model.unused == 0
    assert await text_of(model.fresh()) == "one"


async def test_a_function_may_answer_or_pass() -> None:
    model = ScriptedModel(
        [lambda request, role: f"for {role}" if request.messages[-1].text == "you?" else None, "else"]
    )
    assert await text_of(model, "you?", role="judge") == "for judge"
    assert await text_of(model, "x") == "else"


async def test_a_ready_completion_is_given_as_it_is() -> None:
    done = Completion(text="t", model="m", usage=Usage(calls=1))
    assert await ScriptedModel([done]).complete(ask(), role="worker") is done


async def test_tool_calls_json_and_logprobs_can_be_scripted() -> None:
    model = ScriptedModel(
        [
            Reply.model_validate({"tool_calls": [{"name": "click", "arguments": {"x": 1}}]}),
            Reply.model_validate({"json": {"winner": 2}}),
            Reply(text="A", logprobs=({"A": -0.1, "B": -2.4},)),
        ]
    )
    call = await model.complete(Request(messages=ask().messages, tools=(Tool("click", "", {}),)), role="worker")
    assert (call.stop_reason, call.tool_calls[0].name, call.tool_calls[0].arguments) == ("tool", "click", {"x": 1})
    assert (await model.complete(ask(schema={"type": "object"}), role="worker")).text == '{"winner":2}'
    letter = await model.complete(ask(top_logprobs=2), role="worker")
    assert letter.logprobs is not None
    assert letter.logprobs[0].top == {"A": -0.1, "B": -2.4}


async def test_a_reply_that_breaks_the_asked_schema_is_a_bad_reply() -> None:
    model = ScriptedModel(['{"winner": "two"}'])
    with pytest.raises(BadReply, match=r"\$.winner is \"two\", not of type integer") as caught:
        await model.complete(ask(schema={"properties": {"winner": {"type": "integer"}}}), role="judge")
    assert caught.value.reply == '{"winner": "two"}'


@pytest.mark.parametrize(("name", "kind"), [("rate_limited", RateLimited), ("timeout", ProviderTimeout)])
async def test_a_reply_can_be_an_error(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="scripted"):
        await ScriptedModel([Reply.model_validate({"error": name})]).complete(ask(), role="worker")


async def test_every_question_is_kept_for_assertions() -> None:
    model = ScriptedModel(["x"])
    await text_of(model, "what?", role="judge")
    assert [(role, request.messages[0].text) for role, request in model.asked] == [("judge", "what?")]


async def test_a_json_script_is_opened_by_its_spec(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"replies": ["hello", {"role": "judge", "text": "A"}], "images": False}))
    model = open_model(f"scripted:{path}")
    assert model.name == f"scripted:{path}"
    assert not model.abilities.images
    assert (await model.complete(ask(), role="worker")).model == f"scripted:{path}"


async def test_a_jsonl_script_skips_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    path.write_text('# first step\n"one"\n\n{"text": "two", "role": "worker"}\n')
    model = load_script(path)
    assert [await text_of(model), await text_of(model)] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "Expecting"),
        ('[{"txt": "x"}]', "Extra inputs"),
        ('[{"times": -1}]', "greater than or equal"),
        ("3", "replies"),
    ],
)
def test_a_faulty_script_is_refused_with_its_name(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.json") as caught:
        load_script(path)
    assert fault.lower() in str(caught.value).lower() or "valid" in str(caught.value)


def test_a_missing_script_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json"):
        load_script(tmp_path / "no.json")
