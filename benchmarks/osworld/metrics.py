"""Metrics: how much of a task is done, from 0 to 1, given both sides of a comparison. Pure.

The result side comes from a machine that the agent could write to: whatever it holds, a metric answers with a number.
The expected side and the options come from the task: when they make no sense that is an `EvaluationFailed`.
Source: `desktop_env/evaluators/metrics` of xlang-ai/OSWorld, for names and meaning.
"""

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from benchmarks.osworld.errors import EvaluationFailed, Unsupported
from benchmarks.osworld.json_rules import check_json
from benchmarks.osworld.tasks import INFEASIBLE
from benchmarks.osworld.values import FileContent, Value, text_of

MAX_DIFF_LINES = 20_000
"""`difflib` takes quadratic time, and the file is the agent's."""

Options = Mapping[str, Any]
Metric = Callable[[Value, Value, Options], float]


def score(name: str, result: Value, expected: Value, options: Options) -> float:
    """A result that does not exist scores 0. Raises: `Unsupported`, `EvaluationFailed`."""
    metric = METRICS.get(name)
    if metric is None:
        raise Unsupported(f"metric {name!r} is not supported; known: {', '.join(sorted((*METRICS, INFEASIBLE)))}")
    if result is None:
        return 0.0
    try:
        return metric(result, expected, options)
    except re.error as error:
        raise EvaluationFailed(f"{name}: bad pattern {error.pattern!r}: {error}; correct the task file") from error


def exact_match(result: Value, expected: Value, options: Options) -> float:
    """The result is the rule's `expected`, to the last character."""
    del options
    wanted = _rule(expected, "expected")
    return float((text_of(result) if isinstance(result, FileContent) else result) == wanted)


def check_include_exclude(result: Value, expected: Value, options: Options) -> float:
    """The text holds all of `include` and none of `exclude`."""
    del options
    text = text_of(result)
    if text is None:
        return 0.0
    wanted, unwanted = _words(expected, "include"), _words(expected, "exclude")
    return float(all(word in text for word in wanted) and not any(word in text for word in unwanted))


def literal_match(result: Value, expected: Value, options: Options) -> float:
    """Both sides are equal as text, or, with `type` = `list`, item by item."""
    fold = bool(options.get("ignore_case", False))
    match options.get("type", "str"):
        case "str":
            return float(_folded(_plain(result), fold) == _folded(_plain(expected), fold))
        case "list":
            left, right = _items(result), _items(expected)
            return float(left is not None and right is not None and _all_equal(left, right, fold))
        case other:
            raise EvaluationFailed(f"literal_match: type {other!r} is neither 'str' nor 'list'; correct the task file")


def is_in_list(result: Value, expected: Value, options: Options) -> float:
    """The rule's `expected` is one of the result's items, or a part of its text."""
    del options
    wanted = _rule(expected, "expected")
    if isinstance(result, tuple):
        return float(wanted in result)
    text = text_of(result)
    return float(text is not None and str(wanted) in text)


def match_in_list(result: Value, expected: Value, options: Options) -> float:
    """The result is one of the rule's `expected`."""
    del options
    return float(text_of(result) in _words(expected, "expected"))


def compare_text_file(result: Value, expected: Value, options: Options) -> float:
    """Both texts are equal; `ignore_blanks` takes any run of blanks for one, `ignore_case` any case."""
    left, right = text_of(result), _gold(expected)
    if left is None:
        return 0.0
    if options.get("ignore_blanks", False):
        left, right = " ".join(left.split()), " ".join(right.split())
    if options.get("ignore_case", False):
        left, right = left.casefold(), right.casefold()
    return float(left == right)


def compare_csv(result: Value, expected: Value, options: Options) -> float:
    """Line by line equal; not `strict` strips blanks around lines, `ignore_case` takes any case."""
    left, right = text_of(result), _gold(expected)
    if left is None:
        return 0.0
    strict, fold = bool(options.get("strict", True)), bool(options.get("ignore_case", False))

    def lines(text: str) -> list[str]:
        return [_folded(line if strict else line.strip(), fold) for line in text.splitlines()]

    return float(lines(left) == lines(right))


def diff_text_file(result: Value, expected: Value, options: Options) -> float:
    """Share of lines that agree, as `difflib` counts them; a file of absurd length scores 0."""
    del options
    lines = (text_of(result) or "").splitlines()
    if not lines or len(lines) > MAX_DIFF_LINES:
        return 0.0
    return difflib.SequenceMatcher(a=lines, b=_gold(expected).splitlines()).ratio()


def file_contains(result: Value, expected: Value, options: Options) -> float:
    """The file holds every text of the rule's `expected`."""
    del options
    text = text_of(result)
    return float(text is not None and all(word in text for word in _words(expected, "expected")))


def check_list(result: Value, expected: Value, options: Options) -> float:
    """Each pattern of `expect` is found in some line, none of `unexpect` in any."""
    del options
    text = text_of(result)
    if text is None:
        return 0.0
    lines = text.splitlines()
    wanted = [re.compile(pattern) for pattern in _words(expected, "expect")]
    unwanted = [re.compile(pattern) for pattern in _words(expected, "unexpect")]
    found = all(any(pattern.search(line) for line in lines) for pattern in wanted)
    return float(found and not any(pattern.search(line) for pattern in unwanted for line in lines))


def check_csv(result: Value, expected: Value, options: Options) -> float:
    """Each record of `expect` is among the rows, none of `unexpect`; a record names some columns and their text."""
    del options
    text = text_of(result)
    if text is None:
        return 0.0
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error:
        return 0.0
    found = all(any(_has(row, record) for row in rows) for record in _records(expected, "expect"))
    return float(found and not any(_has(row, record) for record in _records(expected, "unexpect") for row in rows))


def _has(row: Mapping[str | Any, str | Any], record: Mapping[str, Any]) -> bool:
    return all(key in row and row[key] == value for key, value in record.items())


def _rule(expected: Value, key: str) -> Any:
    if not isinstance(expected, Mapping) or key not in expected:
        raise EvaluationFailed(f"the rule has no {key!r}; correct the task file")
    return expected[key]


def _several(expected: Value, key: str) -> tuple[Any, ...]:
    """A list of the rule, empty when it is not given."""
    if not isinstance(expected, Mapping):
        raise EvaluationFailed(f"the expected side is no rule with {key!r}; correct the task file")
    value = expected.get(key, ())
    if not isinstance(value, list | tuple):
        raise EvaluationFailed(f"{key!r} of the rule is no list; correct the task file")
    return tuple(cast("Iterable[Any]", value))


def _words(expected: Value, key: str) -> tuple[str, ...]:
    return tuple(str(word) for word in _several(expected, key))


def _records(expected: Value, key: str) -> tuple[Mapping[str, Any], ...]:
    records = _several(expected, key)
    if not all(isinstance(record, Mapping) for record in records):
        raise EvaluationFailed(f"{key!r} of the rule holds something else than records; correct the task file")
    return records


def _gold(expected: Value) -> str:
    text = text_of(expected)
    if text is None:
        raise EvaluationFailed("there is no expected text or file; correct the task file")
    return text


def _plain(value: Value) -> str:
    text = text_of(value)
    return text if text is not None else str(value)


def _items(value: Value) -> tuple[Any, ...] | None:
    return value if isinstance(value, tuple) else None


def _folded(text: str, fold: bool) -> str:
    return text.casefold() if fold else text


def _all_equal(left: tuple[Any, ...], right: tuple[Any, ...], fold: bool) -> bool:
    if not fold:
        return left == right
    return [str(item).casefold() for item in left] == [str(item).casefold() for item in right]


METRICS: Mapping[str, Metric] = {
    "exact_match": exact_match,
    "check_include_exclude": check_include_exclude,
    "literal_match": literal_match,
    "is_in_list": is_in_list,
    "match_in_list": match_in_list,
    "compare_text_file": compare_text_file,
    "compare_csv": compare_csv,
    "diff_text_file": diff_text_file,
    "file_contains": file_contains,
    "check_list": check_list,
    "check_csv": check_csv,
    "check_json": check_json,
}
"""Metrics that this version knows, by the name in task files; `infeasible` is the evaluator's own."""
