"""What becomes of a rollout in a benchmark: it is scored on its own machine, or it is said why it was not."""

import asyncio
import logging
from dataclasses import dataclass

from agent_s3.record import read_model, write_model
from agent_s3.types import RolloutResult, RolloutStatus
from bbon.types import RunResult
from benchmarks.errors import OUTCOME_OF_ERROR
from benchmarks.results import AttemptPaths, Outcome, OutcomeKind, RolloutScore
from benchmarks.task import BenchTask
from vm_pool.machine import Machine

_log = logging.getLogger(__name__)

SCORE_TIMEOUT_S = 300.0
"""Longest time for one evaluation, its postconfig included."""

_UNSCORED: dict[RolloutStatus, OutcomeKind] = {
    "machine_lost": "guest_lost",
    "model_error": "agent_error",
    "budget": "agent_error",
    "crashed": "agent_error",
    "interrupted": "interrupted",
}
"""How a rollout ended -> why it is not scored. All other endings are the agent's own, and are scored."""


@dataclass
class Scorer:
    """Sets one attempt at a task up and scores its rollouts; outcomes are on disk as soon as they are known."""

    task: BenchTask
    attempt: AttemptPaths
    failure: Outcome | None = None
    """Why no rollout could begin."""

    async def prepare(self, machine: Machine) -> None:
        try:
            await self.task.prepare(machine, self.attempt)
        except Exception as error:
            self.failure = outcome_of(error)
            raise

    async def finish(self, index: int, machine: Machine, result: RolloutResult) -> None:
        kind = _UNSCORED.get(result.status)
        if kind is None:
            outcome = await self._score(index, machine, result)
        else:
            outcome = Outcome(kind=kind, detail=result.reason)
        if outcome.kind != "interrupted":  # a resumed run goes on with it and scores it then
            write_model(self.attempt.outcome(index), outcome)

    def score_of(self, index: int, ran: RunResult | None, failure: Outcome | None) -> RolloutScore:
        """What is known of a rollout, whichever process found it out."""
        result = next((r for r in ran.rollouts if r.index == index), None) if ran else None
        path = self.attempt.outcome(index)
        outcome = read_model(path, Outcome) if path.exists() else failure or _unfinished(result)
        return RolloutScore(
            index=index,
            status=result.status if result else "missing",
            steps=result.steps if result else 0,
            seconds=result.seconds if result else 0.0,
            outcome=outcome,
        )

    async def _score(self, index: int, machine: Machine, result: RolloutResult) -> Outcome:
        try:
            async with asyncio.timeout(SCORE_TIMEOUT_S):
                return await self.task.score(index, machine, result, self.attempt)
        except TimeoutError:
            return Outcome(kind="evaluator_error", detail=f"scoring took longer than {SCORE_TIMEOUT_S:.0f} s")
        except Exception as error:  # noqa: BLE001 - a broken evaluator must not end the other rollouts
            _log.warning("scoring rollout %d of task %s broke: %s", index, self.task.id, error)
            return outcome_of(error, otherwise="evaluator_error")


def outcome_of(error: Exception, *, otherwise: OutcomeKind = "agent_error") -> Outcome:
    """The outcome that an error stands for, by the table in `benchmarks.errors`."""
    detail = f"{type(error).__name__}: {error}"
    for known, kind in OUTCOME_OF_ERROR:
        if isinstance(error, known):
            return Outcome(kind=kind, detail=detail)
    return Outcome(kind=otherwise, detail=detail)


def _unfinished(result: RolloutResult | None) -> Outcome:
    if result is None:
        return Outcome(kind="agent_error", detail="the rollout never began")
    return Outcome(kind=_UNSCORED.get(result.status, "evaluator_error"), detail=f"never scored: {result.reason}")
