"""What a run has to remember to go on after being stopped or killed: `state.json`, rewritten at every change."""

import fcntl
import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from agent_s3.paths import RunPaths
from agent_s3.record import read_model, write_model
from agent_s3.types import SCHEMA_VERSION
from bbon.errors import RunFolderError
from bbon.types import Frozen, Verdict
from llm.budget import Spend
from llm.chat import Usage
from vm_pool.provider import Snapshot

log = logging.getLogger(__name__)


@contextmanager
def claimed(folder: Path) -> Generator[None]:
    """Keep other processes out of a folder of records; the claim ends with this process, however it ends.

    Raises: `RunFolderError` when another one is at work in it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunFolderError(f"another process is at work in {folder}; wait for it, or stop it first") from error
    except OSError as error:  # some network file systems know no locks
        log.warning("%s cannot be kept from other processes: %s", folder, error)
    try:
        yield
    finally:
        os.close(descriptor)


class RolloutState(Frozen):
    """Where one rollout is."""

    attempt: int = 1
    machine_id: str | None = None
    """Its machine now, or the one to revive; None: it has none."""
    behind: bool = False
    """True: its recorded steps were still being done again on its machine, which is therefore of no use any more."""
    over: bool = False
    """True: it came to an end that can be judged, and its files are exported."""


class RunState(Frozen):
    """The content of `state.json`."""

    schema_version: int = SCHEMA_VERSION
    snapshot: Snapshot | None = None
    """What rollouts are forked from; None: not taken yet, or dropped."""
    n: int | None = None
    """How many rollouts there are by now; None: as many as the run began with."""
    earlier: tuple[Verdict, ...] = ()
    """On fewer rollouts, see `Verdict.earlier`."""
    rollouts: Mapping[int, RolloutState] = {}
    usage: Mapping[str, Usage] = {}
    """By role, so that a budget holds over the whole run."""
    forfeited: Spend = Spend()
    """What calls without an answer may have taken; the budget counts it, the usage does not."""
    seconds: Mapping[str, float] = {}
    """By phase, summed over all sessions."""


class StateFile:
    """The state of a run in memory and on disk. All writers are in one event loop."""

    def __init__(self, paths: RunPaths, state: RunState) -> None:
        self._path = paths.state
        self.state = state

    @classmethod
    def create(cls, paths: RunPaths) -> "StateFile":
        """Begin a run. Raises: `RunFolderError` when there is one already, `RecordError`."""
        if paths.state.exists():
            raise RunFolderError(f"{paths.root} holds a run already; go on with it: agent-s3 run --resume {paths.root}")
        made = cls(paths, RunState())
        made.save()
        return made

    @classmethod
    def load(cls, paths: RunPaths) -> "StateFile":
        """Go on with a run; one killed before its first state starts at the beginning. Raises: `RecordError`."""
        return cls(paths, read_model(paths.state, RunState)) if paths.state.exists() else cls.create(paths)

    def save(self) -> None:
        write_model(self._path, self.state)

    def update(self, **fields: object) -> None:
        """Set fields and write. Raises: `RecordError`."""
        self.state = self.state.model_copy(update=fields)
        self.save()

    def rollout(self, index: int) -> RolloutState:
        return self.state.rollouts.get(index, RolloutState())

    def update_rollout(self, index: int, **fields: object) -> None:
        changed = self.rollout(index).model_copy(update=fields)
        self.update(rollouts={**self.state.rollouts, index: changed})

    @contextmanager
    def timed(self, phase: str, *, side_by_side: bool = False) -> Generator[None]:
        """Add the time of a block to a phase's seconds; of blocks that run side by side the longest counts."""
        began = perf_counter()
        try:
            yield
        finally:
            known, spent = self.state.seconds.get(phase, 0.0), perf_counter() - began
            total = max(known, spent) if side_by_side else known + spent
            self.update(seconds={**self.state.seconds, phase: round(total, 3)})
