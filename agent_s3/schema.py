"""The action models as the model is shown them: tools, one JSON schema, or lines of text. One source: `actions.py`."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from pydantic import BaseModel

from agent_s3.actions import ACTIONS, AskUser, CallCodeAgent, HighlightTextSpan, Open, SetCellValues, SwitchApplications
from llm.chat import Json, Tool

ActionType = type[BaseModel]
THOUGHT = "thought"
_THOUGHT_HELP = "what the last action did, what the screen shows now, and why this is the next action"
_SHORT_STYLE = (
    "click",
    "type",
    "hotkey",
    "open",
    "switch_applications",
    "set_cell_values",
    "call_code_agent",
    "ask_user",
    "wait",
    "done",
    "fail",
)
"""What a small model is offered: every further action makes its choice worse and its prompt longer."""
_NOISE = frozenset(
    {"title", "maxLength", "minLength", "maxItems", "minItems", "minimum", "maximum", "exclusiveMinimum"}
)
"""Not shown: bounds are checked on parsing, and several providers and grammars refuse them."""


_NEEDS_RUN: frozenset[ActionType] = frozenset(
    {CallCodeAgent, SetCellValues, Open, SwitchApplications, HighlightTextSpan}
)


def name_of(action: ActionType) -> str:
    return str(action.model_fields["action"].default)


def offered(*, can_run: bool, has_office: bool, short: bool, ask: bool = False) -> tuple[ActionType, ...]:
    """The actions that this machine can do, in the order in which they are shown; `ask`: there is a user to ask."""
    hidden = set[ActionType](() if can_run else _NEEDS_RUN)
    if not ask:
        hidden.add(AskUser)
    if not has_office:
        hidden.add(SetCellValues)
    return tuple(a for a in ACTIONS if a not in hidden and (not short or name_of(a) in _SHORT_STYLE))


def why_not_offered(name: str, offered: Sequence[ActionType]) -> str | None:
    """Why an action of ours is not among those offered; None: there is none of that name."""
    action = next((a for a in ACTIONS if name_of(a) == name), None)
    if action is None:
        return None
    if action in _NEEDS_RUN and not _NEEDS_RUN & set(offered):
        return f"{name} cannot be used: this machine runs no commands for us"
    return f"{name} cannot be used here"


@cache
def tools(actions: tuple[ActionType, ...]) -> tuple[Tool, ...]:
    """One tool per action; each takes the thought first."""
    return tuple(Tool(name_of(a), _first_line(a), _object(a, tagged=False)) for a in actions)


@cache
def text_schema(actions: tuple[ActionType, ...]) -> Json:
    """JSON Schema of a reply in text: one object, tagged by `action`, with the thought first."""
    return {"anyOf": [_object(a, tagged=True) for a in actions]}


@cache
def signatures(actions: tuple[ActionType, ...]) -> str:
    """One line per action, e.g. `click(element_description, num_clicks=1): Click an element.`"""
    return "\n".join(f"{name_of(a)}({_arguments(a)}): {_first_line(a)}" for a in actions)


def _first_line(action: ActionType) -> str:
    return (action.__doc__ or "").strip().splitlines()[0]


def _arguments(action: ActionType) -> str:
    return ", ".join(
        name if field.is_required() else f"{name}={_literal(field.get_default(call_default_factory=True))}"
        for name, field in action.model_fields.items()
        if name != "action"
    )


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


def _object(action: ActionType, *, tagged: bool) -> dict[str, Any]:
    schema = action.model_json_schema()
    fields: Mapping[str, Any] = schema["properties"]
    properties: dict[str, Any] = {THOUGHT: {"type": "string", "description": _THOUGHT_HELP}}
    if tagged:
        properties["action"] = {"type": "string", "enum": [name_of(action)]}
    properties |= {name: _clean(value) for name, value in fields.items() if name != "action"}
    required = [THOUGHT, *(["action"] if tagged else []), *schema.get("required", [])]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _clean(value: object) -> Any:
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in cast("dict[str, object]", value).items() if k not in _NOISE}
    if isinstance(value, list):
        return [_clean(v) for v in cast("list[object]", value)]
    return value
