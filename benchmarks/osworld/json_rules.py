"""The metric `check_json`: rules about single values deep in a JSON document. Pure.

Source: `check_json` and `_match_value_to_rule` of xlang-ai/OSWorld, for the rules' form and the names of methods.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from benchmarks.osworld.errors import EvaluationFailed, Unsupported
from benchmarks.osworld.tasks import Frozen
from benchmarks.osworld.values import Value, text_of

_MISSING = object()


class JsonRule(Frozen):
    """What one value must be."""

    key: tuple[str | int, ...]
    """Path to the value: names and list positions."""
    method: str
    """`eq ne lt le gt ge`, `re` with flags as in `re.I`, `approx:TOLERANCE`, `str_list_eq`, `bool_list_eq`."""
    ref: Any = None


class _Rules(Frozen):
    expect: tuple[JsonRule, ...] = ()
    unexpect: tuple[JsonRule, ...] = ()


def check_json(result: Value, expected: Value, options: Mapping[str, Any]) -> float:
    """All rules of `expect` hold and none of `unexpect`; what is no JSON scores 0.

    Raises: `EvaluationFailed`, `Unsupported` for YAML and unknown methods.
    """
    if options.get("is_yaml", False):
        raise Unsupported("check_json: is_yaml is not supported; known: JSON")
    rules = _rules(expected)
    document = _parse(text_of(result))
    if document is _MISSING:
        return 0.0
    wanted = all(holds(rule, document) for rule in rules.expect)
    return float(wanted and not any(holds(rule, document) for rule in rules.unexpect))


def holds(rule: JsonRule, document: object) -> bool:
    """Whether the value at the rule's key is as the rule says; False when there is no such value."""
    value = _at(document, rule.key)
    return value is not _MISSING and _matches(value, rule)


def _rules(expected: Value) -> _Rules:
    try:
        return _Rules.model_validate(expected)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise EvaluationFailed(f"check_json: {where or 'rules'}: {fault['msg']}; correct the task file") from error


def _parse(text: str | None) -> object:
    try:
        return _MISSING if text is None else json.loads(text)
    except (ValueError, RecursionError):  # the agent's file, and no JSON
        return _MISSING


def _at(value: object, key: Sequence[str | int]) -> object:
    for part in key:
        if isinstance(value, dict) and isinstance(part, str):
            value = cast("dict[str, object]", value).get(part, _MISSING)
        elif isinstance(value, list) and isinstance(part, int):
            items = cast("list[object]", value)
            value = items[part] if -len(items) <= part < len(items) else _MISSING
        else:
            return _MISSING
    return value


def _matches(value: object, rule: JsonRule) -> bool:
    name, _, argument = rule.method.partition(":")
    if name in _COMPARE:
        return _compare(_COMPARE[name], value, rule.ref)
    if name == "re" or name.startswith("re."):
        return isinstance(value, str) and re.search(rule.ref, value, _flags(name)) is not None
    if name == "approx":
        return isinstance(value, int | float) and abs(value - float(rule.ref)) <= float(argument)
    if name in ("str_list_eq", "bool_list_eq"):
        return value == rule.ref
    known = ", ".join((*_COMPARE, "re", "approx:N", "str_list_eq", "bool_list_eq"))
    raise Unsupported(f"check_json: method {rule.method!r} is not supported; known: {known}")


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


def _compare(compare: Callable[[Any, Any], bool], value: object, ref: object) -> bool:
    try:
        return compare(value, ref)
    except TypeError:  # the agent wrote another type than the rule compares with
        return False


def _flags(method: str) -> int:
    flags = 0
    for name in method.split(".")[1:]:
        flag = getattr(re.RegexFlag, name, None)
        if not isinstance(flag, re.RegexFlag):
            raise Unsupported(f"check_json: {name!r} is no flag of a regular expression, as in 're.I'")
        flags |= flag
    return flags
