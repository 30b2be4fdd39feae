"""The page of `agent-s3 judge`: one file that loads nothing, without script, from `lab.json`'s content."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_s3.record import write_atomically
from viewer import judge_charts
from viewer.page import fill, style
from viewer.plain import amount, money, plain

_ROWS_SHOWN = 400


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Render the page. `report` is a `benchmarks.judge_lab.report.LabReport` as JSON. Raises: `RecordError`."""
    write_atomically(path, render(report).encode("utf-8", errors="replace"))


def render(report: Mapping[str, Any]) -> str:
    """The page as text."""
    tried = [cell for cell in report["cells"] if not cell["skipped"]]
    marks = {name: _value(tried, name, "success") for name in ("random", "oracle")}
    shown = [cell for cell in tried if cell["judge"] not in marks]
    values = {
        "report": report,
        "tried": tried,
        "skipped": [cell for cell in report["cells"] if cell["skipped"]],
        "success": judge_charts.forest(shown, "success", marks),
        "gap": judge_charts.forest(shown, "gap", {"random": 0.0, "oracle": 1.0}),
        "curves": judge_charts.curves(tried),
        "raw": json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=1),
        "unanswered": [row for row in report["rows"] if row["error"]][:_ROWS_SHOWN],
    }
    return fill(
        "judge.html.j2", values, css=style("report.css", "speed.css", "judge.css"), words=_WORDS, filters=_FILTERS
    )


def _value(cells: list[Mapping[str, Any]], judge: str, figure: str) -> float | None:
    return next((cell[figure]["value"] for cell in cells if cell["judge"] == judge), None)


def share(estimate: Mapping[str, Any]) -> str:
    """`62.5 %`, with its interval where there is one."""
    if estimate["value"] is None:
        return "–"
    value = f"{100 * estimate['value']:.1f} %"
    if estimate["low"] is None or estimate["high"] is None:
        return value
    return f"{value} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"


def cost(usage: Mapping[str, Any]) -> str:
    """Calls, tokens and money."""
    if not usage["calls"]:
        return "–"
    return f"{usage['calls']} calls, {amount(usage['input_tokens'] + usage['output_tokens'])}, {money(usage['usd'])}"


def small(value: float | None) -> str:
    """A probability or a kappa."""
    return "–" if value is None else f"{value:.3f}"


_WORDS: dict[str, Any] = {"WIDTH": judge_charts.WIDTH, "CURVE_WIDTH": judge_charts.CURVE_WIDTH}
_FILTERS: dict[str, Any] = {"line": plain, "share": share, "cost": cost, "small": small}
