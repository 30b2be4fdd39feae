"""What a step spends: tokens and money by role, wall time by phase."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from llm.chat import ChatModel, Completion, Request, Usage
from llm.errors import LLMError


class Tally:
    """Adds up one step; a fresh one is made for each."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._usage: dict[str, Usage] = {}
        self._seconds: dict[str, float] = {}

    @property
    def usage(self) -> dict[str, Usage]:
        """By role."""
        return dict(self._usage)

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, rounded to 0.1 ms."""
        return {phase: round(seconds, 4) for phase, seconds in self._seconds.items()}

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Count the time of a block, also when it raises."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - began

    async def ask(self, model: ChatModel, request: Request, *, role: str) -> Completion:
        """`model.complete`, with its usage counted, that of unusable replies included. Raises: any of `llm.errors`."""
        try:
            completion = await model.complete(request, role=role)
        except LLMError as error:
            usage: Usage | None = getattr(error, "usage", None)
            if usage is not None:
                self._add(role, usage)
            raise
        self._add(role, completion.usage)
        return replace(completion, text=whole(completion.text))

    def _add(self, role: str, usage: Usage) -> None:
        self._usage[role] = self._usage.get(role, Usage()) + usage


def whole(text: str) -> str:
    """Halves of characters, which models and providers do cut in two, as question marks: no record can hold them."""
    return text.encode(errors="replace").decode()


def total(usages: Iterator[Mapping[str, Usage]]) -> dict[str, Usage]:
    """Sum by role."""
    out: dict[str, Usage] = {}
    for usage in usages:
        for role, part in usage.items():
            out[role] = out.get(role, Usage()) + part
    return out
