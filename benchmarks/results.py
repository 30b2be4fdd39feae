"""What a benchmark finds out, and the files that hold it.

OUT/
├── bench.json               what was asked: suite, models, N, versions
├── result.json              the table and all tasks: written when all is over, and again by --resume
└── tasks/TASK_ID/
    ├── result.json          TaskResult; its presence means that the task was run to its end
    └── attempts/K/          a whole run folder of bbon.best_of_n, and beside it what the task left:
        ├── outcomes/R.json  Outcome of rollout R, written when it is scored
        └── cache/           outputs of the task's setup steps
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent_s3.settings import ReflectionPolicy
from agent_s3.types import SCHEMA_VERSION
from llm.chat import Usage


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


OutcomeKind = Literal[
    "scored",
    "unsupported",  # the task needs something this version lacks
    "setup_failed",  # the machine never was in the task's first state
    "guest_lost",  # the machine died or stopped answering: infrastructure
    "agent_error",  # the model's provider failed, the budget was spent, or our loop broke
    "evaluator_error",  # the task's rule or gold file is unusable, or a metric broke
    "interrupted",  # stopped by the user
]
PASSING: frozenset[OutcomeKind] = frozenset({"guest_lost", "agent_error", "interrupted"})
"""Kinds that another attempt may mend; --resume runs such tasks again."""


class Outcome(Frozen):
    """What came of one rollout. Unscored is not 0: only `scored` has a score."""

    schema_version: int = SCHEMA_VERSION
    kind: OutcomeKind
    score: float | None = Field(default=None, ge=0, le=1)
    """None unless scored."""
    detail: str = ""
    """Why it is unscored, or notes on the way to the score."""

    @model_validator(mode="after")
    def _score_iff_scored(self) -> "Outcome":
        if (self.score is None) == (self.kind == "scored"):
            raise ValueError(f"an outcome has a score exactly when it is scored, not {self.kind} with {self.score}")
        return self

    @classmethod
    def scored(cls, score: float, detail: str = "") -> "Outcome":
        return cls(kind="scored", score=min(max(score, 0.0), 1.0), detail=detail)


class RolloutScore(Frozen):
    """One rollout of a task and what came of it."""

    index: int
    status: str
    """How the rollout ended, see `agent_s3.types.RolloutStatus`; `missing` when it never ran."""
    steps: int
    seconds: float
    outcome: Outcome


Pick = Literal[
    "picked",  # the judge chose a rollout
    "none",  # the judge says that none of them did the task
    "unjudged",  # there was no verdict
]


class TaskResult(Frozen):
    """All rollouts of one task and the judge's pick."""

    schema_version: int = SCHEMA_VERSION
    task_id: str
    domain: str
    instruction: str
    image: str
    difficulty: str = ""
    rollouts: tuple[RolloutScore, ...]
    pick: Pick
    winner: int | None = None
    """Rollout index that the judge chose; None unless `picked`."""
    method: str = ""
    """How the verdict came about, see `bbon.types.Verdict`; empty when unjudged."""
    confidence: float | None = None
    usage: Mapping[str, Usage] = {}
    """By role."""
    seconds: Mapping[str, float] = {}
    """By phase, see `bbon.types.RunResult`."""
    run_dir: str
    """Relative to the benchmark's folder."""
    error: str | None = None

    @property
    def scores(self) -> tuple[float | None, ...]:
        """By rollout; None: unscored."""
        return tuple(rollout.outcome.score for rollout in self.rollouts)

    @property
    def complete(self) -> bool:
        """False when another attempt may find out more."""
        return all(rollout.outcome.kind not in PASSING for rollout in self.rollouts)


class Estimate(Frozen):
    """A mean over tasks with its uncertainty."""

    value: float | None
    """None: no task could be counted."""
    low: float | None
    high: float | None
    """95 % confidence interval; None when there is nothing to estimate it from."""
    tasks: int
    """How many tasks were counted."""
    method: Literal["wilson", "bootstrap", "none"]
    """`wilson`: score interval over tasks. `bootstrap`: percentile, tasks resampled as clusters. `none`: neither."""


class Table(Frozen):
    """What a benchmark run comes to."""

    n: int
    """Rollouts per task."""
    tasks: int
    """Tasks that were asked for."""
    single: Estimate
    """Success of one rollout: mean over all scored rollouts."""
    best_of_n: Estimate
    """Success of the rollout that the judge chose; choosing none counts as 0, no verdict is not counted."""
    random_pick: Estimate
    """Expected success of one of the task's rollouts picked blindly."""
    oracle: Estimate
    """pass@N: best score among the task's rollouts."""
    judge_gain: Estimate
    """`best_of_n` minus `random_pick`, paired by task; its interval may be negative."""
    pass_at: Mapping[int, float]
    """k -> unbiased pass@k over the tasks with at least k scored rollouts."""
    none_chosen: int
    """Tasks in which the judge chose none."""
    outcomes: Mapping[str, int]
    """Rollouts by kind of outcome."""
    by_difficulty: Mapping[str, float]
    """Mean success of one rollout."""
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """None: the price of a call is unknown."""
    seconds: float
    """Wall time of all tasks, one after another."""


class BenchConfig(Frozen):
    """What was asked of a benchmark run; a resumed run must ask the same."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    suite_sha256: str
    """Of all task files and assets."""
    model: str
    judge: str | None
    """None: the worker's model."""
    n: int
    tasks: tuple[str, ...]
    provider: str
    image: str | None = None
    """None: each task on the smallest that has its programs."""
    temperature: float | None
    max_steps: int | None
    """None: each task's own limit."""
    reflection: ReflectionPolicy = "on-evidence"
    seed: int = 0


class BenchResult(Frozen):
    """The whole answer: `result.json` and `--json`."""

    schema_version: int = SCHEMA_VERSION
    config: BenchConfig
    table: Table
    tasks: tuple[TaskResult, ...]
    faults: tuple[str, ...] = ()
    """Tasks that could not even be loaded, a line each."""
    out_dir: str


@dataclass(frozen=True)
class TaskPaths:
    """Files of one task."""

    root: Path

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    def attempt(self, number: int) -> "AttemptPaths":
        """`number` counts from 1."""
        return AttemptPaths(self.root / "attempts" / str(number))

    def last_attempt(self) -> int:
        """Number of the newest attempt; 0: there was none."""
        folder = self.root / "attempts"
        numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()] if folder.is_dir() else []
        return max(numbers, default=0)


@dataclass(frozen=True)
class AttemptPaths:
    """Files of one attempt at a task; `root` is a run folder."""

    root: Path

    def outcome(self, rollout: int) -> Path:
        return self.root / "outcomes" / f"{rollout}.json"

    @property
    def cache(self) -> Path:
        return self.root / "cache"


@dataclass(frozen=True)
class BenchPaths:
    """Files of one benchmark run."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "bench.json"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    def task(self, task_id: str) -> TaskPaths:
        return TaskPaths(self.root / "tasks" / task_id)
