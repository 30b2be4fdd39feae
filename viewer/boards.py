"""Several runs one after another or side by side, as a benchmark makes them: a board each, then a line each."""

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from bbon.types import RunEvent
from viewer.board import Board, advance, new_board
from viewer.plain import plain
from viewer.terminal import ECHO_ROOM, REFRESH_PER_SECOND, render


class Titled(NamedTuple):
    """A run under way and its heading."""

    title: str
    board: Board


class LiveBoards:
    """Shows the boards of the runs under way in a terminal; in a pipe lines only. A context manager; never raises."""

    def __init__(self, n: int, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._n = n
        self._console = console
        self._clock = clock
        self._boards: dict[str, Titled] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESH_PER_SECOND,
                vertical_overflow="crop",
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with suppress(OSError):  # the terminal was closed
                self._live.stop()

    def begin(self, key: str, title: str) -> None:
        """A run begins; `key` names it from now on."""
        self._boards = {**self._boards, key: Titled(title, new_board(self._n, self._clock()))}
        if self._live is None:
            self.say(title)
            return
        with suppress(OSError):  # the terminal was closed
            self._live.refresh()

    def advance(self, key: str, event: RunEvent) -> None:
        """Something happened in it; events of runs that never began change nothing."""
        if key in self._boards:
            title, board = self._boards[key]
            self._boards = {**self._boards, key: Titled(title, advance(board, event, self._clock()))}

    def end(self, key: str, line: str) -> None:
        """It is over; `line` says how it ended."""
        self._boards = {name: titled for name, titled in self._boards.items() if name != key}
        self.say(line)

    def stopping(self, first: bool) -> None:
        """Say that a signal was heard."""
        self.say("stopping: saving the record and the machines" if first else "still stopping; this takes seconds")

    def say(self, line: str) -> None:
        """Show a line above the boards."""
        with suppress(OSError):  # the reader went away
            self._console.print(Text(plain(line)), soft_wrap=True)

    def _render(self) -> RenderableType:
        boards, now, console = list(self._boards.values()), self._clock(), self._console
        room = console.height // max(1, len(boards))
        parts: list[RenderableType] = []
        for title, board in boards:
            parts += [Text(title, style="bold"), render(board, now, height=room, width=console.width)]
        return Constrain(Group(*parts), console.width - ECHO_ROOM)
