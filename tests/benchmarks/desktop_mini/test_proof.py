"""The proof of the benchmark, on real desktops: every oracle scores 1, every no-op scores 0."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import read_lines
from agent_s3.types import Step
from benchmarks.desktop_mini import suite
from benchmarks.desktop_mini.proof import Proof, prove
from benchmarks.results import AttemptPaths
from benchmarks.task import BenchTask
from vm_pool.errors import ImageError
from vm_pool.images.store import find
from vm_pool.pool import Pool
from vm_pool.provider import Spec
from vm_pool.providers import make_provider

pytestmark = [pytest.mark.desktop, pytest.mark.timeout(900)]
PARALLEL = 2


async def prove_all(tasks: Sequence[BenchTask], folder: Path) -> list[Proof]:
    places = asyncio.Semaphore(PARALLEL)
    async with Pool(make_provider("sandbox"), concurrency=PARALLEL * 2) as pool:

        async def one(task: BenchTask) -> Proof:
            async with places:
                return await prove(task, pool, AttemptPaths(folder / task.id), spec=Spec(image=task.image))

        return await asyncio.gather(*(one(task) for task in tasks))


def faults(proof: Proof, folder: Path) -> list[str]:
    """What went wrong on the way, even if the end was right."""
    steps = read_lines(RunPaths(folder / proof.task_id).rollout(0).trajectory, Step)
    return [f"{proof.task_id} step {s.index}: {s.error or s.replies}" for s in steps if s.error or s.replies != 1]


@pytest.mark.parametrize("image", ["slim", "desktop"])
async def test_every_oracle_scores_one_and_every_no_op_zero(image: str, tmp_path: Path):
    try:
        find(image)
    except ImageError as error:
        pytest.skip(str(error))
    proofs = await prove_all([task for task in suite.bench_tasks() if task.image == image], tmp_path)
    assert [str(proof) for proof in proofs if not proof.sound] == []
    assert [fault for proof in proofs for fault in faults(proof, tmp_path)] == []
