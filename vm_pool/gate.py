"""A gate that many pass at once, until somebody needs the place behind it empty."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Gate:
    """Open when made. While it is closed those inside finish and the others wait."""

    def __init__(self) -> None:
        self._inside = 0
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._empty.set()

    @asynccontextmanager
    async def through(self) -> AsyncGenerator[None]:
        """Be inside. Waits while the gate is closed."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def closed(self, timeout_s: float) -> AsyncGenerator[None]:
        """Nobody is inside meanwhile. Raises: `TimeoutError` when somebody stays longer than `timeout_s`."""
        self._open.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
            yield
        finally:
            self._open.set()
