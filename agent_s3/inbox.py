"""What a user says to rollouts while they run: lines in a file of the run folder, read by each rollout between steps.

`agent-s3 tell` appends; a rollout shows its model what it has not shown yet, and records it with the step. So what was
said is part of the trajectory, a resumed rollout is not told twice, and one that begins afresh is told all of it.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from agent_s3.record import RecordError, append_line, read_lines
from agent_s3.types import Step, UserAnswer, UserMessage

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2

AskListener = Callable[[str, float], None]
"""Told of a question to the user and of how many seconds its answer is awaited; must return at once and not raise."""


def nobody(_question: str, _timeout_s: float) -> None:
    """The listener that ignores all."""


def tell(path: Path, text: str, *, rollout: int | None, at: datetime) -> UserMessage:
    """Append a message; `rollout` None: to all. Raises: `RecordError`; `ValidationError` for no text or too much."""
    message = UserMessage(id=uuid.uuid4().hex[:12], at=at, rollout=rollout, text=text.strip())
    append_line(path, message)
    return message


def told_to_all(path: Path) -> tuple[str, ...]:
    """What all rollouts were told, in order: it is part of the task from then on."""
    return tuple(message.text for message in _read(path) if message.rollout is None)


def with_added(instruction: str, later: Sequence[str]) -> str:
    """A task with what its user said after it had begun. Pure."""
    lines = "\n".join(f"- {text}" for text in later)
    return f"{instruction}\nLater the user added:\n{lines}" if later else instruction


def _read(path: Path) -> list[UserMessage]:
    """A file that somebody spoilt must not stop a rollout."""
    try:
        return read_lines(path, UserMessage)
    except (RecordError, OSError) as error:
        log.warning("messages of the user cannot be read: %s", error)
        return []


class Inbox:
    """The messages to one rollout."""

    def __init__(self, path: Path, rollout: int, *, on_ask: AskListener = nobody) -> None:
        self._path = path
        self._rollout = rollout
        self._on_ask = on_ask

    def unread(self, steps: Sequence[Step]) -> tuple[UserMessage, ...]:
        """Those that no step has shown to the model, in the order in which they came."""
        known = {message.id for step in steps for message in step.told}
        known |= {step.answer.message for step in steps if step.answer and step.answer.message}
        mine = (message for message in _read(self._path) if message.rollout in (None, self._rollout))
        return tuple(message for message in mine if message.id not in known)

    @property
    def told(self) -> tuple[str, ...]:
        """All that was said to this rollout so far."""
        return tuple(message.text for message in self.unread(()))

    async def ask(self, question: str, *, timeout_s: float) -> UserAnswer:
        """Ask the user and wait for the next message to this rollout: that is the answer."""
        earlier = {message.id for message in self.unread(())}
        self._on_ask(question, timeout_s)
        began = time.monotonic()
        while True:
            fresh = next((message for message in self.unread(()) if message.id not in earlier), None)
            seconds = round(time.monotonic() - began, 3)
            if fresh is not None:
                return UserAnswer(text=fresh.text, message=fresh.id, seconds=seconds)
            if seconds >= timeout_s:
                return UserAnswer(text=None, seconds=seconds)
            await asyncio.sleep(min(_LOOK_EVERY_S, timeout_s - seconds))
