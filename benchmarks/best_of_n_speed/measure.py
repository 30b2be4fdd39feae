"""Runs best-of-N for several N, one after the other, and compares their wall times."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from agent_s3.paths import RunPaths
from agent_s3.record import read_lines
from agent_s3.types import Step
from bbon import best_of_n
from bbon.types import RunConfig, RunResult
from benchmarks.best_of_n_speed.script import models, open_editor
from benchmarks.pool_speed.samples import summarise
from vm_pool.errors import GuestError
from vm_pool.pool import Pool
from vm_pool.provider import Provider

WAITING = frozenset({"decide", "reflect", "settle"})
"""Phases of a step in which it waits for a model or for the screen."""
PHASES = ("boot", "setup", "snapshot", "fork", "rollouts", "judge", "deliver")

Note = Callable[[str], None]


class Plan(NamedTuple):
    """What is run."""

    ns: tuple[int, ...] = (1, 2, 4, 8, 10)
    steps: int = 8
    """Actions of a rollout, before it says done."""
    latency_s: float = 3.0
    """How long each answer of a model takes."""
    repeats: int = 1
    """Runs of each N."""
    warm: bool = True
    """One short run before, which is not counted: the first one loads libraries and the image's files."""


async def measure(
    provider: Provider, image: str, *, plan: Plan | None = None, on_note: Note = lambda _: None
) -> dict[str, Any]:
    """`{"provider", "image", "plan", "runs", "ratios"}`: by N the wall time of a whole run in s, and of its phases.

    `ratios` are wall(N) over wall(smallest N), of the middle values. `step_own_ms` is what a step took beside the
    model and the settling, `cpu_s` processor time of this process alone, and `load` the load average of the host at
    the end: figures of a busy host say more about that than about us.

    Raises: `GuestError` when a run does not go as written; what the provider raises.
    """
    plan = plan or Plan()
    if plan.warm:
        on_note("one short run that is not counted")
        await _one(provider, image, 1, Plan(steps=3, latency_s=0.0))
    measured: dict[int, list[dict[str, float]]] = {n: [] for n in plan.ns}
    for turn in range(plan.repeats):
        for n in plan.ns:
            on_note(f"best of {n}" + (f", run {turn + 1} of {plan.repeats}" if plan.repeats > 1 else ""))
            measured[n].append(await _one(provider, image, n, plan))
    runs = {n: _summary(rows) for n, rows in measured.items()}
    first = runs[min(runs)]["total_s"]["p50"]
    ratios = {f"wall({n})/wall({min(runs)})": round(found["total_s"]["p50"] / first, 3) for n, found in runs.items()}
    return {"provider": provider.name, "image": image, "plan": plan._asdict(), "runs": runs, "ratios": ratios}


async def _one(provider: Provider, image: str, n: int, plan: Plan) -> dict[str, float]:
    """One whole run; seconds by phase, and milliseconds of a step."""
    began = time.process_time()
    config = RunConfig(instruction="Add a line to notes.txt", n=n, image=image, max_steps=plan.steps + 1)
    with tempfile.TemporaryDirectory(prefix="best-of-n-speed-") as folder:
        paths = RunPaths(Path(folder) / "run")
        async with Pool(provider, concurrency=n) as pool:
            result = await best_of_n.run(
                config, paths, models=models(plan.steps, plan.latency_s), pool=pool, prepare=open_editor
            )
        steps = [step for index in range(n) for step in read_lines(paths.rollout(index).trajectory, Step)]
        _check(result, steps, plan)
    seconds = {f"{name}_s": result.seconds.get(name, 0.0) for name in (*PHASES, "total")}
    return seconds | {
        "cpu_s": time.process_time() - began,
        "load": os.getloadavg()[0],
        "step_own_ms": median(map(_own_ms, steps)),
        "settle_ms": median(map(_settle_ms, steps)),
    }


def _check(result: RunResult, steps: Sequence[Step], plan: Plan) -> None:
    """Raises: `GuestError` when figures of this run would not be those of its script."""
    broken = [f"rollout {r.index} ended as {r.status!r}: {r.reason}" for r in result.rollouts if r.status != "done"]
    faults = [f"step {step.index}: {step.error.message}" for step in steps if step.error is not None]
    if result.error or broken or faults or len(steps) != len(result.rollouts) * (plan.steps + 1):
        raise GuestError(f"the written run broke off: {(broken or faults or [result.error])[0]}")


def _own_ms(step: Step) -> float:
    return 1000 * sum(took for phase, took in step.seconds.items() if phase not in WAITING)


def _settle_ms(step: Step) -> float:
    return 1000 * step.seconds.get("settle", 0.0)


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {name: summarise([row[name] for row in rows]) for name in rows[0]}
