"""Run tasks with best-of-N: set up, N rollouts, score each on its own machine, judge, and go on with the next.

A task's own faults (broken file, failed setup, lost guest, broken evaluator) become typed outcomes; they never stop
the other tasks. A resumed run skips tasks with a complete result and goes on with a task that was cut off.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from agent_s3.paths import RunPaths
from agent_s3.record import read_model, write_model
from agent_s3.types import RolloutResult
from bbon import best_of_n
from bbon.models import Models
from bbon.recorded import logging_to
from bbon.state import claimed
from bbon.types import Listener, RunConfig, RunEvent, RunResult
from benchmarks.errors import BenchmarkError
from benchmarks.results import (
    BenchConfig,
    BenchPaths,
    BenchResult,
    Outcome,
    Pick,
    TaskPaths,
    TaskResult,
)
from benchmarks.scorer import Scorer, outcome_of
from benchmarks.table import tabulate
from benchmarks.task import BenchTask
from vm_pool.machine import Machine
from vm_pool.pool import Pool

_log = logging.getLogger(__name__)


class RunN(Protocol):
    """The signature of `bbon.best_of_n.run`."""

    async def __call__(
        self,
        config: RunConfig,
        paths: RunPaths,
        *,
        listener: Listener,
        prepare: Callable[[Machine], Awaitable[None]] | None,
        finish: Callable[[int, Machine, RolloutResult], Awaitable[None]] | None,
        resume: bool,
        models: Models | None,
        pool: Pool | None,
    ) -> RunResult: ...


@dataclass(frozen=True)
class TaskBegan:
    task: BenchTask
    number: int
    """From 1."""
    of: int
    type: Literal["task_began"] = "task_began"


@dataclass(frozen=True)
class TaskEvent:
    """Something happened in the run of a task."""

    task_id: str
    event: RunEvent
    type: Literal["task_event"] = "task_event"


@dataclass(frozen=True)
class TaskOver:
    result: TaskResult
    skipped: bool
    """True: an earlier run had found it out already."""
    type: Literal["task_over"] = "task_over"


BenchEvent = TaskBegan | TaskEvent | TaskOver
BenchListener = Callable[[BenchEvent], None]
"""Told of events as they happen; must return at once and must not raise."""


def nobody(_event: BenchEvent) -> None:
    """The listener that ignores all."""


@dataclass(frozen=True)
class Plan:
    """How a benchmark is run; `config` says what is asked, the rest how it is gone about."""

    config: BenchConfig
    out: Path
    resume: bool = False
    parallel_tasks: int = 1
    """Tasks at one time."""
    concurrency: int | None = None
    """Rollouts of one task at one time; None: all N."""
    budget_usd: float | None = None
    """Per task."""
    budget_tokens: int | None = None
    """Per task."""


@dataclass
class Runner:
    """One benchmark run."""

    plan: Plan
    models: Models | None = None
    """None: each task opens them from their specs."""
    pool: Pool | None = None
    listener: BenchListener = nobody
    run_n: RunN = field(default=best_of_n.run)

    async def run(self, tasks: Sequence[BenchTask], *, faults: Sequence[str] = ()) -> BenchResult:
        """All tasks, in order, `parallel_tasks` at a time.

        Raises: `BenchmarkError` when the folder holds another benchmark run, `RunFolderError` when one is under way.
        """
        paths = BenchPaths(self.plan.out)
        self._begin(paths)
        with claimed(paths.root):
            results = await self._tasks(tasks, paths)
        return self._conclude(results, faults, paths)

    async def _tasks(self, tasks: Sequence[BenchTask], paths: BenchPaths) -> list[TaskResult]:
        places = asyncio.Semaphore(self.plan.parallel_tasks)

        async def one(number: int, task: BenchTask) -> TaskResult:
            async with places:
                return await self._task(task, number, len(tasks), paths)

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(number, task)) for number, task in enumerate(tasks, start=1)]
        return [done.result() for done in running]

    def _begin(self, paths: BenchPaths) -> None:
        """Take the folder for this run, or go on in it."""
        if paths.config.exists():
            if not self.plan.resume:
                raise BenchmarkError(f"{paths.root} holds a benchmark run; add --resume or choose another folder")
            _check_same(read_model(paths.config, BenchConfig), self.plan.config, paths)
        elif self.plan.resume:
            raise BenchmarkError(f"{paths.root} holds no benchmark run to go on with; leave out --resume to begin one")
        write_model(paths.config, self.plan.config)

    async def _task(self, task: BenchTask, number: int, of: int, paths: BenchPaths) -> TaskResult:
        mine = paths.task(task.id)
        known = read_model(mine.result, TaskResult) if self.plan.resume and mine.result.exists() else None
        if known is not None and known.complete:
            self.listener(TaskOver(known, skipped=True))
            return known
        self.listener(TaskBegan(task, number, of))
        attempt = mine.last_attempt()
        goes_on = known is None and attempt > 0 and RunPaths(mine.attempt(attempt).root).config.exists()
        result = await self._attempt(task, mine, attempt if goes_on else attempt + 1, goes_on=goes_on)
        write_model(mine.result, result)
        self.listener(TaskOver(result, skipped=False))
        return result

    async def _attempt(self, task: BenchTask, mine: TaskPaths, number: int, *, goes_on: bool) -> TaskResult:
        attempt = mine.attempt(number)
        scorer = Scorer(task, attempt)
        try:
            ran = await self.run_n(
                self._config(task),
                RunPaths(attempt.root),
                listener=lambda event: self.listener(TaskEvent(task.id, event)),
                prepare=scorer.prepare,
                finish=scorer.finish,
                resume=goes_on,
                models=self.models,
                pool=self.pool,
            )
        except Exception as error:  # noqa: BLE001 - one broken task must not stop the others; kept in its result
            with logging_to(RunPaths(attempt.root)):
                _log.warning("task %s broke off", task.id, exc_info=error)
            return self._result(task, scorer, None, scorer.failure or outcome_of(error), str(error))
        return self._result(task, scorer, ran, scorer.failure, ran.error)

    def _config(self, task: BenchTask) -> RunConfig:
        asked = self.plan.config
        return RunConfig(
            instruction=task.instruction,
            n=asked.n,
            provider=asked.provider,
            image=task.image,
            model=asked.model,
            judge=asked.judge,
            temperature=asked.temperature,
            max_steps=asked.max_steps or task.max_steps,
            concurrency=self.plan.concurrency,
            budget_usd=self.plan.budget_usd,
            budget_tokens=self.plan.budget_tokens,
            reflection=asked.reflection,
            seed=asked.seed,
        )

    def _result(
        self, task: BenchTask, scorer: Scorer, ran: RunResult | None, failure: Outcome | None, error: str | None
    ) -> TaskResult:
        pick, winner = _pick(ran)
        verdict = ran.verdict if ran else None
        return TaskResult(
            task_id=task.id,
            domain=task.domain,
            instruction=task.instruction,
            image=task.image,
            difficulty=task.difficulty,
            rollouts=tuple(scorer.score_of(index, ran, failure) for index in range(self.plan.config.n)),
            pick=pick,
            winner=winner,
            method=verdict.method if verdict else "",
            confidence=verdict.confidence if verdict else None,
            usage=ran.usage if ran else {},
            seconds=ran.seconds if ran else {},
            run_dir=str(scorer.attempt.root.relative_to(self.plan.out)),
            error=error,
        )

    def _conclude(self, results: Sequence[TaskResult], faults: Sequence[str], paths: BenchPaths) -> BenchResult:
        config = self.plan.config
        result = BenchResult(
            config=config,
            table=tabulate(results, n=config.n, seed=config.seed),
            tasks=tuple(results),
            faults=tuple(faults),
            out_dir=str(paths.root),
        )
        write_model(paths.result, result)
        return result


def _check_same(before: BenchConfig, now: BenchConfig, paths: BenchPaths) -> None:
    """A resumed run may ask for other tasks, but for nothing else than before."""
    for name in BenchConfig.model_fields:
        was, asked = getattr(before, name), getattr(now, name)
        if name != "tasks" and was != asked:
            raise BenchmarkError(
                f"{paths.root} was run with {name} {was!r}, not {asked!r}; resume it so, or choose another folder"
            )


def _pick(ran: RunResult | None) -> tuple[Pick, int | None]:
    if ran is None or ran.verdict is None:
        return "unjudged", None
    return ("none", None) if ran.verdict.winner is None else ("picked", ran.verdict.winner)
