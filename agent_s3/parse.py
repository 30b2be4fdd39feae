"""A model's reply -> one action, or the reason why not. Pure; nothing is ever evaluated."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from agent_s3.actions import ACTION, Action
from agent_s3.schema import THOUGHT, ActionType, name_of, why_not_offered
from agent_s3.tally import whole
from llm.chat import Completion

_DECODER = json.JSONDecoder(strict=False)
_MAX_REPLY = 200_000
_MAX_MISSES = 100
"""So many braces that begin no JSON are tried; each try may read to the end, and all rollouts wait meanwhile."""
_PREFIX = re.compile(r"^(agent|functions?|tools?)[.:]")
_NAMES = ("action", "name", "tool", "type")
_ARGUMENTS = ("arguments", "args", "parameters")


@dataclass(frozen=True)
class Parsed:
    action: Action
    thought: str


@dataclass(frozen=True)
class Rejected:
    """The reply cannot be used; `reason` is told to the model."""

    reason: str


def parse(completion: Completion, actions: Sequence[ActionType]) -> Parsed | Rejected:
    """Read exactly one of the offered actions from a tool call, or else from JSON in the text."""
    if completion.stop_reason == "refused":
        return Rejected("you refused; choose an action, or fail if the task must not be done")
    if len(completion.tool_calls) > 1:
        names = ", ".join(whole(c.name) for c in completion.tool_calls)
        return Rejected(f"exactly one action per reply, but these were called: {names}")
    if completion.tool_calls:
        call = completion.tool_calls[0]
        return _validated({**call.arguments, "action": call.name}, completion.text, actions)
    return _from_text(completion, actions)


def _from_text(completion: Completion, actions: Sequence[ActionType]) -> Parsed | Rejected:
    text = completion.text[:_MAX_REPLY]
    found = [normal for value in _objects(text) if (normal := _normal(value)) is not None]
    if len(found) > 1 and any(other != found[0] for other in found):
        return Rejected(f"exactly one action per reply, but there were {len(found)}")
    if found:
        return _validated(found[0], _outside(text), actions)
    if completion.stop_reason == "length":
        return Rejected("the reply was cut off before an action; be shorter")
    return Rejected("the reply holds no action; reply with one action as a JSON object")


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Top-level JSON objects in a text, code fences and prose skipped."""
    position, misses = text.find("{"), 0
    while position >= 0 and misses < _MAX_MISSES:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            end, misses = position + 1, misses + 1
        else:
            if isinstance(value, dict):
                yield cast("dict[str, Any]", value)
        position = text.find("{", end)


def _normal(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """One flat object with the tag `action`, from the forms that models write; None when it is no action."""
    if isinstance(value.get("action"), dict):
        inner = cast("dict[str, Any]", value["action"])
        value = {**{k: v for k, v in value.items() if k == THOUGHT}, **inner}
    name = next((value[k] for k in _NAMES if isinstance(value.get(k), str)), None)
    if name is None:
        return None
    nested = [cast("dict[str, Any]", value[k]) for k in _ARGUMENTS if isinstance(value.get(k), dict)]
    flat = {k: v for k, v in value.items() if k not in {*_NAMES, *_ARGUMENTS}}
    return {**flat, **(nested[0] if nested else {}), "action": _PREFIX.sub("", str(name))}


def _outside(text: str) -> str:
    """The words around the action: a thought when the object holds none."""
    return re.sub(r"```\w*|\{.*\}", "", text, flags=re.DOTALL).strip()


def _validated(value: Mapping[str, Any], prose: str, actions: Sequence[ActionType]) -> Parsed | Rejected:
    kinds = {name_of(a): a for a in actions}
    kind = kinds.get(str(value["action"]))
    if kind is None:
        name = str(value["action"])[:60]
        why = why_not_offered(name, actions) or f"there is no action {name!r}"
        return Rejected(f"{why}; the actions are {', '.join(kinds)}")
    thought = value.get(THOUGHT)
    fields = {k: v for k, v in value.items() if k != THOUGHT and not _is_unset(kind, k, v)}
    try:
        action = ACTION.validate_python(fields)
    except ValidationError as error:
        return Rejected(f"{value['action']}: {_first_fault(error)}")
    return Parsed(action, whole(thought).strip() if isinstance(thought, str) and thought.strip() else prose.strip())


def _is_unset(kind: ActionType, name: str, value: Any) -> bool:
    """Models write null for an argument that they leave out; only for optional ones is that what they mean."""
    field = kind.model_fields.get(name)
    return value is None and field is not None and not field.is_required()


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"][1:])  # the first part is the tag
    message = "it takes no such argument" if fault["type"] == "extra_forbidden" else fault["msg"]
    return f"{where}: {message}" if where else message
