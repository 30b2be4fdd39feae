"""A limit of wall time on a model: no call is begun after it, and one that is under way then is given up."""

import asyncio
from collections.abc import Callable

from llm.chat import ChatModel, Completion, Request
from llm.errors import OutOfTime
from llm.wrapped import Wrapped


class Deadline:
    """A moment of an event loop's clock. `name` is how a refusal calls the limit.

    `seconds`: from now, at most 0 when it is over already; None: no limit. Must be made in the loop that it is used in.
    """

    def __init__(self, seconds: float | None, *, name: str = "the time limit") -> None:
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._name = name
        self.at = None if seconds is None else self._clock() + seconds
        """None: there is no limit."""

    @property
    def left(self) -> float | None:
        """Seconds, never negative; None: there is no limit."""
        return None if self.at is None else max(0.0, self.at - self._clock())

    def check(self) -> None:
        """Raises: `OutOfTime`."""
        if self.left == 0:
            raise self.over()

    def over(self) -> OutOfTime:
        """The error that says so."""
        return OutOfTime(f"{self._name} is over. Raise it to go on")

    def sooner(self, other: "Deadline") -> "Deadline":
        """The one of two that comes first."""
        if self.at is None or other.at is None:
            return other if self.at is None else self
        return self if self.at <= other.at else other


class Timed(Wrapped):
    """A `ChatModel` that keeps a deadline."""

    def __init__(self, model: ChatModel, deadline: Deadline) -> None:
        super().__init__(model)
        self._deadline = deadline

    async def complete(self, request: Request, *, role: str) -> Completion:
        """As the wrapped model's. Raises besides: `OutOfTime`."""
        self._deadline.check()
        scope = asyncio.timeout_at(self._deadline.at)
        try:
            async with scope:
                return await self._model.complete(request, role=role)
        except TimeoutError as error:
            if not scope.expired():  # the provider's own, which its client names
                raise
            raise self._deadline.over() from error
