"""A run folder as the report shows it; reads unfinished folders too, and says what could not be read."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from agent_s3.paths import RolloutPaths, RunPaths
from agent_s3.record import RecordError, read_lines, read_model
from agent_s3.types import FrameRef, RolloutResult, Step
from bbon.types import Citation, Fact, RecordedConfig, RunResult, Verdict
from llm.chat import Usage
from vm_pool.types import FileChange

MOST_ROLLOUTS = 32
"""More than that no run has; a folder with a larger number is not ours."""

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class RolloutRecord:
    """What is on disk of one rollout."""

    index: int
    paths: RolloutPaths
    steps: tuple[Step, ...]
    facts: tuple[Fact, ...]
    result: RolloutResult | None
    """None: it is not over."""
    under_way: bool
    """A step was being executed when the record ended."""

    @property
    def state(self) -> str:
        """A key of `viewer.board.STATE_WORDS`."""
        if self.result is not None:
            return self.result.status
        return "running" if self.steps or self.under_way else "waiting"

    @property
    def usage(self) -> Usage:
        """Of the steps, when the rollout is not over."""
        if self.result is not None and self.result.usage:
            return sum(self.result.usage.values(), Usage())
        return sum((usage for step in self.steps for usage in step.usage.values()), Usage())

    @property
    def seconds(self) -> float:
        return self.result.seconds if self.result else sum(sum(step.seconds.values()) for step in self.steps)

    @property
    def first(self) -> FrameRef | None:
        """The first picture there is."""
        if self.result is not None and self.result.first is not None:
            return self.result.first
        return next((ref for step in self.steps for ref in (step.before, step.after) if ref), None)

    @property
    def last(self) -> FrameRef | None:
        """The last picture there is."""
        if self.result is not None and self.result.last is not None:
            return self.result.last
        return next((ref for step in reversed(self.steps) for ref in (step.after, step.before) if ref), None)

    @property
    def dropped(self) -> int:
        """How many facts of the narrator contradicted what was measured."""
        return sum(fact.dropped is not None for fact in self.facts)

    def facts_of(self, step: int) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if fact.step == step)


@dataclass(frozen=True)
class RunRecord:
    """What is on disk of a run."""

    paths: RunPaths
    config: RecordedConfig
    rollouts: tuple[RolloutRecord, ...]
    verdict: Verdict | None
    result: RunResult | None
    problems: tuple[str, ...] = field(default=())
    """Files that could not be read, with the reason."""

    @property
    def winner(self) -> RolloutRecord | None:
        won = self.verdict.winner if self.verdict else None
        return next((rollout for rollout in self.rollouts if rollout.index == won), None)

    @property
    def usage(self) -> dict[str, Usage]:
        """By role."""
        if self.result is not None:
            return dict(self.result.usage)
        total: dict[str, Usage] = {}
        for rollout in self.rollouts:
            for step in rollout.steps:
                for role, usage in step.usage.items():
                    total[role] = total.get(role, Usage()) + usage
        return total

    def cited(self, citation: Citation) -> str:
        """The facts of a cited step, as text."""
        rollout = next((r for r in self.rollouts if r.index == citation.candidate), None)
        facts = rollout.facts_of(citation.step) if rollout else ()
        return " ".join(fact.text for fact in facts if fact.dropped is None)


def load(paths: RunPaths) -> RunRecord:
    """Raises: `RecordError` when `config.json` cannot be read; all else may be missing."""
    config = read_model(paths.config, RecordedConfig)
    problems: list[str] = []
    result = _optional(paths.result, RunResult, problems)
    verdict = _optional(paths.verdict, Verdict, problems) or (result.verdict if result else None)
    rollouts = tuple(_rollout(index, paths.rollout(index), problems) for index in range(_count(paths, config.n)))
    return RunRecord(paths, config, rollouts, verdict, result, tuple(problems))


def _count(paths: RunPaths, n: int) -> int:
    """How many rollouts there are: those that the run began with, and those that were added."""
    folders = paths.rollout(0).root.parent
    names = [entry.name for entry in folders.iterdir()] if folders.is_dir() else []
    return max([n, *(int(name) + 1 for name in names if name.isdecimal() and int(name) < MOST_ROLLOUTS)])


def _rollout(index: int, paths: RolloutPaths, problems: list[str]) -> RolloutRecord:
    return RolloutRecord(
        index=index,
        paths=paths,
        steps=tuple(_tried(lambda: read_lines(paths.trajectory, Step), problems) or []),
        facts=tuple(_tried(lambda: read_lines(paths.narrative, Fact), problems) or []),
        result=_optional(paths.result, RolloutResult, problems),
        under_way=paths.pending.exists(),
    )


def _optional(path: Path, kind: type[ModelT], problems: list[str]) -> ModelT | None:
    return _tried(lambda: read_model(path, kind), problems) if path.exists() else None


ValueT = TypeVar("ValueT")


def _tried(read: Callable[[], ValueT], problems: list[str]) -> ValueT | None:
    try:
        return read()
    except (RecordError, OSError) as error:
        problems.append(str(error))
        return None


def worth_showing(files: Sequence[FileChange]) -> list[FileChange]:
    """Without the folders that only came or went with a file inside them; a folder's path ends with a slash."""
    paths = [change.path for change in files]
    return [
        change
        for change in files
        if not change.path.endswith("/") or not any(p != change.path and p.startswith(change.path) for p in paths)
    ]


def pictures_by_weight(record: RunRecord) -> Iterator[FrameRef | None]:
    """All frames, those first that matter most: ends of all rollouts, the winner's steps, the others' steps."""
    for rollout in record.rollouts:
        yield from (rollout.last, rollout.first)
    winner = record.winner
    ordered = sorted(record.rollouts, key=lambda rollout: rollout is not winner)
    for rollout in ordered:
        for step in rollout.steps:
            yield from (step.before, step.after)


class DiffLine(NamedTuple):
    """A line of a text diff: `kind` is `add`, `del`, `same` or `gap`."""

    kind: str
    text: str


DIFF_LINES = 60


def text_diff(before: str | None, after: str | None) -> list[DiffLine]:
    """The changed lines with two lines around them, at most `DIFF_LINES`; None counts as empty."""
    lines = list(_diff_lines((before or "").splitlines(), (after or "").splitlines()))
    more = len(lines) - DIFF_LINES
    return lines if more <= 0 else [*lines[:DIFF_LINES], DiffLine("gap", f"… {more} more lines")]


def _diff_lines(before: list[str], after: list[str]) -> Iterable[DiffLine]:
    kinds = {"+": "add", "-": "del", "@": "gap"}
    for number, line in enumerate(difflib.unified_diff(before, after, n=2, lineterm="")):
        if number < 2 or (number == 2 and line.startswith("@@")):
            continue  # the two headers, and the place of the first change
        kind = kinds.get(line[:1], "same")
        yield DiffLine(kind, "…" if kind == "gap" else line[1:])
