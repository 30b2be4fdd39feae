"""The page of `pool bench --html`: figures and charts of one report, in one file that loads nothing, without script."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_s3.record import write_atomically
from viewer import charts
from viewer.page import fill, style
from viewer.plain import plain
from viewer.speeds import METRICS, group_of

GROWTH = {
    "n": ("machines forked at once", ("all_ms", "clones_per_s", "pss_mib_each", "idle_cpu_percent_all")),
    "memory_mib": ("MiB of memory of each machine", ("fork_ms", "branch_ms", "branch_pause_ms", "pss_mib_n1")),
}
"""What is varied -> in words, and the columns that are drawn."""
COLUMNS = {
    "all_ms": "ms until all are ready",
    "median_ms": "ms until half of them are ready",
    "clones_per_s": "clones per second",
    "pss_mib_each": "MiB of this host's memory, each",
    "idle_cpu_percent_all": "% of one processor, all together, idle",
    "fork_ms": "ms for one fork",
    "branch_ms": "ms to save a running machine",
    "branch_pause_ms": "ms for which it stands still",
    "pss_mib_n1": "MiB of this host's memory, one alone",
}


def write(path: Path, report: Mapping[str, Any], command: str) -> None:
    """Render the page of a report in the form of `benchmarks.pool_speed.measure`. `command` is what made it.

    Raises: `agent_s3.record.RecordError` when it cannot be written.
    """
    write_atomically(path, render(report, command).encode("utf-8", errors="replace"))


def render(report: Mapping[str, Any], command: str) -> str:
    """The page as text."""
    values = {
        "report": report,
        "command": command,
        "groups": _groups(report["metrics"]),
        "growth": _growth(report.get("growth", {})),
        "raw": json.dumps(report, indent=2),
    }
    return fill("speed.html.j2", values, css=style("report.css", "speed.css"), words=_WORDS, filters=_FILTERS)


def _groups(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group -> its metrics and their chart, in the order of the groups."""
    grouped: dict[str, dict[str, Any]] = {}
    for name, figures in metrics.items():
        grouped.setdefault(group_of(name).name, {})[name] = figures
    ordered = [group for group in METRICS if group.name in grouped]
    return {
        group.name: {
            "unit": group.unit,
            "metrics": grouped[group.name],
            "chart": charts.ranges(grouped[group.name], group.unit),
        }
        for group in ordered
    }


def _growth(growth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each quantity that was varied, with a chart for each column that all its rows have."""
    entries: list[dict[str, Any]] = []
    for key, (over, columns) in GROWTH.items():
        rows = growth.get(key, [])
        drawn = [column for column in columns if rows and all(column in row for row in rows)]
        if not drawn:
            continue
        plots = {column: charts.lines([(row[key], row[column]) for row in rows]) for column in drawn}
        entries.append({"key": key, "over": over, "rows": rows, "plots": plots, "names": list(rows[0])})
    return entries


_WORDS: dict[str, Any] = {"COLUMNS": COLUMNS, "WIDTH": charts.WIDTH, "LINES_WIDTH": charts.LINES_WIDTH}
_FILTERS: dict[str, Any] = {"line": plain, "number": charts.number}
