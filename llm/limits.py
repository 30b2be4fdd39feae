"""How many calls may be under way at one provider."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

DEFAULT_LIMITS: Mapping[str, int] = {"openai": 16, "anthropic": 8, "local": 4}
"""Calls at once per provider; `local` is what its server has slots for at most."""
OTHER = 8


class Limits:
    """One semaphore per provider and event loop, shared by all models of a run.

    `most`: other limits than the usual ones. `least`: no provider elsewhere is given fewer places, for runs whose
    conversations would else wait for each other; `local` has the slots of its server whatever this says.
    """

    def __init__(self, most: Mapping[str, int] | None = None, *, least: int = 0) -> None:
        usual = {name: places if name == "local" else max(places, least) for name, places in DEFAULT_LIMITS.items()}
        self._most = {**usual, **(most or {})}
        self._other = max(OTHER, least)
        self._semaphores: dict[tuple[str, asyncio.AbstractEventLoop], asyncio.Semaphore] = {}

    def most(self, provider: str) -> int:
        return self._most.get(provider, self._other)

    @asynccontextmanager
    async def slot(self, provider: str) -> AsyncGenerator[None]:
        """Wait for a free place at `provider` and hold it for the block."""
        key = (provider, asyncio.get_running_loop())
        semaphore = self._semaphores.setdefault(key, asyncio.Semaphore(self.most(provider)))
        async with semaphore:
            yield
