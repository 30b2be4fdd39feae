"""Run desktop_mini: `agent-s3 bench mini`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent_s3.settings import ReflectionPolicy
from bbon.models import Models, opened
from bbon.types import RunConfig
from benchmarks.desktop_mini import suite
from benchmarks.results import BenchConfig, BenchResult
from benchmarks.runner import BenchListener, Plan, Runner, nobody
from vm_pool.pool import Pool
from vm_pool.providers import make_provider

MiniResult = BenchResult


async def run(
    *,
    model: str = "local",
    n: int = 4,
    tasks: Sequence[str] | None = None,
    out: Path,
    resume: bool = False,
    judge: str | None = None,
    image: suite.Image | None = None,
    provider: str = "sandbox",
    temperature: float | None = None,
    max_steps: int | None = None,
    reflection: ReflectionPolicy = "on-evidence",
    parallel_tasks: int = 1,
    concurrency: int | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    seed: int = 0,
    models: Models | None = None,
    pool: Pool | None = None,
    listener: BenchListener = nobody,
) -> MiniResult:
    """Every task N times, scored, judged and summed up; all of it in `out`, which `resume` goes on with.

    `tasks` None: all that `image` has the programs for; `image` None: each task on the smallest that fits.
    `concurrency`: rollouts of one task at a time, None: all N. Budgets hold per task. `models` and `pool` (open
    already) are used instead of those that the names say, and are not closed.
    Raises: `BenchmarkError`, `ConfigError` of models or machines, `RecordError`.
    """
    chosen = suite.bench_tasks(tasks, image=image)
    config = BenchConfig(
        suite=suite.NAME,
        suite_sha256=suite.sha256(),
        model=model,
        judge=judge,
        n=n,
        tasks=tuple(task.id for task in chosen),
        provider=provider,
        image=image,
        temperature=temperature,
        max_steps=max_steps,
        reflection=reflection,
        seed=seed,
    )
    plan = Plan(
        config=config,
        out=out,
        resume=resume,
        parallel_tasks=parallel_tasks,
        concurrency=concurrency,
        budget_usd=budget_usd,
        budget_tokens=budget_tokens,
    )
    machines = parallel_tasks * (concurrency or n)
    asked = RunConfig(instruction=suite.NAME, n=n, model=model, judge=judge)
    async with opened(asked, models) as ready, _pool(provider, pool, machines) as shared:
        return await Runner(plan, models=ready, pool=shared, listener=listener).run(chosen)


@asynccontextmanager
async def _pool(provider: str, given: Pool | None, machines: int) -> AsyncGenerator[Pool]:
    """One pool for all tasks; a given one is not closed."""
    if given is not None:
        yield given
        return
    async with Pool(make_provider(provider), concurrency=machines) as pool:
        yield pool
