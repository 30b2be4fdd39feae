"""Turns the steps of one rollout into facts while it runs, and never holds it up.

Two workers in a row: the first computes facts from each step's delta and cuts the pictures, the second asks a model.
A model that sees is asked about steps in which pixels changed. A model that only reads is asked only when the user
named it as the narrator and more was measured than the computed facts tell: a 1.5B model added inventions and seconds
to evidence that was complete without it. Whatever fails here costs facts of one step, never the rollout.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from agent_s3.ocr import OcrMissing
from agent_s3.paths import RolloutPaths
from agent_s3.record import FrameStore, RecordError, append_line, read_lines, read_model, write_atomically
from agent_s3.rollout_log import RolloutStart
from agent_s3.types import FrameRef, Step
from bbon import crop, describe, facts
from bbon.contradictions import Measured, contradiction, support
from bbon.describe import Views
from bbon.patience import patiently
from bbon.reading import Reading, TextReader, lines, places, read
from bbon.types import Fact, FactsFound, Listener
from llm.chat import ChatModel
from llm.errors import LLMError
from vm_pool.types import Box, Frame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Transition:
    """A step and its frames, as far as they are at hand."""

    step: Step
    before: Frame | None
    after: Frame | None
    computed: tuple[Fact, ...] = ()
    """Facts that are written already, when only the model's are missing."""


@dataclass(frozen=True)
class _Question:
    """What the second worker asks a model about."""

    step: Step
    computed: tuple[Fact, ...]
    views: Views | None
    """None: asked in words."""
    reading: Reading | None = None
    """None: nothing was read from the screen."""
    crop: Box | None = None


@dataclass(frozen=True)
class _Made:
    """The pictures of a transition, and the frame that they end in."""

    pictures: crop.Pictures
    after: Frame


class Narrator:
    """The narrator of one rollout; feed it with `on_step` inside `working()`."""

    def __init__(
        self,
        index: int,
        paths: RolloutPaths,
        frames: FrameStore,
        model: ChatModel | None,
        *,
        listener: Listener,
        named: bool = False,
        reader: TextReader | None = None,
    ) -> None:
        """`model` None: computed facts only. `named`: the user chose this narrator, see the module.

        `reader`: reads text for a model that sees; None: nobody does.
        """
        self._index = index
        self._paths = paths
        self._frames = frames
        self._model = model
        self._listener = listener
        self._reader = reader
        self._sees = model is not None and model.abilities.images
        self._reads = model is not None and not model.abilities.images and named
        self._steps: asyncio.Queue[_Transition | None] = asyncio.Queue()
        self._questions: asyncio.Queue[_Question | None] = asyncio.Queue()
        self._taken = set[int]()

    def on_step(self, step: Step, before: Frame | None, after: Frame | None) -> None:
        """Take a recorded step; returns at once."""
        self._taken.add(step.index)
        self._steps.put_nowait(_Transition(step, before, after))

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[Self]:
        """Work in the background; leaving the block waits until all steps taken so far are told."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._compute())
            group.create_task(self._ask())
            try:
                yield self
            finally:
                self._steps.put_nowait(None)

    def catch_up(self, steps: Iterable[Step]) -> None:
        """Take those recorded steps that nobody told of, here or in an earlier session. Raises: `RecordError`."""
        told: dict[int, list[Fact]] = {}
        for fact in read_lines(self._paths.narrative, Fact):
            told.setdefault(fact.step, []).append(fact)
        for step in (step for step in steps if step.index not in self._taken):
            known = told.get(step.index, [])
            if not known or (self._due(step) and all(fact.source == "delta" for fact in known)):
                self._taken.add(step.index)
                self._steps.put_nowait(_Transition(step, None, None, tuple(known)))

    def _due(self, step: Step) -> bool:
        """Whether the model is to be asked about this step."""
        return (self._sees and describe.shows_something(step)) or (self._reads and describe.tells_more(step))

    async def _compute(self) -> None:
        while (transition := await self._steps.get()) is not None:
            try:
                question = await self._first_pass(transition)
            except Exception:
                log.exception("rollout %d: step %d was not narrated", self._index, transition.step.index)
                continue
            if question is not None:
                self._questions.put_nowait(question)
        self._questions.put_nowait(None)

    async def _first_pass(self, transition: _Transition) -> _Question | None:
        """Write the computed facts and the crops; a question when the model is to be asked."""
        step, computed = transition.step, transition.computed
        if not computed:
            computed = facts.of_step(step)
            self._tell(computed)
        made = await self._pictures(transition)
        if not self._due(step):
            return None
        if not self._sees:
            return _Question(step, computed, None)
        return None if made is None else await self._with_pictures(step, computed, made)

    async def _pictures(self, transition: _Transition) -> _Made | None:
        step = transition.step
        if crop.place(step.events, step.delta) is None or step.before is None or step.after is None:
            return None
        before = transition.before or await self._load(step.before)
        after = transition.after or await self._load(step.after)
        return await patiently(self._cut, step, before, after)

    async def _with_pictures(self, step: Step, computed: tuple[Fact, ...], made: _Made) -> _Question | None:
        """Encode what the model is to see, and read what it may misread."""
        if step.after is None:
            return None
        after = await self._frames.png(step.after)
        views = await patiently(_views, step, made.pictures, after)
        return _Question(step, computed, views, await self._read(step, made), made.pictures.box)

    async def _read(self, step: Step, made: _Made) -> Reading | None:
        if self._reader is None or step.delta is None:
            return None
        after = made.after
        where = places(step.delta.regions, crop=made.pictures.box, width=after.width, height=after.height)
        try:
            return await patiently(read, self._reader, after, where)
        except OcrMissing as error:
            log.warning("rollout %d: %s", self._index, error)
            self._reader = None
            return None

    def _cut(self, step: Step, before: Frame, after: Frame) -> _Made | None:
        made = crop.pictures(step.events, step.delta, before, after)
        if made is None:
            return None
        write_atomically(self._paths.crop(step.index, "before"), crop.png(made.crop_before))
        write_atomically(self._paths.crop(step.index, "after"), crop.png(made.crop_after))
        return _Made(made, after)

    async def _load(self, ref: FrameRef) -> Frame:
        data = await self._frames.png(ref)
        return await patiently(Frame.from_image_file, data, taken_at=0.0)

    async def _ask(self) -> None:
        while (question := await self._questions.get()) is not None:
            step = question.step.index
            try:
                self._tell(await self._described(question))
            except (LLMError, RecordError, ValueError) as error:
                log.warning("rollout %d: the narrator model failed at step %d: %s", self._index, step, error)
                note = f"The narrator model failed at this step ({type(error).__name__}); computed facts only."
                self._tell((Fact(step=step, text=note, source="note"),))

    async def _described(self, question: _Question) -> tuple[Fact, ...]:
        """The model's facts, those that cannot be true as notes.

        Raises: errors of `llm.errors`, `RecordError`, `ValueError` for a useless reply.
        """
        assert self._model is not None
        said = lines(question.reading) if question.reading else ()
        asked = describe.request(question.step, question.computed, question.views, self._model.abilities, read=said)
        completion = await self._model.complete(asked, role="narrator")
        told = describe.read_reply(question.step.index, completion.text)
        measured = self._measured(question)
        return told if measured is None else tuple(_checked(fact, measured) for fact in told)

    def _measured(self, question: _Question) -> Measured | None:
        step, start = question.step, self._start()
        if step.delta is None:
            return None
        turns = step.code.turns if step.code else ()
        return Measured(
            delta=step.delta,
            said=(
                *(fact.text for fact in question.computed if any(e.kind != "screen" for e in fact.evidence)),
                step.action.model_dump_json() if step.action else "",
                *(text for turn in turns for text in (turn.code, turn.output)),
            ),
            reading=question.reading,
            crop=question.crop,
            lists_windows=start is not None and start.windows is not None,
            keeps_journal=start is not None and start.cursor is not None,
        )

    def _start(self) -> RolloutStart | None:
        """What this machine can tell at all; None: not known, and then what is missing contradicts nothing."""
        try:
            return read_model(self._paths.start, RolloutStart) if self._paths.start.exists() else None
        except RecordError as error:
            log.warning("rollout %d: %s", self._index, error)
            return None

    def _tell(self, found: tuple[Fact, ...]) -> None:
        """Append facts to the narrative and tell the listener. A disk that is full costs the file, not the rollout."""
        try:
            for fact in found:
                append_line(self._paths.narrative, fact)
        except RecordError:
            log.exception("rollout %d: facts could not be written", self._index)
        self._listener(FactsFound(rollout=self._index, facts=found))


def _views(step: Step, made: crop.Pictures, after: bytes) -> Views:
    """Encode what the model is to see."""
    width, height = made.marked.size
    return Views(
        marked=crop.jpeg(made.marked),
        after=after,
        crop=crop.png(crop.zoomed(made.crop_after)),
        place=crop.place(step.events, None),
        width=width,
        height=height,
    )


def _checked(fact: Fact, measured: Measured) -> Fact:
    """The fact with what it rests on; as a note when it cannot be true."""
    if reason := contradiction(fact.text, measured):
        return fact.model_copy(update={"source": "note", "dropped": reason})
    return fact.model_copy(update={"evidence": support(fact.text, measured)})
