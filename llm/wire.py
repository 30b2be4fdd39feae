"""JSON as it goes over the wire, and the check of what comes back against the schema that was asked for."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from llm.chat import Json, Usage
from llm.errors import BadReply

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def dumps(value: Any) -> str:
    """Compact JSON with non-ASCII text as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)


def object_of(text: str, *, what: str, usage: Usage | None = None) -> dict[str, Any]:
    """The JSON object in `text`, e.g. the arguments of a tool call; empty text is an empty object.

    Raises: BadReply.
    """
    value = _load(text or "{}", what, usage)
    if not isinstance(value, dict):
        raise BadReply(f"{what} is {type(value).__name__}, not a JSON object", reply=text, usage=usage)
    return cast("dict[str, Any]", value)


def check_schema(text: str, schema: Json, *, usage: Usage | None = None) -> None:
    """Let `text` pass if it is JSON that satisfies `schema`.

    Raises: BadReply with the first violation.
    """
    fault = violation(_load(text, "the reply", usage), schema)
    if fault is not None:
        raise BadReply(f"the reply does not satisfy the schema: {fault}", reply=text, usage=usage)


def _load(text: str, what: str, usage: Usage | None) -> Any:
    """The value in `text`; what Python takes for JSON beyond the standard is refused, as nobody else could read it."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        dumps(value).encode()  # half a surrogate pair can be escaped in JSON, but neither sent nor written
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{what} is not valid JSON: {error}", reply=text, usage=usage) from error
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def violation(value: Any, schema: Any, *, root: Json | None = None, where: str = "$") -> str | None:
    """What is wrong with `value`, or None.

    Knows the keywords that pydantic writes: type, enum, const, properties, required, additionalProperties, items,
    prefixItems, anyOf, oneOf, allOf, $ref into the same document, and the limits of numbers, strings and arrays.
    """
    if isinstance(schema, bool):
        return None if schema else f"{where} is not allowed"
    rules = cast("Json", schema)
    document = rules if root is None else root
    if "$ref" in rules:
        return violation(value, _resolve(str(rules["$ref"]), document), root=document, where=where)
    return (
        _wrong_type(value, rules, where)
        or _wrong_choice(value, rules, where)
        or _wrong_branch(value, rules, document, where)
        or _wrong_size(value, rules, where)
        or _wrong_members(value, rules, document, where)
    )


def _resolve(ref: str, root: Json) -> Any:
    node: Any = root
    for key in ref.removeprefix("#").strip("/").split("/"):
        node = node[key.replace("~1", "/").replace("~0", "~")] if key else node
    return node


def _wrong_type(value: Any, schema: Json, where: str) -> str | None:
    wanted = schema.get("type")
    if wanted is None:
        return None
    names = [wanted] if isinstance(wanted, str) else cast("list[str]", wanted)
    if any(_is(value, name) for name in names):
        return None
    return f"{where} is {json.dumps(value, default=str)[:80]}, not of type {' or '.join(names)}"


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _wrong_choice(value: Any, schema: Json, where: str) -> str | None:
    if "const" in schema and value != schema["const"]:
        return f"{where} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is {value!r}, none of {list(schema['enum'])}"
    return None


def _wrong_branch(value: Any, schema: Json, root: Json, where: str) -> str | None:
    for part in cast("Sequence[Any]", schema.get("allOf", ())):
        if fault := violation(value, part, root=root, where=where):
            return fault
    for keyword in ("anyOf", "oneOf"):
        branches = cast("Sequence[Any]", schema.get(keyword, ()))
        faults = [violation(value, branch, root=root, where=where) for branch in branches]
        fitting = faults.count(None)
        if branches and (fitting == 0 or (keyword == "oneOf" and fitting > 1)):
            return f"{where} fits {fitting} branches of {keyword} ({next(filter(None, faults), 'all')})"
    return None


def _wrong_size(value: Any, schema: Json, where: str) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _out_of(value, schema, where, ("minimum", "maximum")) or _at_limit(value, schema, where)
    if isinstance(value, str):
        if "pattern" in schema and re.search(str(schema["pattern"]), value) is None:
            return f"{where} does not match {schema['pattern']!r}"
        return _out_of(len(value), schema, f"the length of {where}", ("minLength", "maxLength"))
    if isinstance(value, list):
        return _out_of(len(cast("list[Any]", value)), schema, f"the length of {where}", ("minItems", "maxItems"))
    return None


def _out_of(value: float, schema: Json, where: str, keywords: tuple[str, str]) -> str | None:
    low, high = schema.get(keywords[0]), schema.get(keywords[1])
    if low is not None and value < low:
        return f"{where} is {value}, below {low}"
    if high is not None and value > high:
        return f"{where} is {value}, above {high}"
    return None


def _at_limit(value: float, schema: Json, where: str) -> str | None:
    low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if (low is not None and value <= low) or (high is not None and value >= high):
        return f"{where} is {value}, not strictly between {low} and {high}"
    return None


def _wrong_members(value: Any, schema: Json, root: Json, where: str) -> str | None:
    if isinstance(value, dict):
        return _wrong_properties(cast("Json", value), schema, root, where)
    if not isinstance(value, list):
        return None
    heads = cast("Sequence[Any]", schema.get("prefixItems", ()))
    for index, item in enumerate(cast("list[Any]", value)):
        rule = heads[index] if index < len(heads) else schema.get("items", True)
        if fault := violation(item, rule, root=root, where=f"{where}[{index}]"):
            return fault
    return None


def _wrong_properties(value: Json, schema: Json, root: Json, where: str) -> str | None:
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"{where} lacks {', '.join(missing)}"
    known = cast("Mapping[str, Any]", schema.get("properties", {}))
    for name, item in value.items():
        rule = known.get(name, schema.get("additionalProperties", True))
        if rule is False:
            return f"{where} has the unknown member {name!r}"
        if fault := violation(item, rule, root=root, where=f"{where}.{name}"):
            return fault
    return None


def is_strict(schema: Any) -> bool:
    """Whether every object in `schema` lists all its members as required and forbids others.

    That is what OpenAI's strict mode accepts.
    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if isinstance(schema, list):
        return all(is_strict(part) for part in cast("list[Any]", schema))
    if not isinstance(schema, Mapping):
        return True
    schema = cast("Json", schema)
    if schema.get("type") == "object" or "properties" in schema:
        members = cast("Mapping[str, Any]", schema.get("properties", {}))
        if schema.get("additionalProperties", True) is not False or set(members) != set(schema.get("required", ())):
            return False
    return all(is_strict(part) for part in schema.values())
