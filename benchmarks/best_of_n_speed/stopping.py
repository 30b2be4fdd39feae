"""What stopping rollouts without hope saves: the same written run with it and without."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent_s3.paths import RunPaths
from bbon import best_of_n
from bbon.types import RunConfig, RunResult
from benchmarks.best_of_n_speed.script import idle_models, open_editor
from vm_pool.errors import GuestError
from vm_pool.pool import Pool
from vm_pool.provider import Provider

N, WORKING, MAX_STEPS = 4, 1, 15


async def measure_stopping(provider: Provider, image: str, *, latency_s: float) -> dict[str, Any]:
    """`{"off", "on"}`: calls of the workers, steps and seconds of a best-of-4 in which one rollout works.

    The others press a key that changes nothing until they may no more. Raises: `GuestError` when the working one
    does not win, what the provider raises.
    """
    return {name: await _one(provider, image, latency_s, stop=stop) for name, stop in (("off", False), ("on", True))}


async def _one(provider: Provider, image: str, latency_s: float, *, stop: bool) -> Mapping[str, float]:
    config = RunConfig(instruction="Add a line to notes.txt", n=N, image=image, max_steps=MAX_STEPS, stop_hopeless=stop)
    with TemporaryDirectory(prefix="best-of-n-speed-") as folder:
        async with Pool(provider, concurrency=N) as pool:
            models = idle_models(latency_s, working=WORKING)
            paths = RunPaths(Path(folder) / "run")
            result = await best_of_n.run(config, paths, models=models, pool=pool, prepare=open_editor)
    return _figures(result)


def _figures(result: RunResult) -> dict[str, float]:
    statuses = sorted(rollout.status for rollout in result.rollouts)
    if result.error or statuses.count("done") != WORKING:
        raise GuestError(f"the written run broke off: {result.error or statuses}")
    return {
        "worker_calls": result.usage["worker"].calls,
        "steps": sum(rollout.steps for rollout in result.rollouts),
        "stopped": statuses.count("stopped"),
        "total_s": result.seconds["total"],
    }
