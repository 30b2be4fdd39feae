"""Reading our own folders: of one run, or of a benchmark with its scores."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, RecordError, read_lines, read_model
from agent_s3.types import RolloutResult, Step
from agent_s3.words import action_words
from bbon.evidence import COMPARABLE, candidate
from bbon.facts import of_step
from bbon.types import Fact, RecordedConfig
from benchmarks.judge_lab.cases import Attempt, Case, Collected, Moment
from benchmarks.results import AttemptPaths, BenchPaths, Outcome, TaskPaths, TaskResult

FAULTS = (RecordError, OSError, ValueError, ValidationError, json.JSONDecodeError)
"""What a damaged folder raises."""


def is_bench(folder: Path) -> bool:
    return BenchPaths(folder).config.is_file() and (folder / "tasks").is_dir()


def is_run(folder: Path) -> bool:
    return RunPaths(folder).config.is_file() and (folder / "rollouts").is_dir()


def read_bench(folder: Path) -> Collected:
    """All tasks of a benchmark run, finished ones and those that were cut off."""
    found = Collected()
    for place in sorted(path for path in (folder / "tasks").iterdir() if path.is_dir()):
        try:
            found += _read_task(place)
        except FAULTS as error:
            found.faults.append(f"{place}: {one_fault(error)}")
    return found


def _read_task(place: Path) -> Collected:
    paths = TaskPaths(place)
    if paths.result.is_file():
        result = read_model(paths.result, TaskResult)
        run = place.parents[1] / result.run_dir
        scores = {rollout.index: rollout.outcome.score for rollout in result.rollouts}
        return read_run(run, task_id=place.name, domain=result.domain, scores=scores)
    if not paths.last_attempt():
        return Collected(faults=[f"{place}: the task was never begun"])
    return read_run(paths.attempt(paths.last_attempt()).root, task_id=place.name)


def read_run(
    folder: Path, *, task_id: str | None = None, domain: str = "user", scores: Mapping[int, float | None] | None = None
) -> Collected:
    """One run; `scores` by rollout, None: those that lie in the folder, if any.

    Raises: `RecordError` when it is no run folder or its frame of reference is damaged.
    """
    config = read_model(RunPaths(folder).config, RecordedConfig)
    found = Collected()
    attempts: list[Attempt] = []
    for place in sorted((folder / "rollouts").iterdir(), key=lambda path: path.name.zfill(6)):
        if not place.name.isdecimal():
            continue
        try:
            attempt = _read_rollout(folder, int(place.name), scores)
        except FAULTS as error:
            found.faults.append(f"{place}: {one_fault(error)}")
            continue
        attempts += [attempt] if attempt else []
    scored = [attempt for attempt in attempts if attempt.score is not None]
    kept = tuple(scored or attempts)
    if kept:
        frames = FrameStore(RunPaths(folder).frames)
        found.cases.append(Case(task_id or folder.name, domain, config.instruction, kept, frames))
    else:
        found.faults.append(f"{folder}: no rollout came to an end that can be judged")
    return found


def _read_rollout(folder: Path, index: int, scores: Mapping[int, float | None] | None) -> Attempt | None:
    """None for an ending that no judge is shown, such as a lost machine."""
    paths = RunPaths(folder).rollout(index)
    result = read_model(paths.result, RolloutResult)
    if result.status not in COMPARABLE:
        return None
    steps = read_lines(paths.trajectory, Step)
    facts = read_lines(paths.narrative, Fact) or [fact for step in steps for fact in of_step(step)]
    score = _score(folder, index) if scores is None else scores.get(index)
    return Attempt(candidate(result, facts), tuple(map(_moment, steps)), score, paths.root)


def _score(folder: Path, index: int) -> float | None:
    path = AttemptPaths(folder).outcome(index)
    return read_model(path, Outcome).score if path.is_file() else None


def _moment(step: Step) -> Moment:
    action = action_words(step.action) if step.action else "no action"
    return Moment(step.index, action, step.thought, step.before, step.after, step)


def one_fault(error: Exception) -> str:
    """An error as one line."""
    return " ".join(str(error).split()) or type(error).__name__
