"""A run as a user sees it: the live display, then the summary, the report and the exit code."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer

from agent_s3.record import RecordError
from bbon.types import RunResult
from viewer import faults, telling
from viewer.asking import ways_to_user
from viewer.boards import LiveBoards
from viewer.console import for_progress, for_results
from viewer.exits import MISTAKE
from viewer.orders import Order, discard, resume_command
from viewer.report import write
from viewer.signals import run_until_signal
from viewer.summary import exit_code, print_summary
from viewer.terminal import LiveRun

RunCall = Callable[..., Awaitable[RunResult]]
"""The signature of `bbon.best_of_n.run`."""


def watch(best_of_n: RunCall, order: Order, *, resume: bool, as_json: bool) -> int:
    """Run best-of-N, show it, and say how it ended. Returns the exit code.

    Raises: `typer.Exit` after Ctrl-C and after errors, when all is said.
    """
    faults.keep_logs_off_the_screen()
    try:
        with faults.reporting(order.paths.log):
            result = _live(best_of_n, order, resume=resume)
            report = write(order.paths)
    except typer.Exit as over:
        began = resume or order.paths.rollout(0).root.parent.exists() or over.exit_code != MISTAKE
        _leave(order, began=began)
        raise
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        screen = for_results()
        print_summary(screen, result, report, reasons_shown=screen.is_terminal and for_progress().is_terminal)
    return exit_code(result)


def _live(best_of_n: RunCall, order: Order, *, resume: bool) -> RunResult:
    # What is typed can answer one kind of question only.
    source = telling.terminal() if order.config.ask and not _asks_first(order) else None
    run_dir = str(order.paths.root)
    with LiveRun(order.config.n, for_progress(), run_dir=run_dir, answered_here=source is not None) as live:
        return run_until_signal(_call(best_of_n, order, live, source, resume=resume), live.stopping)


async def _call(best_of_n: RunCall, order: Order, live: LiveRun, source: int | None, *, resume: bool) -> RunResult:
    answers = telling.Answers(live, order.paths, now=lambda: datetime.now(UTC))
    asker = {"asker": ways_to_user(live, order.paths)} if _asks_first(order) else {}
    with answers.reading(source):
        return await best_of_n(order.config, order.paths, listener=answers, resume=resume, **asker)


def _asks_first(order: Order) -> bool:
    return order.config.approve.startswith("ask")


def _leave(order: Order, *, began: bool) -> None:
    """After a stop or an error: a page of what there is and the way to go on, or nothing where nothing began."""
    if not began or not order.paths.config.is_file():
        discard(order.paths)
        return
    try:
        write(order.paths)
    except RecordError as error:
        faults.tell(f"no report: {error}")
    faults.tell(f"to go on: {resume_command(order.paths.root)}")


ResultT = TypeVar("ResultT")


def watch_boards(
    work: Callable[[LiveBoards], Coroutine[Any, Any, ResultT]], folder: Path, *, n: int, onward: str
) -> ResultT:
    """Do work that makes many runs of `n` rollouts, and show them. `onward` says how to go on after a stop.

    Raises: `typer.Exit` after Ctrl-C and after errors, when all is said.
    """
    faults.keep_logs_off_the_screen()
    try:
        with faults.reporting(folder / "bench.log"), LiveBoards(n, for_progress()) as live:
            return run_until_signal(work(live), live.stopping)
    except typer.Exit:
        if folder.is_dir():
            faults.tell(onward)
        raise
