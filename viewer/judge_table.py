"""The result of the judge laboratory on a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from viewer.judge_page import cost, share, small
from viewer.plain import plain

_FAULTS_SHOWN = 8


def print_lab(console: Console, report: Mapping[str, Any], out: Path) -> None:
    """`report` is a `benchmarks.judge_lab.report.LabReport` as JSON; `out` holds it and its page."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "judge",
        "best of N",
        "over random",
        "right",
        "random to oracle",
        "none",
        "no answer",
        "against the first",
        "cost",
    ):
        table.add_column(name, justify="left" if name == "judge" else "right")
    against = {c["cell"]: _difference(c) for c in report["comparisons"] if c["difference"]["tasks"]}
    for cell in (cell for cell in report["cells"] if not cell["skipped"]):
        figures = [share(cell[name]) for name in ("success", "over_random", "accuracy", "gap")]
        counts = [str(cell["none"]), str(cell["unanswered"]), against.get(cell["name"], "–"), cost(cell["usage"])]
        table.add_row(Text(plain(cell["name"])), *figures, *counts)
    title = f"{report['tasks']} tasks, {report['decidable']} decidable, {report['rollouts']} rollouts"
    console.print(Text(title), table)
    for note in [*_notes(report), f"all figures: {out / 'lab.json'}; charts: {out / 'lab.html'}"]:
        console.print(Text(plain(note)), soft_wrap=True)


def _difference(comparison: Mapping[str, Any]) -> str:
    """`-12.5 %, p 0.031`: McNemar's."""
    return f"{100 * comparison['difference']['value']:+.1f} %, p {small(comparison['p'])}"


def _notes(report: Mapping[str, Any]) -> list[str]:
    notes = [f"not tried: {cell['name']}: {cell['skipped']}" for cell in report["cells"] if cell["skipped"]]
    errors = list(dict.fromkeys(row["error"] for row in report["rows"] if row["error"]))
    faults = [*(f"no answer: {error}" for error in errors), *(f"left out: {fault}" for fault in report["faults"])]
    more = len(faults) - _FAULTS_SHOWN
    return [*notes, *faults[:_FAULTS_SHOWN], *([f"{more} more are in the report"] if more > 0 else [])]
