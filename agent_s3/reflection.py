"""Reflection that earns its call: a second look at the way so far, when the record calls for one.

What the record shows (`agent_s3.evidence`) is told to the worker at once and costs nothing. A model is asked on top of
it either before the decision, which then waits for it, or beside the decision: both questions are under way at the same
time, and what comes of it is recorded with the step and told to the next decision. So no decision is ever taken back,
and a resumed rollout is told the same as one that was not stopped.

Source: the reflection agent of Agent S2 and S3 (arXiv 2504.00906, 2510.02250), which is asked at every step.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from agent_s3 import evidence
from agent_s3.history import outcome_words
from agent_s3.prompt import render
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings, answer_tokens
from agent_s3.tally import Tally
from agent_s3.types import FrameRef, Step
from agent_s3.words import action_words
from llm.chat import ChatModel, ImagePart, Message, Part, Request, TextPart
from llm.errors import BadReply, LLMError

log = logging.getLogger(__name__)

_TOLD_STEPS = 8
_REST = 2
"""So many steps after a paid reflection there is none on evidence: the worker needs them to act on it."""


class Reflector:
    """Decides whether to reflect, and does; keeps nothing of the past, which comes in as recorded steps."""

    def __init__(
        self, model: ChatModel, task: str, frames: FrameStore, settings: AgentSettings, *, short: bool, pictures: bool
    ) -> None:
        self._model = model
        self._task = task
        self._frames = frames
        self._settings = settings
        self._short = short
        """A small model is only told the plain facts."""
        self._pictures = pictures

    async def before(self, steps: Sequence[Step], now: FrameRef | None, tally: Tally) -> str | None:
        """What to tell the worker before it decides; None: nothing. Raises: errors of `llm.errors` but `BadReply`."""
        found = self._evidence(steps)
        earlier = steps[-1].reflected if steps and self._settings.reflection != "never" else None
        asked = None
        if self._asks(steps, found) and not self._settings.reflects_beside:
            asked = await self._ask(steps, found, now, tally)
        return "\n".join(text for text in (found, earlier, asked) if text) or None

    @asynccontextmanager
    async def beside(
        self, steps: Sequence[Step], now: FrameRef | None, tally: Tally
    ) -> AsyncGenerator[asyncio.Future[str | None]]:
        """Reflect while the block runs, if that is wanted. A reflection that fails is none: the step goes on."""
        found = self._evidence(steps)
        wanted = self._asks(steps, found) and self._settings.reflects_beside
        musing = asyncio.ensure_future(self._quietly(steps, found, now, tally) if wanted else _nothing())
        try:
            yield musing
        finally:
            musing.cancel()
            await asyncio.wait([musing])

    def _evidence(self, steps: Sequence[Step]) -> str | None:
        if self._settings.reflection == "never":
            return None
        return evidence.words(evidence.signs(steps, max_steps=self._settings.max_steps))

    def _asks(self, steps: Sequence[Step], found: str | None) -> bool:
        """Whether a model is asked."""
        if self._short or not steps or self._settings.reflection == "never":
            return False
        return self._settings.reflection == "always" or (found is not None and rested(steps))

    async def _quietly(
        self, steps: Sequence[Step], found: str | None, now: FrameRef | None, tally: Tally
    ) -> str | None:
        try:
            return await self._ask(steps, found, now, tally)
        except LLMError as error:
            log.warning("no reflection beside step %d: %s", len(steps), error)
            return None

    async def _ask(self, steps: Sequence[Step], found: str | None, now: FrameRef | None, tally: Tally) -> str | None:
        picture = await self._frames.png(now) if now and self._pictures else None
        request = _request(self._task, steps, found, picture, answer_tokens(self._model.abilities))
        try:
            completion = await tally.ask(self._model, request, role="reflection")
        except BadReply:
            return None
        return completion.text.strip() or None


async def _nothing() -> None:
    return None


def rested(steps: Sequence[Step]) -> bool:
    """Whether the last paid reflection lies long enough back. Pure."""
    return not any("reflection" in step.usage for step in steps[-_REST:])


def _request(task: str, steps: Sequence[Step], found: str | None, picture: bytes | None, most_tokens: int) -> Request:
    lines = [_told(step) for step in steps[-_TOLD_STEPS:]]
    text = render("reflection", task=task, steps=lines, evidence=found, picture=picture is not None)
    parts: list[Part] = [TextPart(text), *([ImagePart(picture)] if picture else [])]
    return Request(messages=(Message("user", tuple(parts)),), max_tokens=most_tokens)


def _told(step: Step) -> str:
    did = action_words(step.action) if step.action else "no usable reply"
    return f"{step.index + 1}. {did}. Thought: {step.thought[:500]}\n{outcome_words(step)}"
