"""What ends a rollout besides its own number of steps: the run's number of steps, and wall time.

Money and tokens are held by `llm.budget`, before each call of a model.
"""

from dataclasses import dataclass

from llm.deadline import Deadline
from llm.errors import BudgetExceeded


class StepBudget:
    """Steps that the rollouts of a run may take together. All takers are in one event loop.

    `limit` None: as many as they like. `taken`: those of an earlier part of a resumed run.
    """

    def __init__(self, limit: int | None, *, taken: int = 0) -> None:
        self._limit = limit
        self._taken = taken

    def take(self) -> None:
        """Raises: `BudgetExceeded` when none is left."""
        if self._limit is not None and self._taken >= self._limit:
            raise BudgetExceeded(f"the run's budget of {self._limit} steps is used up. Raise it to go on")
        self._taken += 1


@dataclass(frozen=True)
class Limits:
    """Of one rollout."""

    deadline: Deadline | None = None
    """None: no limit of time."""
    steps: StepBudget | None = None
    """The run's; None: no limit but the rollout's own."""

    def begin_step(self) -> None:
        """Raises: `BudgetExceeded`, and as its kind `OutOfTime`."""
        if self.deadline is not None:
            self.deadline.check()
        if self.steps is not None:
            self.steps.take()


NO_LIMITS = Limits()
