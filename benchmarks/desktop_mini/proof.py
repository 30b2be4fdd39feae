"""Prove a task on real desktops: set it up, let the no-op work there and the oracle on a fork, score both."""

from dataclasses import dataclass

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step, Task
from benchmarks.desktop_mini.oracle import NOOP, PATIENCE, Oracle, load_oracle
from benchmarks.results import AttemptPaths, Outcome
from benchmarks.task import BenchTask
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Spec
from vm_pool.shield import shielded
from vm_pool.types import Frame


@dataclass(frozen=True)
class Played:
    """A scripted rollout and its score."""

    result: RolloutResult
    outcome: Outcome


@dataclass(frozen=True)
class Proof:
    """Sound when the oracle scores 1 and the no-op 0."""

    task_id: str
    oracle: Played
    noop: Played

    @property
    def sound(self) -> bool:
        return self.oracle.outcome.score == 1.0 and self.noop.outcome.score == 0.0

    def __str__(self) -> str:
        """One line that says what happened."""
        sides = (("oracle", self.oracle), ("no-op", self.noop))
        told = (
            f"{name} {p.outcome.kind} {p.outcome.score} ({p.result.status}: {p.result.reason})" for name, p in sides
        )
        return f"{self.task_id}: {'; '.join(told)} {self.oracle.outcome.detail}".rstrip()


async def prove(task: BenchTask, pool: Pool, folder: AttemptPaths, *, spec: Spec) -> Proof:
    """The no-op works on the base machine, once its state is saved, the oracle on a fork.

    Raises: what setup and pool raise; the rollouts' own faults are in the proof.
    """
    async with pool.lease(spec, labels={"task": task.id}) as base:
        await task.prepare(base, folder)
        await base.settle()
        snapshot = await pool.provider.snapshot(base)
        noop = await play(task, NOOP, base, folder, index=1)
    try:
        async with pool.lease(snapshot, labels={"task": task.id}) as fork:
            oracle = await play(task, load_oracle(task.id), fork, folder, index=0)
    finally:
        await shielded(pool.provider.drop(snapshot))
    return Proof(task.id, oracle, noop)


async def play(task: BenchTask, script: Oracle, machine: Machine, folder: AttemptPaths, *, index: int) -> Played:
    """One scripted rollout, scored."""
    paths = RunPaths(folder.root)
    result = await run_rollout(
        Task(id=task.id, instruction=task.instruction, domain=task.domain),
        machine,
        script.model(task.id),
        index=index,
        paths=paths,
        frames=FrameStore(paths.frames),
        settings=AgentSettings(max_steps=task.max_steps + PATIENCE, reflection="never"),
        on_step=_ignore,
    )
    return Played(result, await task.score(index, machine, result, folder))


def _ignore(_step: Step, _before: Frame | None, _after: Frame | None) -> None:
    pass
