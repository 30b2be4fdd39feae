"""From a phrase to a pixel: the seam, and the two answers a grounder can give."""

from dataclasses import dataclass
from typing import Protocol

from agent_s3.observation import Observation
from agent_s3.types import Grounding, Tried


@dataclass(frozen=True)
class NotFound:
    """No element fits, or several fit equally well; goes back to the model, nothing is executed."""

    phrase: str
    reason: str
    nearest: tuple[str, ...] = ()
    """The nearest candidates, as lines of the element list or as texts with their places."""
    tried: tuple[Tried, ...] = ()
    """Who was asked, and what models said."""
    final: bool = False
    """True: no other grounder can know better, as with a number that is not in the list."""

    @property
    def message(self) -> str:
        nearest = f" Nearest: {'; '.join(self.nearest)}." if self.nearest else ""
        return f"{self.phrase!r}: {self.reason}.{nearest}"


class Grounder(Protocol):
    """Finds the pixel that a phrase means."""

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        """The point to act on, in screen pixels. Raises: `llm.errors.LLMError` when a model is asked and fails."""
        ...
