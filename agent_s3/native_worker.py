"""The part of a worker that uses its provider's own computer tool: what it is shown, and what it asks for."""

import asyncio
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from agent_s3.approval import Approver
from agent_s3.coordinates import View
from agent_s3.decide import Decision
from agent_s3.history import Hints, Now
from agent_s3.native import LIMITS, Sight
from agent_s3.native_history import KEPT, native_messages, picture_key, shown_part, turns
from agent_s3.native_turn import BESIDE, NativeAsk, decide_natively, go_on, own_actions
from agent_s3.observation import Observation
from agent_s3.record import FrameStore
from agent_s3.schema import ActionType
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally
from agent_s3.types import FrameRef, Step
from llm.chat import ChatModel, ComputerDialect
from llm.errors import ContextTooLong, Refused
from vm_pool.types import Box

log = logging.getLogger(__name__)

_CLOSER = 4.0
"""A part that the model asks to see closer is enlarged at most so much."""


@dataclass(frozen=True)
class Told:
    """What the model is told in words."""

    system: str
    task: str
    state: str
    hints: Hints


class NativeMind:
    """Keeps nothing of the past but pictures made ready to send."""

    def __init__(self, model: ChatModel, frames: FrameStore, settings: AgentSettings, approver: Approver) -> None:
        self._model = model
        self._frames = frames
        self._settings = settings
        self._approver = approver
        self._ready: dict[str, bytes] = {}

    @property
    def _dialect(self) -> ComputerDialect:
        """Raises: `Refused` when the model has no computer tool."""
        if self._model.abilities.computer is None:
            raise Refused(f"{self._model.name} has no computer tool that we know: use --actions own, or another model")
        return self._model.abilities.computer

    def sight(self, seen: Observation) -> Sight:
        """What the model is shown of an observation. Raises: `Refused`."""
        frame = seen.display.frame
        whole = Box(x=0, y=0, width=frame.width, height=frame.height)
        return Sight(View.of(whole, LIMITS[self._dialect]), seen.display, seen.look.pointer)

    def go_on(self, steps: Sequence[Step], seen: Observation) -> Decision | None:
        """The next action of a call that is not carried out wholly; None: the model is to be asked."""
        return go_on(steps, self.sight(seen))

    async def decide(
        self, told: Told, steps: Sequence[Step], seen: Observation, actions: Sequence[ActionType], tally: Tally
    ) -> Decision:
        """Ask for the next action; with less of the past when it is too much for the model.

        Raises: errors of `llm.errors` other than `BadReply`, `agent_s3.record.RecordError`.
        """
        for kept in (KEPT, KEPT // 4):
            try:
                return await self._ask(told, steps, seen, actions, tally, kept=kept)
            except ContextTooLong as error:
                log.warning("step %d: leaving out more of the past: %s", len(steps), error)
        return await self._ask(told, steps, seen, actions, tally, kept=1)

    async def _ask(
        self,
        told: Told,
        steps: Sequence[Step],
        seen: Observation,
        actions: Sequence[ActionType],
        tally: Tally,
        *,
        kept: int,
    ) -> Decision:
        pictures = await self._pictures(steps, seen.ref)
        now = Now(told.state, told.hints, seen.ref.sha256 if seen.ref else None)
        messages = native_messages(
            system=told.system, task=told.task, steps=steps, now=now, pictures=pictures, kept=kept
        )
        own = own_actions(actions, BESIDE)
        ask = NativeAsk(self._model, own, self._settings, self._approver, step=len(steps))
        return await decide_natively(ask, messages, self.sight(seen), tally)

    async def _pictures(self, steps: Sequence[Step], now: FrameRef | None) -> dict[str, bytes]:
        """The newest screens, by `picture_key`: each as it was asked to be seen."""
        groups = turns(steps)
        wanted: list[tuple[FrameRef | None, Box | None]] = [(groups[0][0].before if groups else now, None)]
        following = [*(group[0].before for group in groups[1:]), now]
        wanted += [(ref, shown_part(group)) for group, ref in zip(groups, following, strict=True)] if groups else []
        newest = [(ref, part) for ref, part in wanted if ref is not None][-self._kept :]
        made = {picture_key(ref.sha256, part): await self._picture(ref, part) for ref, part in newest}
        self._ready = made
        return made

    @property
    def _kept(self) -> int:
        limit = self._model.abilities.max_images
        return min(limit, self._settings.images_kept) if limit else self._settings.images_kept

    async def _picture(self, ref: FrameRef, part: Box | None) -> bytes:
        key = picture_key(ref.sha256, part)
        if key not in self._ready:
            whole = Box(x=0, y=0, width=ref.width, height=ref.height)
            view = View.of(part or whole, LIMITS[self._dialect], enlarge=_CLOSER if part else 1.0)
            self._ready[key] = await asyncio.to_thread(_shown, await self._frames.png(ref), view)
        return self._ready[key]


def _shown(png: bytes, view: View) -> bytes:
    """The view of a frame, from its PNG file; the file itself when nothing is cut or scaled."""
    with Image.open(io.BytesIO(png)) as image:
        part = view.part
        if (image.width, image.height) == (part.width, part.height) == (view.width, view.height):
            return png
        cut = image.crop((part.x, part.y, part.x + part.width, part.y + part.height))
        scaled = cut.resize((view.width, view.height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    scaled.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
