"""Several grounders one after the other: the first that finds the phrase answers."""

from collections.abc import Sequence

from agent_s3.grounding import Grounder, NotFound
from agent_s3.observation import Observation
from agent_s3.types import Grounding


class ChainGrounder:
    """Asks each in turn; when none finds it, the first one's NotFound is returned with all reasons."""

    def __init__(self, grounders: Sequence[Grounder]) -> None:
        if not grounders:
            raise ValueError("a chain needs at least one grounder")
        self._grounders = tuple(grounders)

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        misses: list[NotFound] = []
        for grounder in self._grounders:
            answer = await grounder.locate(observation, phrase)
            if not isinstance(answer, NotFound):
                return answer
            misses.append(answer)
        reasons = "; ".join(dict.fromkeys(miss.reason for miss in misses))
        nearest = next((miss.nearest for miss in misses if miss.nearest), ())
        return NotFound(phrase, reasons, nearest)
