"""The page of a run: `report.html`, made from the run folder alone, with everything in one file and no script."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent_s3.paths import RunPaths
from agent_s3.record import write_atomically
from agent_s3.words import action_words, delta_words
from bbon.changes import Sorted, sort_out, window_words
from llm.chat import Usage
from viewer.album import Album
from viewer.board import STATE_WORDS
from viewer.orders import resume_command
from viewer.plain import amount, duration, money, plain, plain_lines, size, tokens
from viewer.report_data import RunRecord, load, pictures_by_weight, text_diff, worth_showing
from vm_pool.types import FileChange

TEMPLATES = Path(__file__).with_name("templates")
METHODS = {
    "mcq": "one written answer over all candidates",
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
    css = "\n".join((TEMPLATES.joinpath("report.css").read_text(encoding="utf-8"), screen, album.encode()))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=record,
            config=record.config,
            verdict=record.verdict,
            result=record.result,
            winner=record.winner,
            total=sum(record.usage.values(), Usage()),
            seconds=_seconds(record),
            album=album,
            css=Markup(css),  # noqa: S704  # our own file, two integers and base64
            css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii"),
            resume=resume_command(record.paths.root),
        )
    )


def _seconds(record: RunRecord) -> dict[str, float]:
    """By phase, without the total."""
    if record.result is None:
        return {}
    phases = record.result.seconds
    return {name: seconds for name, seconds in phases.items() if name != "total" and seconds > 0}


def _sorted_changes(files: Sequence[FileChange]) -> Sorted:
    return sort_out(worth_showing(files))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_GLOBALS)
    environment.filters.update(_FILTERS)
    return environment


_GLOBALS: dict[str, Any] = {"METHODS": METHODS, "STATE_WORDS": STATE_WORDS, "diff": text_diff}
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
