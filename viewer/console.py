"""The two consoles: results on standard output, progress on standard error, so that pipes get results only."""

import sys
from typing import IO

from rich.console import Console

PIPE_WIDTH = 200
"""Columns."""


class ProgressConsole(Console):
    """Falls silent when its reader goes away, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def for_results() -> Console:
    """In a pipe lines are as wide as `PIPE_WIDTH`, so that tables keep one row on one line.

    Where standard output is closed there is no `sys.stdout`, and what is printed goes nowhere.
    """
    width = None if sys.stdout and sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)


def for_progress(file: IO[str] | None = None) -> ProgressConsole:
    """Writes to `file`; None: standard error."""
    return ProgressConsole(file=file or sys.stderr, markup=False, highlight=False, emoji=False)
