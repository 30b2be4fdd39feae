"""A process under load, as the one that kills it sees it."""

import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from benchmarks.chaos.load import Job

_END_S = 90.0
_FAULT_S = 1.0
_LAST_LINES = 4
_IDS = re.compile(r"\b[msq]-[0-9a-f]{6,}\S*|/\S+|\b\d+(?:\.\d+)?\b")


class Worker:
    """One process under load, started again when it was killed."""

    def __init__(self, job: Job):
        self.provider = job.provider
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unreasoned = 0
        self.faults: list[str] = []
        self.killed = False
        """Whether its end is no fault of its own."""
        self._job = job
        self._lends = False
        self._ending = False
        self._starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def lends(self) -> bool:
        """Whether the one that runs now has lent a machine."""
        return self.pid is not None and self._lends

    async def start(self) -> None:
        """Idempotent; says first what became of the one before. Each has a seed of its own."""
        if self.pid is not None:
            return
        await self._look_back()
        job = self._job.model_copy(update={"seed": self._job.seed + self._starts})
        argv = [sys.executable, "-m", "benchmarks.chaos.load", job.model_dump_json()]
        self._starts, self.killed, self._lends = self._starts + 1, False, False
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
                self.count(json.loads(line))
        lines = (await errors).decode(errors="replace").strip().splitlines()
        self._last_words = " | ".join(line.strip() for line in lines[-_LAST_LINES:])

    def count(self, said: Mapping[str, str]) -> None:
        """One line of what a process under load says."""
        what, detail = said["what"], said["detail"]
        self.counts[what] += 1
        self._lends = self._lends or what == "given"
        if what in ("hung", "wrong"):
            self.faults.append(f"{self.provider}: {what}: {detail}")
        if what in ("lost", "refused"):
            self.reasons[f"{self.provider} {what}: {_IDS.sub('*', detail)[:120]}"] += 1
            self.unreasoned += not detail.partition(": ")[2].strip()
