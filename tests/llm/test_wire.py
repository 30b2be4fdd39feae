"""Replies against schemas."""

import enum
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from llm.errors import BadReply
from llm.wire import check_schema, dumps, is_strict, object_of, violation


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: Size
    tags: list[str] = Field(max_length=3)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, pattern="^[a-z]+$")
    score: float = Field(ge=0, le=1)
    count: int = Field(gt=0)
    inner: Inner | None
    kind: Literal["a", "b"]
    place: tuple[int, int]
    done: bool


SCHEMA = Outer.model_json_schema()
GOOD: dict[str, Any] = {
    "name": "x",
    "score": 0.5,
    "count": 1,
    "inner": {"size": "small", "tags": ["t"]},
    "kind": "a",
    "place": [1, 2],
    "done": True,
}


def test_a_value_that_pydantic_takes_has_no_violation() -> None:
    assert violation(GOOD, SCHEMA) is None
    assert violation(GOOD | {"inner": None}, SCHEMA) is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": ""}, "$.name"),
        ({"name": "X"}, "$.name does not match"),
        ({"score": 2}, "$.score is 2, above 1"),
        ({"count": 0}, "$.count"),
        ({"count": 1.5}, "not of type integer"),
        ({"count": True}, "not of type integer"),
        ({"inner": {"size": "huge", "tags": []}}, "$.inner fits 0 branches"),
        ({"inner": {"size": "small", "tags": [1]}}, "$.inner"),
        ({"inner": {"size": "small", "tags": ["t"] * 4}}, "$.inner"),
        ({"kind": "c"}, "$.kind is 'c', none of ['a', 'b']"),
        ({"place": [1, "2"]}, "$.place[1]"),
        ({"place": [1]}, "the length of $.place is 1, below 2"),
        ({"done": "yes"}, "$.done"),
        ({"extra": 1}, "unknown member 'extra'"),
    ],
)
def test_a_violation_names_its_place(change: dict[str, Any], where: str) -> None:
    fault = violation(GOOD | change, SCHEMA)
    assert fault is not None
    assert where in fault


def test_a_missing_member_is_named() -> None:
    assert violation({}, {"required": ["a", "b"]}) == "$ lacks a, b"


def test_a_schema_may_be_true_or_false() -> None:
    assert violation(1, True) is None
    assert violation(1, False) == "$ is not allowed"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON)
def test_what_is_dumped_reads_back(value: Any) -> None:
    assert json.loads(dumps(value)) == value


@given(JSON)
def test_any_value_is_judged_without_a_crash(value: Any) -> None:
    fault = violation(value, SCHEMA)
    assert fault is None or fault.startswith(("$", "the length of $"))


def test_a_reply_that_is_no_json_is_kept() -> None:
    with pytest.raises(BadReply, match="not valid JSON") as caught:
        check_schema("sure!", {})
    assert caught.value.reply == "sure!"


@pytest.mark.parametrize(
    "text",
    ['{"x": NaN}', '{"x": -Infinity}', '{"x": "\\ud83d"}', "[" * 200_000, '{"x":' * 200_000 + "1" + "}" * 200_000],
)
def test_what_only_python_takes_for_json_is_a_bad_reply(text: str) -> None:
    with pytest.raises(BadReply, match="not valid JSON"):
        check_schema(text, {})
    with pytest.raises(BadReply, match="not valid JSON"):
        object_of(text, what="the arguments")


def test_tool_arguments_must_be_an_object() -> None:
    assert object_of("", what="x") == {}
    with pytest.raises(BadReply, match="list, not a JSON object"):
        object_of("[1]", what="the arguments")


def test_strict_means_that_every_member_is_required_and_no_other_is_allowed() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
    assert is_strict(closed)
    assert not is_strict(closed | {"required": []})
    assert not is_strict({"anyOf": [closed, {"type": "object"}]})
