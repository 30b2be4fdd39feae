"""Progress of long downloads and builds: a bar in a terminal, lines in a pipe."""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from llm.pull import Progress as Pulled
from viewer.console import for_progress
from viewer.exits import STOPPED
from viewer.plain import plain, size
from vm_pool.images import BuildProgress

LINE_EVERY_S = 5.0
"""In a pipe a line comes at most this often, unless the stage changes."""


@contextmanager
def pulling() -> Generator[Callable[[Pulled], None]]:
    """Shows how far a model download is."""
    with _shown("fetching the model") as show:
        yield lambda p: show("fetching the model", f"{size(p.done)} of {size(p.total)}", 100 * p.done / p.total)


@contextmanager
def building() -> Generator[Callable[[BuildProgress], None]]:
    """Shows how far an image build is."""
    with _shown("building") as show:
        yield lambda p: show(p.stage, p.message, p.percent)


Show = Callable[[str, str, float | None], None]
"""Stage, detail and per cent."""


@contextmanager
def _shown(stage: str) -> Generator[Show]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        console = for_progress()
        with _bar(console, stage) if console.is_terminal else _lines(console) as show:
            yield show
    except KeyboardInterrupt as stopped:
        typer.echo("stopped; the same command goes on from what is there", err=True)
        raise typer.Exit(STOPPED) from stopped
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _bar(console: Console, stage: str) -> Generator[Show]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[detail]}", markup=False), console=console) as progress:
        task: TaskID = progress.add_task(stage, total=None, detail="")

        def show(stage: str, detail: str, percent: float | None) -> None:
            total = None if percent is None else 100
            progress.update(task, description=stage, completed=percent or 0, total=total, detail=plain(detail, 60))

        yield show


@contextmanager
def _lines(console: Console) -> Generator[Show]:
    last_stage, last_time = "", 0.0

    def show(stage: str, detail: str, percent: float | None) -> None:
        nonlocal last_stage, last_time
        now = time.monotonic()
        if stage == last_stage and now - last_time < LINE_EVERY_S and percent != 100:
            return
        last_stage, last_time = stage, now
        console.print(f"{stage}: {plain(detail)}", soft_wrap=True)

    yield show
