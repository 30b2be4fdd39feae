"""Tables of images and of what providers keep on this host."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from viewer.plain import duration, plain, size
from vm_pool.images import Image
from vm_pool.provider import Provider, Stray
from vm_pool.strays import Left

_NUMBERS = frozenset({"size", "disk", "age", "lent", "heartbeat", "packages", "min", "p50", "max", "n"})
_SHARES = frozenset({"success", "95 % interval", "tasks"})


def print_images(console: Console, images: Sequence[Image]) -> None:
    if not images:
        console.print("no image yet; build one: agent-s3 pool image build slim")
        return
    table = _table("id", "state", "size", "packages", "created")
    for image in images:
        created = f"{image.created:%Y-%m-%d %H:%M}"
        table.add_row(image.id, image.state, size(image.bytes), str(image.packages or ""), created)
    console.print(table)


def print_strays(console: Console, left: Sequence[Left], now: datetime) -> None:
    if not left:
        console.print("nothing is running and nothing was left behind")
        return
    table = _table("provider", "kind", "id", "owner", "age", "lent", "heartbeat", "disk", "labels")
    for provider, stray in left:
        labels = ", ".join(f"{key}={value}" for key, value in stray.labels.items())
        ages = [_ago(moment, now) for moment in (stray.created, stray.lent, stray.heartbeat)]
        disk = size(stray.bytes_on_disk)
        table.add_row(provider.name, stray.kind, stray.id, owner_words(stray), *ages, disk, Text(plain(labels)))
    console.print(table)


def _ago(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else duration(max(0.0, (now - moment).total_seconds()))


def print_left_out(unfit: Sequence[tuple[Provider, str]]) -> None:
    """Providers that could not say what they left here."""
    for provider, reason in unfit:
        typer.echo(f"left out {provider.name}: {plain(reason)}", err=True)


def owner_words(stray: Stray) -> str:
    """Who uses it."""
    if stray.owner_pid is None:
        return "kept for --resume"
    if not stray.owner_alive:
        return f"gone (was {stray.owner_pid})"
    return f"process {stray.owner_pid}, which hangs" if stray.silent else f"process {stray.owner_pid}"


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name != "labels", justify="right" if name in _NUMBERS | _SHARES else "left")
    return table


def print_collected(strays: Sequence[Stray], *, failed: Sequence[tuple[Stray, str]] = (), done: bool = True) -> None:
    """What `pool gc` removed, or would remove."""
    for stray in strays:
        typer.echo(f"{'removed' if done else 'would remove'} {stray.kind} {stray.id} ({owner_words(stray)})")
    for stray, reason in failed:
        typer.echo(f"could not remove {stray.kind} {stray.id}: {plain(reason)}", err=True)
    typer.echo(f"{len(strays)} {'removed' if done else 'to remove'}")


class Figure(NamedTuple):
    """A share with its interval, each from 0 to 1; None: nothing to tell it from."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    tasks: int
    """How many tasks were counted."""


def print_figures(console: Console, title: str, figures: Sequence[Figure], notes: Sequence[str]) -> None:
    """The result of a benchmark."""
    table = _table("", "success", "95 % interval", "tasks")
    for name, value, low, high, tasks in figures:
        share = "–" if value is None else f"{100 * value:.1f} %"
        interval = "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
        table.add_row(name, share, interval, str(tasks))
    console.print(Text(plain(title)), table)
    for note in notes:
        console.print(Text(plain(note)), soft_wrap=True)
