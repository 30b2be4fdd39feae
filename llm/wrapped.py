"""What models that stand around another one have in common."""

from llm.chat import Abilities, ChatModel


class Wrapped:
    """Passes on all that another model is; `complete` is for those who make a `ChatModel` of this."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def abilities(self) -> Abilities:
        return self._model.abilities

    async def aclose(self) -> None:
        await self._model.aclose()
