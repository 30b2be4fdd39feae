"""What is said at the end of a run."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent_s3.types import RolloutResult
from bbon import changes
from bbon.types import Delivered, RunResult
from llm.chat import Usage
from viewer.board import STATE_WORDS
from viewer.exits import BREAKDOWN, NONE_CHOSEN, WINNER
from viewer.orders import resume_command
from viewer.plain import amount, duration, money, plain, size, tokens
from viewer.report_data import worth_showing

FILES_SHOWN = 12


def print_summary(console: Console, result: RunResult, report: Path, *, reasons_shown: bool = False) -> None:
    """Who won and why, what changed, what was delivered, and where all of it lies.

    `reasons_shown`: the live display has just said why, on the same screen.
    """
    for label, words in _lines(result, report):
        if label == "why" and reasons_shown:
            continue
        text = Text.assemble((f"{label:10}", "bold"), words)
        console.print(text, soft_wrap=True)


def _lines(result: RunResult, report: Path) -> Iterator[tuple[str, str]]:
    yield from _outcome(result)
    if result.winner is not None:
        yield from _changes(next((r for r in result.rollouts if r.index == result.winner), None))
    yield from _delivered(result)
    yield "cost", cost_words(result)
    if result.model.startswith("scripted:"):
        yield "note", "the replies came from a script; no model decided this run"
    yield "run", result.run_dir
    yield "report", str(report)
    if result.error is not None:
        yield "to go on", resume_command(Path(result.run_dir))


def _outcome(result: RunResult) -> Iterator[tuple[str, str]]:
    if result.error is not None:
        yield "failed", plain(result.error)
    verdict = result.verdict
    if verdict is None or verdict.method == "no_candidate":
        return
    if result.winner is None:
        yield "winner", "none: the judge found that no rollout did the task"
    else:
        count = len(result.rollouts)
        yield "winner", f"rollout {result.winner} of {count} (confidence {verdict.confidence:.2f}, {verdict.method})"
    if verdict.reasons:
        yield "why", plain(verdict.reasons)
    if result.winner is None:
        for rollout in result.rollouts:
            yield "", plain(f"rollout {rollout.index}: {STATE_WORDS[rollout.status]}: {rollout.reason}", 200)


def _changes(winner: RolloutResult | None) -> Iterator[tuple[str, str]]:
    if winner is None:
        return
    files = changes.words(worth_showing(winner.files), limit=FILES_SHOWN)
    windows = [changes.window_words(change) for change in winner.windows if change.kind != "activated"]
    lines = [plain(line, 160) for line in (*files, *windows)]
    yield from _labelled("changed", lines or ["no file and no window"])


def _delivered(result: RunResult) -> Iterator[tuple[str, str]]:
    yield from _labelled("delivered", [line for line in map(delivered_words, result.delivered) if line])


def delivered_words(item: Delivered) -> str:
    """Where a file is now; empty for folders, which have no content of their own."""
    if item.path.endswith("/"):
        return ""
    note = f"; {plain(item.note)}" if item.note else ""
    if item.host_path is not None:
        return f"{plain(item.host_path)} ({size(item.bytes)}){note}"
    return f"{plain(item.path)} was {item.kind}{note}"


def _labelled(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield (label if number == 0 else ""), line


def cost_words(result: RunResult) -> str:
    """`41.2 s, 38 model calls, 45.1k tokens (62 % of the input from a cache), free`."""
    total = sum(result.usage.values(), Usage())
    seconds = duration(result.seconds.get("total", sum(result.seconds.values())))
    cached = f" ({total.cached_share:.0%} of the input from a cache)".replace("%", " %") if total.cached_tokens else ""
    return f"{seconds}, {total.calls} model calls, {amount(tokens(total))} tokens{cached}, {money(total.usd)}"


def exit_code(result: RunResult) -> int:
    """What the program's exit code says about a run."""
    if result.error is not None:
        return BREAKDOWN
    return NONE_CHOSEN if result.winner is None else WINNER
