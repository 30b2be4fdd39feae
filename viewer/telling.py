"""From a user to rollouts that are under way: `agent-s3 tell`, and answers typed where the run is watched."""

import asyncio
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from agent_s3 import inbox
from agent_s3.actions import AskUser
from agent_s3.paths import RunPaths
from agent_s3.record import RecordError, read_model
from agent_s3.types import RolloutResult, UserMessage
from bbon.types import Asked, Listener, RecordedConfig, RolloutOver, RunEvent, RunResult, StepTaken
from viewer import faults
from viewer.faults import UserMistake
from viewer.orders import existing

_MOST_TYPED = 8000


def tell(run_dir: Path, text: str, *, rollout: int | None, now: datetime) -> UserMessage:
    """Put a message into the run's inbox. Raises: `UserMistake` when nobody is left to read it, or it says nothing."""
    paths = existing(run_dir)
    n = _rollouts(paths)
    if rollout is not None and rollout >= n:
        raise UserMistake(f"there is no rollout {rollout} in {str(run_dir)!r}; its rollouts are 0 to {n - 1}")
    wanted = range(n) if rollout is None else [rollout]
    if _run_over(paths) or all(_over(paths, index) for index in wanted):
        whose = "the run" if rollout is None else f"rollout {rollout}"
        raise UserMistake(
            f"{whose} in {str(run_dir)!r} is over and reads nothing more; ask for what is left in a new run"
        )
    try:
        return inbox.tell(paths.inbox, text, rollout=rollout, at=now)
    except ValidationError as error:
        raise UserMistake(f"the message: {error.errors(include_url=False)[0]['msg']}") from error


def _rollouts(paths: RunPaths) -> int:
    """How many there are so far: those asked for, and those that were added."""
    n = read_model(paths.config, RecordedConfig).n
    while paths.rollout(n).root.exists():
        n += 1
    return n


def _run_over(paths: RunPaths) -> bool:
    try:
        return read_model(paths.result, RunResult).error is None
    except RecordError:
        return False


def _over(paths: RunPaths, index: int) -> bool:
    """A rollout that was interrupted goes on with --resume, and is told then."""
    try:
        return read_model(paths.rollout(index).result, RolloutResult).status != "interrupted"
    except RecordError:
        return False


class Answers:
    """Hears of questions, and gives each line that is typed to the rollout that has waited longest."""

    def __init__(self, listener: Listener, paths: RunPaths, *, now: Callable[[], datetime]) -> None:
        self._listener = listener
        self._paths = paths
        self._now = now
        self._waiting: list[int] = []
        self._typed = b""

    def __call__(self, event: RunEvent) -> None:
        match event:
            case Asked():
                self._waiting.append(event.rollout)
            case StepTaken() if isinstance(event.step.action, AskUser):
                self._drop(event.rollout)
            case RolloutOver():
                self._drop(event.result.index)
            case _:
                pass
        self._listener(event)

    def _drop(self, rollout: int) -> None:
        if rollout in self._waiting:
            self._waiting.remove(rollout)

    def typed(self, data: bytes) -> None:
        """Take what came from a terminal; whole lines are answers, those that nobody waits for are left alone."""
        *lines, self._typed = (self._typed + data)[-_MOST_TYPED:].split(b"\n")
        for text in (line.decode(errors="replace").strip() for line in lines):
            if text and self._waiting:
                self._answer(text)

    def _answer(self, text: str) -> None:
        rollout = self._waiting.pop(0)
        try:
            inbox.tell(self._paths.inbox, text, rollout=rollout, at=self._now())
        except (RecordError, ValidationError) as error:
            faults.tell(f"the answer was not taken: {error}")

    @contextmanager
    def reading(self, source: int | None) -> Generator[None]:
        """Read what is typed, in the running event loop; `source` is a file descriptor, None: nobody types."""
        if source is None:
            yield
            return
        loop = asyncio.get_running_loop()

        def ready() -> None:
            data = b""
            with suppress(OSError):
                data = os.read(source, 4096)
            if data:
                self.typed(data)
            else:
                loop.remove_reader(source)

        loop.add_reader(source, ready)
        try:
            yield
        finally:
            loop.remove_reader(source)


def terminal() -> int | None:
    """The terminal that a user could type answers into; None: there is none."""
    try:
        return sys.stdin.fileno() if sys.stdin.isatty() else None
    except (OSError, ValueError):  # standard input is closed, or no file
        return None
