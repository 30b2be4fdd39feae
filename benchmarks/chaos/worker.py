"""A process under load, as the one that kills it sees it."""

import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

_END_S = 90.0
_FAULT_S = 1.0
_LAST_LINES = 4
_IDS = re.compile(r"\b[msq]-[0-9a-f]{6,}\S*|/\S+|\b\d+(?:\.\d+)?\b")


class Worker:
    """One process under load, started again when it was killed."""

    def __init__(self, provider: str, image: str):
        self.provider = provider
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unreasoned = 0
        self.faults: list[str] = []
        self.killed = False
        """Whether its end is no fault of its own."""
        self._ending = False
        self._image = image
        self._starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self, seed: int) -> None:
        """Idempotent; says first what became of the one before."""
        if self.pid is not None:
            return
        await self._look_back()
        argv = [sys.executable, "-m", "benchmarks.chaos.load", self.provider, self._image, str(seed + self._starts)]
        self._starts, self.killed = self._starts + 1, False
        self._process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def end(self) -> None:
        """Let it give everything back; one that does not end in time is killed, which is a fault."""
        if self._process is not None and self.pid is not None:
            self._ending = True
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _END_S)
            except TimeoutError:
                self.faults.append(f"{self.provider}: did not end within {_END_S:g} s of SIGTERM")
                self._process.kill()
                self.killed = True
        await self._look_back()

    async def _look_back(self) -> None:
        if self._process is None or self._reading is None:
            return
        await self._reading
        code = await self._process.wait()
        if code != 0 and not self.killed and not (self._ending and code == -signal.SIGTERM):
            fault = f"{self.provider}: ended with {code}: {self._last_words}"
            self.faults += [] if fault in self.faults else [fault]
            await asyncio.sleep(_FAULT_S)  # as a supervisor would
        self._process = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        async for line in process.stdout:
            with suppress(ValueError):
                self._count(json.loads(line))
        lines = (await errors).decode(errors="replace").strip().splitlines()
        self._last_words = " | ".join(line.strip() for line in lines[-_LAST_LINES:])

    def _count(self, said: Mapping[str, str]) -> None:
        what, detail = said["what"], said["detail"]
        self.counts[what] += 1
        if what in ("lost", "refused"):
            self.reasons[f"{self.provider} {what}: {_IDS.sub('*', detail)[:120]}"] += 1
            self.unreasoned += not detail.partition(": ")[2].strip()
