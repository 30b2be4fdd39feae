"""The live display of a run in a terminal; plain lines where there is none."""

import shlex
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bbon.types import (
    Asked,
    Fact,
    FactsFound,
    Judged,
    PhaseBegan,
    Promoted,
    RolloutBegan,
    RolloutOver,
    RunEvent,
    StepTaken,
    Verdict,
)
from viewer.board import STATE_WORDS, Board, Row, advance, fact_of, new_board, step_words
from viewer.live import REFRESH_PER_SECOND, LiveDisplay
from viewer.plain import amount, duration, money, plain, tokens

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ECHO_ROOM = 4
"""Columns left free at the right, so that the terminal's echo of ^C does not break a line."""
NARROW = 80
"""Below so many columns tokens and USD are not shown."""
QUIET_S = 5.0
"""After so many seconds without an event of a rollout its state says how long that has been."""
LINES_BESIDE_ROWS = 8
"""Lines of the display that are not rollouts: phases, header, blank lines."""
_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "fail": "yellow",
    "step_limit": "yellow",
    "safety_check": "yellow",
    "timeout": "yellow",
    "stopped": "yellow",
}


class LiveRun(LiveDisplay):
    """Shows a run while it happens, and is the listener of its events."""

    def __init__(
        self,
        n: int,
        console: Console,
        *,
        run_dir: str = "RUN_DIR",
        answered_here: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answered_here`: what is typed into this terminal answers questions of the agents."""
        super().__init__(console)
        self._clock = clock
        self.run_dir = run_dir
        self.answered_here = answered_here
        self.board: Board = new_board(n, clock())

    def __call__(self, event: RunEvent) -> None:
        now = self._clock()
        self.board = advance(self.board, event, now)
        if self._live is not None and isinstance(event, Promoted):
            for line in promotion_lines(event):
                self.say(line)
        if isinstance(event, Asked):
            self._ask(event)
        elif self._live is None:
            for line in event_lines(event):
                self.say(f"[{now - self.board.began:7.1f} s] {line}")

    def _ask(self, event: Asked) -> None:
        """Above the display, too: somebody has to see it."""
        for line in event_lines(event):
            self.say(line)
        how = "type it here and press Enter, or: " if self.answered_here else ""
        told = shlex.join(["agent-s3", "tell", self.run_dir, "TEXT", "--rollout", str(event.rollout)])
        self.say(f"  answer within {event.timeout_s:.0f} s: {how}{told}")

    def _render(self) -> RenderableType:
        display = render(self.board, self._clock(), height=self._console.height, width=self._console.width)
        return Constrain(display, self._console.width - ECHO_ROOM)


def event_lines(event: RunEvent) -> list[str]:
    """An event as plain lines, for logs and pipes."""
    match event:
        case PhaseBegan():
            return [plain(f"{event.name}: {event.detail}" if event.detail else event.name)]
        case RolloutBegan():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            by = f" with {event.model}" if event.model else ""
            return [plain(f"rollout {event.rollout}: started on {event.machine_id}{by}{again}")]
        case Asked():
            return [plain(f"rollout {event.rollout} asks: {event.question}")]
        case StepTaken():
            return [f"rollout {event.rollout} step {event.step.index}: {step_words(event.step)}"]
        case FactsFound():
            return [f"rollout {event.rollout} step {fact.step}: {_fact_words(fact)}" for fact in event.facts]
        case RolloutOver(result=result):
            words = f"{STATE_WORDS[result.status]} after {result.steps} steps: {result.reason}"
            return [plain(f"rollout {result.index}: {words}")]
        case Promoted():
            return promotion_lines(event)
        case Judged():
            return [headline(event.verdict), *([plain(event.verdict.reasons)] if event.verdict.reasons else [])]


def promotion_lines(event: Promoted) -> list[str]:
    """Where the winner's desktop is, for how long, and how it is given back."""
    made = event.promotion
    where = f" at {made.url}" if made.url else ""
    token = f", with the token in {made.token_file}" if made.token_file else ""
    until = f"until {made.until.astimezone():%H:%M:%S}, Ctrl-C, or agent-s3 pool release {made.machine_id}"
    return [plain(f"the desktop of rollout {event.rollout} is up{where}{token}"), plain(until)]


def _fact_words(fact: Fact) -> str:
    return plain(fact.text if fact.dropped is None else f"dropped, as {fact.dropped}: {fact.text}")


def headline(verdict: Verdict) -> str:
    """Who won, in one line."""
    if verdict.method == "no_candidate":
        return "No verdict: no rollout came to an end that can be judged"
    if verdict.winner is None:
        return "Verdict: none of the rollouts did the task"
    return f"Verdict: rollout {verdict.winner} wins (confidence {verdict.confidence:.2f})"


def render(board: Board, now: float, *, height: int, width: int) -> RenderableType:
    """The whole display, for a terminal of that size; rows that are over give way when it is short."""
    table = _table(board, now, height - LINES_BESIDE_ROWS, money_too=width >= NARROW)
    parts: list[RenderableType] = [_phase_line(board, now), table]
    if board.verdict is not None:
        parts.append(verdict_block(board.verdict, {row.index: row for row in board.rows}))
    return Group(*parts)


def _phase_line(board: Board, now: float) -> RenderableType:
    if not board.phases:
        return Text("starting", style="dim")
    ends = [phase.began for phase in board.phases[1:]]
    past = [f"{p.name} {duration(end - p.began)}" for p, end in zip(board.phases, ends, strict=False)]
    current = board.phases[-1]
    mark = "●" if board.verdict is not None else SPINNER[int(now * REFRESH_PER_SECOND) % len(SPINNER)]
    here = Text.assemble((f"{mark} ", "cyan"), (current.name, "bold"), "  ", (duration(now - current.began), "dim"))
    here.append(f"  {current.detail}" if current.detail else "", style="dim")
    lines = [Text(" · ".join(past), style="dim")] if past else []
    return Group(*(_one_line(line) for line in (*lines, here)))


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(board: Board, now: float, room: int, *, money_too: bool) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, header_style="dim")
    for name in ("#", "step"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last action", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("facts", "tokens", "USD") if money_too else ("facts",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=13)
    rows, hidden = _fitting(board.rows, room)
    two_lines = 2 * len(rows) <= room
    for row in rows:
        won = board.verdict is not None and board.verdict.winner == row.index
        table.add_row(*_cells(row, fact_too=two_lines, money_too=money_too), _state(row, now, won=won))
    if hidden:
        table.add_row("", "", Text(f"and {hidden} more that do not fit on this screen", style="dim"))
    return table


def _fitting(rows: tuple[Row, ...], room: int) -> tuple[list[Row], int]:
    """The rows to show and how many are left out: running ones first, in their order."""
    if len(rows) <= max(room, 1):
        return list(rows), 0
    chosen = sorted(rows, key=lambda row: (row.over, row.state == "waiting", row.index))[: max(room - 1, 1)]
    return sorted(chosen, key=lambda row: row.index), len(rows) - len(chosen)


def _cells(row: Row, *, fact_too: bool, money_too: bool) -> list[RenderableType]:
    action = Text(
        row.action or (f"attempt {row.attempt}" if row.attempt > 1 else ""), overflow="ellipsis", no_wrap=True
    )
    if fact_too and row.facts:
        action.append(f"\n{plain(row.facts[-1].text)}", style="dim italic")
    cells: list[RenderableType] = [str(row.index), str(row.steps or ""), action, str(len(row.facts) or "")]
    if money_too:
        used = tokens(row.usage)
        cells += [amount(used) if used else "", money(row.usage.usd) if used else ""]
    return cells


def _state(row: Row, now: float, *, won: bool) -> Text:
    words = "winner" if won else STATE_WORDS.get(row.state, row.state)
    if row.state == "running" and now - row.since >= QUIET_S:
        words = f"running {now - row.since:.0f} s"
    return Text(words, style="bold green" if won else _STYLES.get(row.state, "red"))


def verdict_block(verdict: Verdict, rows: dict[int, Row]) -> RenderableType:
    """The verdict with its reasons and the facts it cites."""
    colour = "bold yellow" if verdict.winner is None else "bold green"
    parts: list[RenderableType] = [Text(headline(verdict), style=colour)]
    if verdict.reasons:
        parts.append(Text(plain(verdict.reasons)))
    for cited in verdict.citations:
        words = fact_of(rows[cited.candidate].facts, cited.step) if cited.candidate in rows else ""
        line = Text(f"rollout {cited.candidate} step {cited.step}: {words}".rstrip(" :"), style="dim")
        parts.append(Padding(line, (0, 0, 0, 2)))
    return Padding(Group(*parts), (1, 0, 0, 0))
