"""Several runs one after another or side by side, as a benchmark makes them: a board each, then a line each."""

import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.text import Text

from bbon.types import RunEvent
from viewer.board import Board, advance, new_board
from viewer.live import LiveDisplay
from viewer.plain import plain
from viewer.terminal import ECHO_ROOM, render


class Titled(NamedTuple):
    """A run under way and its heading."""

    title: str
    board: Board


class LiveBoards(LiveDisplay):
    """Shows the boards of the runs under way in a terminal; in a pipe lines only."""

    transient = True

    def __init__(self, n: int, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._n = n
        self._clock = clock
        self._boards: dict[str, Titled] = {}

    def begin(self, key: str, title: str) -> None:
        """A run begins; `key` names it from now on."""
        self._boards = {**self._boards, key: Titled(title, new_board(self._n, self._clock()))}
        if self._live is None:
            self.say(plain(title))
        self._refresh()

    def advance(self, key: str, event: RunEvent) -> None:
        """Something happened in it; events of runs that never began change nothing."""
        if key in self._boards:
            title, board = self._boards[key]
            self._boards = {**self._boards, key: Titled(title, advance(board, event, self._clock()))}

    def end(self, key: str, line: str) -> None:
        """It is over; `line` says how it ended."""
        self._boards = {name: titled for name, titled in self._boards.items() if name != key}
        self.say(plain(line))

    def _render(self) -> RenderableType:
        boards, now, console = list(self._boards.values()), self._clock(), self._console
        room = console.height // max(1, len(boards))
        parts: list[RenderableType] = []
        for title, board in boards:
            parts += [Text(title, style="bold"), render(board, now, height=room, width=console.width)]
        return Constrain(Group(*parts), console.width - ECHO_ROOM)
