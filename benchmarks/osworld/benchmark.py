"""OSWorld tasks for the runner: setup and evaluation of a task as the two calls that `BenchTask` needs."""

from dataclasses import dataclass

from agent_s3.types import RolloutResult
from benchmarks.osworld.assets import Assets
from benchmarks.osworld.cache import Cache
from benchmarks.osworld.evaluate import evaluate, prepare
from benchmarks.osworld.setup import Stage
from benchmarks.osworld.tasks import OSWorldTask
from benchmarks.results import AttemptPaths, Outcome
from benchmarks.task import BenchTask
from vm_pool.machine import Machine


@dataclass(frozen=True)
class Prepared:
    """A task bound to its assets."""

    task: OSWorldTask
    assets: Assets
    strict: bool
    """Any setup step that fails stops the task; upstream's own tasks are run without."""

    async def prepare(self, machine: Machine, attempt: AttemptPaths) -> None:
        """Raises: `Unsupported`, `SetupFailed`, `vm_pool.errors.MachineLost`."""
        await prepare(self.task, self._stage(machine, Cache(attempt.cache / "base")))

    async def score(self, index: int, machine: Machine, result: RolloutResult, attempt: AttemptPaths) -> Outcome:
        cache = Cache(attempt.cache / "base").fork(attempt.cache / str(index))
        return await evaluate(self.task, self._stage(machine, cache), gave_up=result.status == "fail")

    def _stage(self, machine: Machine, cache: Cache) -> Stage:
        return Stage(machine, self.assets, cache, strict=self.strict)


def bench_task(
    task: OSWorldTask, assets: Assets, *, image: str, max_steps: int, difficulty: str = "", strict: bool = False
) -> BenchTask:
    """The task as the runner needs it."""
    prepared = Prepared(task, assets, strict)
    return BenchTask(
        id=task.id,
        instruction=task.instruction,
        domain=task.domain,
        image=image,
        max_steps=max_steps,
        difficulty=difficulty,
        prepare=prepared.prepare,
        score=prepared.score,
    )
