"""The page of the judge laboratory: all figures, charts that fit, hostile text that does nothing."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browser import console_lines, open_page, width_beyond

from viewer.judge_charts import curves, forest, percent
from viewer.judge_page import cost, render, share, write

HOSTILE = "<script>document.title='owned'</script> {{ 7*7 }}"
USAGE = {"calls": 9, "input_tokens": 1200, "cached_tokens": 0, "output_tokens": 34, "usd": 0.5, "seconds": 3.0}
NOTHING = {**USAGE, "calls": 0}


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "tasks": 12, "method": "bootstrap"}


def cell(name: str, judge: str, success: float, *, model: str = "", skipped: str = "") -> dict[str, Any]:
    points = [{"n": n, "success": estimate(success * n / 4, 0.0, 1.0)} for n in (1, 2, 4)]
    return {
        "name": name,
        "judge": judge,
        "evidence": "narratives" if model else "",
        "model": model,
        "skipped": skipped,
        "answered": 12,
        "unanswered": 1,
        "none": 2,
        "none_right": 1,
        "success": estimate(success, success - 0.1, success + 0.1),
        "over_random": estimate(0.1, -0.05, 0.2),
        "accuracy": estimate(0.7),
        "gap": estimate(-0.3, -1.4, 0.43),
        "curve": points,
        "usage": USAGE if model else NOTHING,
    }


REPORT: dict[str, Any] = {
    "schema_version": 1,
    "config": {"models": ["local", HOSTILE], "seed": 3},
    "tasks": 12,
    "rollouts": 48,
    "decidable": 7,
    "scored": 12,
    "cells": [
        cell("mcq · narratives", "mcq", 0.6, model="local"),
        cell(HOSTILE, "rubric", 0.5, model="local"),
        cell("mcq · screens", "mcq", 0.5, model="local", skipped="local cannot see pictures"),
        cell("random", "random", 0.4),
        cell("oracle", "oracle", 0.9),
    ],
    "comparisons": [
        {
            "cell": "random",
            "other": "mcq · narratives",
            "difference": estimate(-0.2, -0.31, -0.05),
            "only_cell": 1,
            "only_other": 7,
            "p": 0.0703125,
        }
    ],
    "positions": [
        {
            "cell": "mcq · narratives",
            "questions": 40,
            "picked": [30, 10],
            "expected": [20, 20],
            "p": 0.0016,
            "steady": 0.25,
        }
    ],
    "agreement": [{"cell": "a", "other": "b", "tasks": 12, "same": 0.75, "kappa": 0.4}],
    "fleiss": 0.21,
    "rows": [{"error": HOSTILE, "cell": "mcq · narratives", "task": "t9", "n": 4}],
    "words": {"mcq": "one question over all", "random": "any", "pairwise": "not in this report"},
    "faults": [HOSTILE],
    "versions": {},
    "prompts": {},
    "commit": "abcdef0123456789",
}


def test_every_figure_is_on_the_page() -> None:
    page = unescape(render(REPORT))
    for words in [
        "mcq · narratives",
        "60.0 % (50.0 to 70.0)",
        "-30.0 % (-140.0 to 43.0)",
        "0.070",
        "30 · 10",
        "20.0 · 20.0",
        "0.002",
        "25 %",
        "0.400",
        "0.210",
        "local cannot see pictures",
        "9 calls, 1.2k, $0.5000",
        "one question over all",
        "t9, 4 candidates",
    ]:
        assert words in page, words
    assert "not in this report" not in page.partition("<pre>")[0]
    assert page.count("<svg") == 3


def test_the_report_is_on_the_page_for_programs_without_single_decisions() -> None:
    found = re.search(r"<pre>(.*?)</pre>", render(REPORT), re.DOTALL)
    assert found is not None
    assert json.loads(unescape(found[1])) == {name: value for name, value in REPORT.items() if name != "rows"}


def test_a_report_of_judges_that_ask_nobody_has_no_chapters_about_models() -> None:
    bare = {**REPORT, "comparisons": [], "positions": [], "agreement": [], "faults": [], "rows": []}
    page = render({**bare, "cells": REPORT["cells"][3:]})
    assert "Does the place" not in page
    assert "Do judges agree" not in page
    assert "What is not here" not in page


def test_marks_and_whiskers_lie_on_one_scale() -> None:
    chart = forest(REPORT["cells"][:1], "success", {"random": 0.4, "oracle": 0.9})
    [row] = chart.rows
    random, oracle = chart.marks
    assert random.at < row.middle < oracle.at
    assert row.low < row.middle < row.high
    assert [tick.text for tick in chart.ticks] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]


def test_a_share_below_nothing_widens_the_scale() -> None:
    chart = forest(REPORT["cells"][:1], "gap", {"random": 0.0, "oracle": 1.0})
    assert all(0 <= at <= 760 for at in (chart.rows[0].low, chart.rows[0].high, *(mark.at for mark in chart.marks)))
    assert chart.ticks[0].text.startswith("-")


def test_curves_of_judges_are_drawn_between_random_and_oracle() -> None:
    chart = curves(REPORT["cells"])
    assert [curve.style for curve in chart.curves] == ["k0", "k1", "k2", "random", "oracle"]
    assert [tick.text for tick in chart.xs] == ["1", "2", "4"]
    first = chart.curves[0]
    assert [round(x) for x, _, _ in first.dots] == [52, 283, 744]
    assert first.dots[0][1] > first.dots[2][1]  # more success is higher up
    assert curves([]).curves == []


def test_numbers_in_words() -> None:
    assert (share(estimate(None)), share(estimate(0.125))) == ("–", "12.5 %")
    assert (cost(NOTHING), cost({**USAGE, "usd": None})) == ("–", "9 calls, 1.2k, ?")
    assert percent(-0.334) == "-33 %"


@pytest.mark.browser
def test_the_page_opens_without_complaint_and_hostile_text_does_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write(page, REPORT)
    done = open_page(page, tmp_path / "profile", "--dump-dom")
    assert console_lines(done) == []
    assert "<title>Which judge is right?" in done.stdout
    assert "<script" not in done.stdout
    assert "{{ 7*7 }}" in done.stdout


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    write(page, REPORT)
    assert width_beyond(page, tmp_path / "profile", width) <= 0
