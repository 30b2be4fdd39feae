"""Metrics are pure: both sides in, a number out."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.osworld.errors import EvaluationFailed, Unsupported
from benchmarks.osworld.metrics import METRICS, score
from benchmarks.osworld.values import FileContent, Value


def file(text: str) -> FileContent:
    return FileContent("f", text.encode())


@pytest.mark.parametrize(
    ("metric", "result", "expected", "options", "want"),
    [
        ("exact_match", "100\n", {"expected": "100\n"}, {}, 1),
        ("exact_match", "100", {"expected": "100\n"}, {}, 0),
        ("check_include_exclude", "a b", {"include": ["a"], "exclude": ["c"]}, {}, 1),
        ("check_include_exclude", "a c", {"include": ["a"], "exclude": ["c"]}, {}, 0),
        ("check_include_exclude", "a", {"include": ["a", "b"]}, {}, 0),
        ("literal_match", "A", "a", {"ignore_case": True}, 1),
        ("literal_match", ("A", 1), ("a", 1), {"type": "list", "ignore_case": True}, 1),
        ("literal_match", ("A",), ("A", "B"), {"type": "list"}, 0),
        ("is_in_list", ("x", "y"), {"expected": "x"}, {}, 1),
        ("is_in_list", "xyz", {"expected": "b"}, {}, 0),
        ("match_in_list", "b", {"expected": ["a", "b"]}, {}, 1),
        ("compare_text_file", file("a  b\n"), file("a b"), {"ignore_blanks": True}, 1),
        ("compare_text_file", file("a  b\n"), file("a b"), {}, 0),
        ("compare_text_file", file("A"), file("a"), {"ignore_case": True}, 1),
        ("compare_csv", file("a,b\n"), file("a,b"), {}, 1),
        ("compare_csv", file(" a,b"), file("a,b"), {}, 0),
        ("compare_csv", file(" A,b"), file("a,b"), {"strict": False, "ignore_case": True}, 1),
        ("diff_text_file", file("a\nb\nc"), file("a\nb\nd"), {}, 2 / 3),
        ("file_contains", file("one two"), {"expected": ["one", "two"]}, {}, 1),
        ("file_contains", file("one"), {"expected": ["one", "two"]}, {}, 0),
        ("check_list", file("abc\ndef"), {"expect": ["^a", "f$"]}, {}, 1),
        ("check_list", file("abc\ndef"), {"expect": ["^a"], "unexpect": ["e"]}, {}, 0),
        ("check_csv", file("n,v\nx,1\ny,2\n"), {"expect": [{"n": "y", "v": "2"}]}, {}, 1),
        ("check_csv", file("n,v\nx,1\n"), {"expect": [{"n": "x"}], "unexpect": [{"v": "1"}]}, {}, 0),
        ("check_json", file('{"a": [1, 2]}'), {"expect": [{"key": ["a", 1], "method": "eq", "ref": 2}]}, {}, 1),
        ("check_json", file('{"a": "Hi"}'), {"expect": [{"key": ["a"], "method": "re.I", "ref": "^h"}]}, {}, 1),
        ("check_json", file('{"a": 1.05}'), {"expect": [{"key": ["a"], "method": "approx:0.1", "ref": 1}]}, {}, 1),
        ("check_json", file('{"a": "x"}'), {"expect": [{"key": ["a"], "method": "lt", "ref": 1}]}, {}, 0),
        ("check_json", file("{}"), {"expect": [{"key": ["a"], "method": "ne", "ref": 1}]}, {}, 0),
        ("check_json", file('{"a": 1}'), {"unexpect": [{"key": ["a"], "method": "eq", "ref": 1}]}, {}, 0),
    ],
)
def test_a_metric_scores_as_upstream_does(
    metric: str, result: Value, expected: Value, options: Mapping[str, Any], want: float
):
    assert score(metric, result, expected, options) == pytest.approx(want)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_what_does_not_exist_scores_nothing(metric: str):
    assert score(metric, None, {}, {}) == 0


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("check_list", {"expect": ["("]}),
        ("exact_match", {"wanted": 1}),
        ("check_csv", {"expect": ["x"]}),
        ("compare_text_file", {"expected": "x"}),
        ("check_json", {"expect": [{"key": ["a"]}]}),
    ],
)
def test_a_senseless_rule_is_the_tasks_fault_and_no_score(metric: str, expected: Value):
    with pytest.raises(EvaluationFailed):
        score(metric, file('{"a": 1}'), expected, {})


def test_an_unknown_metric_is_unsupported_and_lists_the_known_ones():
    with pytest.raises(Unsupported, match=r"'compare_pptx_files' is not supported; known: .*exact_match"):
        score("compare_pptx_files", "x", None, {})


RULES: dict[str, Value] = {
    "exact_match": {"expected": "x"},
    "check_include_exclude": {"include": ["x"], "exclude": ["y"]},
    "is_in_list": {"expected": "x"},
    "match_in_list": {"expected": ["x"]},
    "file_contains": {"expected": ["x"]},
    "check_list": {"expect": ["x"], "unexpect": ["y"]},
    "check_csv": {"expect": [{"x": "y"}]},
    "check_json": {"expect": [{"key": ["a", 0], "method": "lt", "ref": 1}]},
}


@given(st.sampled_from(sorted(METRICS)), st.binary(max_size=300))
def test_whatever_a_guest_holds_a_metric_answers_with_a_number(metric: str, data: bytes):
    assert 0 <= score(metric, FileContent("f", data), RULES.get(metric, "x"), {}) <= 1


def test_a_file_nested_without_end_is_just_wrong():
    assert score("check_json", file("[" * 100_000), RULES["check_json"], {}) == 0


def test_a_file_of_absurd_length_does_not_hang_the_diff():
    assert score("diff_text_file", file("a\nb\n" * 20_000), file("a"), {}) == 0
