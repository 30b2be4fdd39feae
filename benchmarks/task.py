"""A task as the runner needs it, of whatever benchmark."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent_s3.types import RolloutResult
from benchmarks.results import AttemptPaths, Outcome
from vm_pool.machine import Machine


@dataclass(frozen=True)
class BenchTask:
    """What is asked, and the two calls that set it up and score it."""

    id: str
    instruction: str
    domain: str
    image: str
    max_steps: int
    prepare: Callable[[Machine, AttemptPaths], Awaitable[None]]
    """Brings the base machine into the task's first state, or raises why that is impossible."""
    score: Callable[[int, Machine, RolloutResult, AttemptPaths], Awaitable[Outcome]]
    """Scores the machine of one rollout."""
    difficulty: str = ""
