"""The table of `bench reflection` in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from viewer.plain import plain


def print_policies(console: Console, report: Mapping[str, Any]) -> None:
    """Per policy: what was solved and what it took; then each situation under each policy."""
    figures = report["figures"]
    console.print(Text(f"{plain(report['model'])}: policies of reflection", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("policy", "solved", "steps", "model calls", "calls per step"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for row in figures:
        solved = f"{row['solved']} of {row['situations']}"
        table.add_row(row["policy"], solved, str(row["steps"]), str(row["calls"]), f"{row['calls_per_step']:.2f}")
    console.print(table)
    console.print(_each(report, [row["policy"] for row in figures]))


def _each(report: Mapping[str, Any], policies: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("situation", *policies):
        table.add_column(name)
    names = dict.fromkeys(row["situation"] for row in report["rows"])
    for name in names:
        cells = {row["policy"]: _cell(row) for row in report["rows"] if row["situation"] == name}
        table.add_row(Text(plain(name)), *(cells[policy] for policy in policies))
    return table


def _cell(row: Mapping[str, Any]) -> str:
    """`solved, 6 steps, 1 reflection`."""
    asked = row["reflections"]
    more = f", {asked} reflection{'' if asked == 1 else 's'}" if asked else ""
    return f"{'solved' if row['solved'] else 'not solved'}, {row['steps']} steps{more}"
