"""Recorded rollouts as the laboratory sees them, from whatever folder they came. Pure data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from agent_s3.record import FrameStore
from agent_s3.types import FrameRef, Step
from bbon.types import Candidate


@dataclass(frozen=True)
class Moment:
    """One step of a rollout, as much as any kind of folder tells."""

    index: int
    action: str
    """In words, or the code that was sent to the desktop."""
    thought: str = ""
    before: FrameRef | None = None
    after: FrameRef | None = None
    step: Step | None = None
    """The whole record; None for folders of other programs."""


@dataclass(frozen=True)
class Attempt:
    """One recorded rollout."""

    candidate: Candidate
    """With the facts of its record, as the judge of a run sees it."""
    moments: tuple[Moment, ...]
    score: float | None
    """From the benchmark's evaluator; None: nobody scored it."""
    folder: Path
    """Where it lies; of result folders of other programs the one above the domains."""

    @property
    def index(self) -> int:
        return self.candidate.index


@dataclass(frozen=True)
class Case:
    """One task and the rollouts of it that can be compared."""

    id: str
    domain: str
    instruction: str
    attempts: tuple[Attempt, ...]
    frames: FrameStore

    @property
    def scores(self) -> tuple[float, ...] | None:
        """By place among the attempts; None when one of them was not scored."""
        found = [attempt.score for attempt in self.attempts if attempt.score is not None]
        return tuple(found) if len(found) == len(self.attempts) else None

    @property
    def decidable(self) -> bool:
        """Whether a choice can be right or wrong: the attempts differ in their scores."""
        return self.scores is not None and len(set(self.scores)) > 1

    def only(self, places: tuple[int, ...]) -> "Case":
        """The same task with some of its attempts, by place."""
        chosen = tuple(self.attempts[place] for place in places)
        return Case(self.id, self.domain, self.instruction, chosen, self.frames)


@dataclass
class Collected:
    """What was found in the folders that were named."""

    cases: list[Case] = field(default_factory=list[Case])
    faults: list[str] = field(default_factory=list[str])
    """One line for each thing that could not be read; the rest goes on."""

    def __iadd__(self, other: "Collected") -> Self:
        self.cases += other.cases
        self.faults += other.faults
        return self
