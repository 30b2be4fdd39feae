"""Replies of models -> one action, or the reason why not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_s3.actions import ACTIONS, CallCodeAgent, Click, Done, Type
from agent_s3.parse import Parsed, Rejected, parse
from agent_s3.schema import offered
from llm.chat import Completion, ToolCall, Usage

ALL = ACTIONS


def reply(text: str = "", *calls: tuple[str, dict[str, object]], stop: str = "end") -> Completion:
    tool_calls = tuple(ToolCall(str(i), name, arguments) for i, (name, arguments) in enumerate(calls))
    return Completion(text, "m", Usage(), stop_reason=stop, tool_calls=tool_calls)  # type: ignore[arg-type]


def action_of(completion: Completion) -> object:
    parsed = parse(completion, ALL)
    assert isinstance(parsed, Parsed), parsed
    return parsed.action


def reason_of(completion: Completion) -> str:
    parsed = parse(completion, ALL)
    assert isinstance(parsed, Rejected), parsed
    return parsed.reason


def test_a_tool_call_becomes_an_action_with_its_thought():
    parsed = parse(reply("", ("click", {"thought": "it is there", "element_description": "#3"})), ALL)
    assert parsed == Parsed(Click(element_description="#3"), "it is there")


@pytest.mark.parametrize(
    "text",
    [
        '{"action": "done"}',
        '```json\n{"action": "done"}\n```',
        'I am ready.\n```\n{"thought": "ready", "action": "done"}\n```\nBye.',
        '{"name": "done", "arguments": {}}',
        '{"thought": "x", "action": {"action": "done"}}',
        '{"action": "agent.done"}',
        '{"action": "done"} {"action": "done"}',
    ],
)
def test_json_is_found_in_the_forms_that_models_write(text: str):
    assert action_of(reply(text)) == Done()


def test_null_for_an_optional_argument_means_that_it_is_left_out():
    completion = reply('{"action": "type", "text": "a", "element_description": null, "enter": null}')
    assert action_of(completion) == Type(text="a")


def test_two_different_actions_are_refused_in_text_and_as_tool_calls():
    assert "exactly one action" in reason_of(reply('{"action": "done"} {"action": "fail"}'))
    assert "exactly one action" in reason_of(reply("", ("done", {}), ("fail", {})))


def test_the_reason_names_the_argument_that_is_wrong():
    assert "num_clicks" in reason_of(reply("", ("click", {"element_description": "x", "num_clicks": 9})))
    assert "element_description" in reason_of(reply("", ("click", {})))
    assert "colour: it takes no such argument" in reason_of(reply("", ("done", {"colour": "red"})))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_no_record_can_hold_is_refused(number: str):
    cells = f'{{"action": "set_cell_values", "cell_values": {{"A1": {number}}}, "app_name": "a", "sheet_name": "b"}}'
    assert "cell_values.A1" in reason_of(reply(cells))


def test_an_unknown_action_is_answered_with_the_known_ones():
    assert "the actions are click, type" in reason_of(reply('{"action": "fly"}'))


def test_an_action_that_the_machine_cannot_do_is_refused_like_an_unknown_one():
    few = offered(can_run=False, has_office=False, short=False)
    assert CallCodeAgent not in few
    refused = parse(reply('{"action": "call_code_agent"}'), few)
    assert isinstance(refused, Rejected)
    assert refused.reason.startswith("call_code_agent cannot be used: this machine runs no commands")


def test_a_reply_that_was_cut_off_is_told_to_be_shorter():
    assert "shorter" in reason_of(reply('{"action": "type", "text": "aaa', stop="length"))


@pytest.mark.parametrize("wall", ["{" * 200, '{"a":' * 200, '{"a": [0, ' * 200])
def test_a_wall_of_braces_is_given_up_since_every_one_of_them_may_be_read_to_the_end(wall: str):
    assert "no action" in reason_of(reply(wall + '{"action": "done"}'))
    assert action_of(reply("{x} " * 20 + '{"action": "done"}')) == Done()


def test_code_in_a_reply_is_never_evaluated():
    assert "no action" in reason_of(reply('agent.click(__import__("os").system("false"))'))


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str):
    assert isinstance(parse(reply(text), ALL), Parsed | Rejected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_makes_the_parser_raise(value: object):
    for text in (json.dumps(value), json.dumps({"action": "click", "element_description": value})):
        assert isinstance(parse(reply(text), ALL), Parsed | Rejected)
