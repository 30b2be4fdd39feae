"""What the metrics of `pool bench` mean, in words, and its tables in a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from viewer.plain import plain


class Group(NamedTuple):
    """Metrics that belong together and share a unit."""

    name: str
    unit: str
    pattern: str
    """Of the names of its metrics."""


METRICS = (
    Group("Starting, saving and resetting", "ms", r"ready_|cold_boot|fork_|first_|branch_|(upstream_)?reset_"),
    Group("Frames, input and settling", "ms", r"frame_|screendump|click|type100|key_|settle|step_"),
    Group("Memory of each machine on this host", "MiB", r"pss_"),
    Group("Disk of each machine beyond its image", "KiB", r"disk_"),
    Group("Processor time of an idle machine", "% of one processor", r"idle_"),
    Group("Clones per second", "per second", r"clones_"),
    Group("Others", "", r""),
)


def group_of(metric: str) -> Group:
    return next(group for group in METRICS if re.match(group.pattern, metric))


def surroundings(report: Mapping[str, Any]) -> str:
    """The machines and the host of a report, in one line."""
    host, machine = report["host"], report["machine"]
    ways = "".join(f"; {plain(way)}" for way in host.get("ways", ()))
    return (
        f"machines of {machine['width']}x{machine['height']} px with {machine['memory_mib']} MiB{ways}; "
        f"host with {host['cpus']} processors ({plain(host['processor'] or 'unnamed')}), {host['memory_mib']} MiB, "
        f"Linux {plain(host['kernel'])}; load {host['load_before']:g} before and {host['load_after']:g} after"
    )


def print_speeds(console: Console, report: Mapping[str, Any]) -> None:
    """The figures of `pool bench` and `bench steps`, in the form of `benchmarks.pool_speed` and `step_speed`."""
    console.print(f"{report['provider']}, image {report['image']}")
    table = _table("metric", "min", "p50", "max", "n")
    for name, figures in report["metrics"].items():
        table.add_row(name, *(f"{figures[key]:.4g}" for key in ("min", "p50", "max")), str(figures["n"]))
    console.print(table)
    for name, ratio in report.get("ratios", {}).items():
        console.print(f"{name}: {ratio:.4g}")
    for key, rows in report.get("growth", {}).items():
        _print_growth(console, key, rows)
    for name, reason in report.get("absent", {}).items():
        console.print(Text(plain(f"no {name}: {reason}")), soft_wrap=True)
    if "host" in report:
        console.print(Text(surroundings(report)), soft_wrap=True)


def print_stress(console: Console, report: Mapping[str, Any]) -> None:
    """What became of the load that `pool bench --stress` held."""
    asked = report["stress"]
    console.print(
        f"{report['provider']}, image {report['image']}: at most {asked['n']} machines at once for "
        f"{asked['minutes']:g} min, seed {asked['seed']}"
    )
    console.print(", ".join(f"{count} {what}" for what, count in sorted(report["done"].items())))
    for name, figures in report["metrics"].items():
        console.print(f"{name}: {figures['min']:.4g} to {figures['max']:.4g}, middle {figures['p50']:.4g}")
    table = _table("on this host", "before", "most", "after")
    for kind, counts in report["census"].items():
        table.add_row(kind, *(str(counts[when]) for when in ("before", "most", "after")))
    console.print(table)
    for what in ("refused", "lost", "wrong", "unexplained"):
        console.print(f"{what}: {sum(report[what].values())}")
        for reason, count in report[what].items():
            console.print(Text(plain(f"  {count} x {reason}")), soft_wrap=True)
    for kind, names in report["leaked"].items():
        console.print(Text(plain(f"left behind, {kind}: {', '.join(names)}")), soft_wrap=True)
    console.print(Text(surroundings(report)), soft_wrap=True)
    console.print("nothing was left behind" if report["sound"] else "NOT SOUND: see above")


def _print_growth(console: Console, key: str, rows: Sequence[Mapping[str, float]]) -> None:
    names = list(dict.fromkeys([key, *(name for row in rows for name in row)]))
    table = _table(*names)
    for row in rows:
        table.add_row(*(f"{row[name]:.4g}" if name in row else "–" for name in names))
    console.print(table)


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, no_wrap=True, justify="right")
    return table
