"""Several grounders one after the other: the first that finds the phrase answers."""

from collections.abc import Sequence
from dataclasses import replace

from agent_s3.grounding import Grounder, NotFound
from agent_s3.observation import Observation
from agent_s3.types import Grounding, Tried


class ChainGrounder:
    """Asks each in turn, and tells with the answer who was asked before it.

    When none finds it, the answer has all reasons, and the nearest candidates of the first that had any.
    """

    def __init__(self, grounders: Sequence[Grounder]) -> None:
        if not grounders:
            raise ValueError("a chain needs at least one grounder")
        self._grounders = tuple(grounders)

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        misses: list[NotFound] = []
        tried: tuple[Tried, ...] = ()
        for grounder in self._grounders:
            answer = await grounder.locate(observation, phrase)
            tried = (*tried, *answer.tried)
            if isinstance(answer, Grounding):
                return answer.model_copy(update={"tried": tried})
            misses.append(answer)
            if answer.final:
                break
        reasons = "; ".join(dict.fromkeys(miss.reason for miss in misses))
        nearest = next((miss.nearest for miss in misses if miss.nearest), ())
        return replace(misses[-1], reason=reasons, nearest=nearest, tried=tried)
