"""Limits of a run's rollouts: what they may spend of steps and time together, and each of money, tokens and time.

A limit spans the run with all its sessions and attempts: what a killed session or a lost machine's attempt took is
read from the recorded steps and counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent_s3.limits import Limits, StepBudget
from agent_s3.paths import RolloutPaths, RunPaths
from agent_s3.record import read_lines
from agent_s3.tally import total
from agent_s3.types import Step
from bbon.models import Models, known_price
from bbon.types import RunConfig
from llm.budget import Budget, Ledger, Metered
from llm.chat import ChatModel, Usage
from llm.deadline import Deadline, Timed

_MINUTE_S = 60.0


class Limited(NamedTuple):
    """What a rollout is run with."""

    model: ChatModel
    eyes: ChatModel | None
    """The grounding model, under the same limits; None: the worker's."""
    limits: Limits


@dataclass(frozen=True)
class RunLimits:
    """Shared by all rollouts of a run."""

    config: RunConfig
    steps: StepBudget
    deadline: Deadline

    @classmethod
    def begin(cls, config: RunConfig, paths: RunPaths, *, rollouts: int, seconds: float) -> "RunLimits":
        """From now on, with so many rollouts begun; `seconds`: what earlier sessions took, as far as it is known.

        Raises: `agent_s3.record.RecordError`.
        """
        past = [recorded(paths.rollout(index)) for index in range(rollouts)]
        used = max([seconds, *(_seconds(steps) for steps in past)])
        return cls(
            config,
            StepBudget(config.budget_steps, taken=sum(map(len, past))),
            Deadline(_left(config.max_minutes, used), name="the run's time (--max-minutes)"),
        )

    def of_rollout(self, worker: ChatModel, paths: RolloutPaths, *, eyes: ChatModel | None) -> Limited:
        """The worker's and the grounding model and the limits of one rollout, less what its recorded steps took.

        Raises: `PriceUnknown`, `agent_s3.record.RecordError`.
        """
        steps, config = recorded(paths), self.config
        own = Deadline(_left(config.rollout_max_minutes, _seconds(steps)), name="the rollout's time")
        deadline = own.sooner(self.deadline)
        spent = sum(total(step.usage for step in steps).values(), Usage())
        budget = budget_of(config, spent)
        seeing = None if eyes is None else Timed(metered(eyes, budget), deadline)
        return Limited(Timed(metered(worker, budget), deadline), seeing, Limits(deadline, self.steps))


def check_price(models: Models, config: RunConfig) -> None:
    """Raises: `PriceUnknown` when the rollouts' money is limited and one of their models has no price."""
    for model in (models.worker, *models.others, models.ground):
        if model is not None:
            metered(model, budget_of(config, Usage()))


def budget_of(config: RunConfig, spent: Usage) -> Budget:
    """Of one rollout, less what it has spent."""
    return Budget(
        usd=config.rollout_budget_usd,
        tokens=config.rollout_budget_tokens,
        spent=spent,
        name="the budget of this rollout",
    )


def metered(model: ChatModel, budget: Budget) -> ChatModel:
    """A rollout's model under the rollout's own budget.

    Raises: `PriceUnknown` when that limits money and the model has no price.
    """
    return Metered(model, budget=budget, ledger=Ledger(), price=known_price(model))


def recorded(paths: RolloutPaths) -> list[Step]:
    """All steps of all attempts. Raises: `agent_s3.record.RecordError`."""
    return [step for path in _trajectories(paths) for step in read_lines(path, Step)]


def _trajectories(paths: RolloutPaths) -> Iterator[Path]:
    number = 1
    while paths.earlier(number).exists():
        yield paths.earlier(number)
        number += 1
    yield paths.trajectory


def _seconds(steps: list[Step]) -> float:
    return sum(sum(step.seconds.values()) for step in steps)


def _left(minutes: float | None, used_s: float) -> float | None:
    return None if minutes is None else minutes * _MINUTE_S - used_s
