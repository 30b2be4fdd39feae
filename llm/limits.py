"""How many calls may be under way at one provider."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

DEFAULT_LIMITS: Mapping[str, int] = {"openai": 16, "anthropic": 8, "local": 4}
"""Calls at once per provider; `local` is what its server has slots for at most."""
OTHER = 8


class Limits:
    """One semaphore per provider and event loop, shared by all models of a run."""

    def __init__(self, most: Mapping[str, int] | None = None) -> None:
        self._most = {**DEFAULT_LIMITS, **(most or {})}
        self._semaphores: dict[tuple[str, asyncio.AbstractEventLoop], asyncio.Semaphore] = {}

    def most(self, provider: str) -> int:
        return self._most.get(provider, OTHER)

    @asynccontextmanager
    async def slot(self, provider: str) -> AsyncGenerator[None]:
        """Wait for a free place at `provider` and hold it for the block."""
        key = (provider, asyncio.get_running_loop())
        semaphore = self._semaphores.setdefault(key, asyncio.Semaphore(self.most(provider)))
        async with semaphore:
            yield
