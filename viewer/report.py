"""The page of a run: `report.html`, made from the run folder alone, with everything in one file and no script."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent_s3.paths import RunPaths
from agent_s3.record import write_atomically
from agent_s3.words import action_words, delta_words
from bbon.changes import Sorted, sort_out, window_words
from llm.chat import Usage
from viewer.album import Album
from viewer.board import STATE_WORDS
from viewer.orders import resume_command
from viewer.page import fill, style
from viewer.plain import amount, duration, money, plain, plain_lines, size, tokens
from viewer.report_data import RunRecord, load, pictures_by_weight, text_diff, worth_showing
from vm_pool.types import FileChange

METHODS = {
    "mcq": "one written answer over all candidates",
    "mcq_votes": "several written answers, each over another order of all candidates",
    "mcq_logprobs": "letter probabilities, averaged over orders",
    "single": "one outcome to judge",
    "all_equal": "all candidates ended alike; no model was asked",
    "no_candidate": "no candidate; no model was asked",
}


def write(paths: RunPaths) -> Path:
    """Render the report of a run, finished or not, and return its path.

    Raises: `agent_s3.record.RecordError` when the folder holds no run, or the page cannot be written.
    """
    write_atomically(paths.report, render(load(paths)).encode("utf-8", errors="replace"))
    return paths.report


def render(record: RunRecord) -> str:
    """The page as text."""
    album = Album(record.paths)
    album.collect(pictures_by_weight(record))
    for rollout in record.rollouts:
        for step in rollout.steps:
            album.add_file(rollout.paths.crop(step.index, "before"))
            album.add_file(rollout.paths.crop(step.index, "after"))
    screen = f".screen{{aspect-ratio:{record.config.width}/{record.config.height}}}"
    values = {
        "run": record,
        "config": record.config,
        "verdict": record.verdict,
        "result": record.result,
        "winner": record.winner,
        "total": sum(record.usage.values(), Usage()),
        "seconds": _seconds(record),
        "album": album,
        "resume": resume_command(record.paths.root),
    }
    css = "\n".join((style("report.css"), screen, album.encode()))  # with two integers and base64 of the run
    return fill("report.html.j2", values, css=css, words=_WORDS, filters=_FILTERS)


def _seconds(record: RunRecord) -> dict[str, float]:
    """By phase, without the total."""
    if record.result is None:
        return {}
    phases = record.result.seconds
    return {name: seconds for name, seconds in phases.items() if name != "total" and seconds > 0}


def _sorted_changes(files: Sequence[FileChange]) -> Sorted:
    return sort_out(worth_showing(files))


_WORDS: dict[str, Any] = {"METHODS": METHODS, "STATE_WORDS": STATE_WORDS, "diff": text_diff}
_FILTERS: dict[str, Any] = {
    "action": action_words,
    "amount": amount,
    "bytes": size,
    "changes": delta_words,
    "duration": duration,
    "line": plain,
    "lines": plain_lines,
    "money": money,
    "sort_out": _sorted_changes,
    "tokens": tokens,
    "url": quote,
    "window": window_words,
}
