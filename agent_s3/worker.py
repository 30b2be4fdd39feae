"""The worker of one rollout: what the model is shown, what it decides, and how that is carried out."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent_s3.actions import Action, SaveToKnowledge
from agent_s3.approval import Approver
from agent_s3.code_agent import CodeAgent, CodeOutcome
from agent_s3.context import tool_tokens
from agent_s3.decide import Decision, decide, uses_tools
from agent_s3.elements import squeeze
from agent_s3.execute import Executed, Hands, execute
from agent_s3.gestures import phrases
from agent_s3.grounding import Grounder, NotFound, text
from agent_s3.grounding.chain import ChainGrounder
from agent_s3.grounding.model import ModelGrounder
from agent_s3.grounding.reading import ScreenReader
from agent_s3.grounding.text import TextGrounder
from agent_s3.grounding.tree import TreeGrounder
from agent_s3.history import Hints, Now, messages, pictures_wanted
from agent_s3.inbox import Inbox, with_added
from agent_s3.native_worker import NativeMind, Told
from agent_s3.observation import Observation
from agent_s3.prompt import render, turns
from agent_s3.record import FrameStore
from agent_s3.reflection import Reflector
from agent_s3.schema import ActionType, name_of, offered, signatures, tools
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally
from agent_s3.types import Grounding, Step, StepError, Task, UserAnswer, UserMessage
from llm.chat import ChatModel, Message
from llm.errors import ContextTooLong, LLMError
from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.machine import Machine
from vm_pool.types import Look, Window

log = logging.getLogger(__name__)

_LESS_OF_THE_PAST, _LEAST = (1.0, 0.5), 0.2
"""Shares of the context that are tried one after the other."""
_WINDOWS_TOLD = 12
_TITLE_SHOWN = 120


class Worker:
    """Knows the task, the model and the machine; keeps nothing of the past, which comes in as recorded steps."""

    def __init__(
        self,
        task: Task,
        machine: Machine,
        model: ChatModel,
        frames: FrameStore,
        settings: AgentSettings,
        *,
        index: int,
        code_notes: Path,
        inbox: Inbox,
        approver: Approver,
        eyes: ChatModel | None = None,
    ) -> None:
        """`code_notes`: file that receives what the coding agent runs, as it happens. `eyes`: the grounding model;
        None: the worker's own."""
        self._task = task
        self._machine = machine
        self._model = model
        self._frames = frames
        self._settings = settings
        self._index = index
        self._code_notes = code_notes
        self._inbox = inbox
        self._approver = approver
        native = settings.actions == "native"
        self._mind = NativeMind(model, frames, settings, approver) if native else None
        self._mode = settings.mode(model.abilities)
        self._short = settings.prompt_style(model.abilities) == "short"
        self._as_tools = uses_tools(model.abilities, short=self._short)
        self._eyes = eyes or model
        self._reader = ScreenReader()
        self._actions: tuple[ActionType, ...] = ()
        self._reflector = Reflector(
            model, task.instruction, frames, settings, short=self._short, pictures=self._shows_pictures
        )

    async def find_actions(self) -> None:
        """Ask the machine what it can do, so that no action is offered that it cannot. Raises: `MachineLost`."""
        can_run = await self._runs("true")
        has_office = can_run and await self._runs("which", "soffice")
        self._actions = offered(can_run=can_run, has_office=has_office, short=self._short, ask=self._settings.ask)

    async def _runs(self, *argv: str) -> bool:
        try:
            return (await self._machine.run(argv, timeout_s=10)).returncode == 0
        except (GuestError, GuestTimeout) as error:
            log.info("%r cannot be run on this machine: %s", " ".join(argv), error)
            return False

    def unread(self, steps: Sequence[Step]) -> tuple[UserMessage, ...]:
        """What the user said that the model has not been shown."""
        return self._inbox.unread(steps)

    async def decide(self, steps: Sequence[Step], before: Observation, tally: Tally) -> Decision:
        """Reflect if called for, then ask for the next action; a provider's fault is part of the answer."""
        said: str | None = None
        told = self.unread(steps)
        try:
            if self._mind and (onward := self._mind.go_on(steps, before)):
                return onward
            with tally.phase("reflect"):
                said = await self._reflector.before(steps, before.ref, tally)
            with tally.phase("decide"):
                async with self._reflector.beside(steps, before.ref, tally) as musing:
                    decision = await self._ask(steps, before, Hints(said, told), tally)
                    reflected = await musing
        except LLMError as error:
            return Decision(None, error=StepError(kind="model", message=str(error)), reflection=said, fatal=error)
        return replace(decision, told=told, reflection=said, reflected=reflected)

    async def _ask(self, steps: Sequence[Step], before: Observation, hints: Hints, tally: Tally) -> Decision:
        """Ask for the next action; with less of the past when the provider counts more tokens than we did."""
        if self._mind:
            told = Told(self._system(), self._task.instruction, self._state(steps, before), hints)
            return await self._mind.decide(told, steps, before, self._actions, tally)
        for share in _LESS_OF_THE_PAST:
            try:
                return await self._ask_with(steps, before, hints, tally, share=share)
            except ContextTooLong as error:
                log.warning("step %d: leaving out more of the past: %s", len(steps), error)
        return await self._ask_with(steps, before, hints, tally, share=_LEAST)

    async def _ask_with(
        self, steps: Sequence[Step], before: Observation, hints: Hints, tally: Tally, *, share: float
    ) -> Decision:
        return await decide(
            self._model,
            await self._messages(steps, before, hints, share),
            self._actions,
            settings=self._settings,
            seed=self._seed(len(steps)),
            as_tools=self._as_tools,
            tally=tally,
        )

    async def ground(
        self, decision: Decision, before: Observation, tally: Tally
    ) -> tuple[tuple[Grounding, ...], Executed | None]:
        """Points for all phrases of the action; or, when one is not found, the outcome of a step that does nothing."""
        if decision.places is not None:
            return decision.places, None
        wanted = phrases(decision.action) if decision.action else ()
        grounder = self._grounder(tally)
        places: list[Grounding] = []
        with tally.phase("ground"):
            for phrase in wanted:
                try:
                    place = await grounder.locate(before, phrase)
                except LLMError as error:
                    return tuple(places), Executed(error=StepError(kind="model", message=str(error)), fatal=error)
                if isinstance(place, NotFound):
                    error = StepError(kind="not_found", message=place.message)
                    return tuple(places), Executed(error=error, missed=place.tried)
                places.append(place)
        return tuple(places), None

    async def act(
        self, action: Action, places: Sequence[Grounding], *, step: int, request_id: str, tally: Tally
    ) -> Executed:
        """Carry the action of a step out, once."""

        async def write_code(part: str | None) -> CodeOutcome:
            agent = CodeAgent(
                self._model,
                self._machine,
                self._settings,
                tally,
                notes=self._code_notes,
                may_run=partial(self._approver.code, step=step),
                seed=self._seed(step),
            )
            return await agent.run(part or with_added(self._task.instruction, self._inbox.told), request_id=request_id)

        async def ask(question: str) -> UserAnswer:
            return await self._inbox.ask(question, timeout_s=self._settings.ask_timeout_s)

        hands = Hands(self._machine, self._settings, request_id, write_code, ask, self._read_span)
        return await execute(action, places, hands)

    async def _read_span(self, start: str, end: str) -> tuple[Grounding, Grounding] | None:
        """Where a text begins and ends on the screen as it is now. Raises: errors of `vm_pool.errors`."""
        if not self._settings.read_text:
            return None
        info, frame = self._machine.info, await self._machine.screenshot()
        seen = Observation(Look(frame=frame), info.width, info.height, origin=info.origin)
        return await text.locate_span(self._reader, seen, start, end)

    def _grounder(self, tally: Tally) -> Grounder:
        """The tree first: it is exact and free; then a model's eyes, where it has any; then the text on the picture."""
        chain: list[Grounder] = [TreeGrounder()]
        if self._eyes.abilities.images:
            form, refine = self._settings.ground_form, self._settings.refine
            chain.append(ModelGrounder(self._eyes, tally, form=form, refine=refine))
        if self._settings.read_text:
            chain.append(TextGrounder(self._reader))
        return ChainGrounder(chain)

    def _seed(self, step: int) -> int | None:
        """Another one for each rollout and step, so that equal prompts do not make equal rollouts."""
        return None if self._settings.seed is None else self._settings.seed + 10_000 * self._index + 100 * step

    @property
    def _shows_pictures(self) -> bool:
        return self._mode != "a11y"

    async def _messages(
        self, steps: Sequence[Step], before: Observation, hints: Hints, share: float
    ) -> tuple[Message, ...]:
        current = before.ref.sha256 if before.ref and self._shows_pictures else None
        abilities = self._model.abilities
        room = abilities.context_tokens - self._settings.reply_tokens(abilities) - self._tool_tokens()
        return messages(
            system=self._system(),
            task=self._task.instruction,
            steps=steps,
            now=Now(self._state(steps, before), hints, current),
            pictures=await self._pictures(steps, before),
            images_kept=self._images_kept,
            as_tools=self._as_tools,
            examples=self._examples(),
            context_tokens=int(room * share),
        )

    def _tool_tokens(self) -> int:
        return tool_tokens(tools(self._actions)) if self._as_tools else 0

    async def _pictures(self, steps: Sequence[Step], before: Observation) -> dict[str, bytes]:
        """The PNG files of the newest screens by sha256; none for a model without eyes."""
        if not self._shows_pictures:
            return {}
        wanted = pictures_wanted(steps, before.ref, keep=self._images_kept)
        return {sha256: await self._frames.png(ref) for sha256, ref in wanted.items()}

    @property
    def _images_kept(self) -> int:
        limit = self._model.abilities.max_images
        return min(limit, self._settings.images_kept) if limit else self._settings.images_kept

    @property
    def _writes_code(self) -> bool:
        return "call_code_agent" in {name_of(action) for action in self._actions}

    def _examples(self) -> tuple[Message, ...]:
        """A small model learns more from example turns than from rules."""
        return turns("worker_short_examples", code=self._writes_code) if self._short else ()

    def _system(self) -> str:
        info = self._machine.info
        return render(
            "worker_native" if self._mind else "worker_short" if self._short else "worker",
            platform=info.platform,
            width=info.width,
            height=info.height,
            user=info.user,
            home=info.home,
            pictures=self._shows_pictures,
            elements=self._mode != "screenshot",
            as_text=not self._as_tools,
            signatures=signatures(self._actions),
            code=self._writes_code,
            asks=self._settings.ask,
        )

    def _state(self, steps: Sequence[Step], before: Observation) -> str:
        listed = self._mode != "screenshot"
        windows = before.look.windows
        return render(
            "state",
            notes=_notes(steps),
            windows=_window_words(windows) if listed and windows is not None else None,
            elements=before.elements.lines() if listed else None,
            short=self._short,
            step=len(steps) + 1,
            max_steps=self._settings.max_steps,
        )


def _notes(steps: Sequence[Step]) -> list[str]:
    """What was saved to knowledge and not lost to an error, in order, each once."""
    saved = [s.action.text for s in steps if isinstance(s.action, SaveToKnowledge) and s.error is None]
    return list(dict.fromkeys(note for notes in saved for note in notes))


def _window_words(windows: Sequence[Window]) -> list[str]:
    """The topmost windows, topmost last."""
    return [_window(w) for w in windows[-_WINDOWS_TOLD:]]


def _window(window: Window) -> str:
    state = " (active)" if window.active else " (minimized)" if window.minimized else ""
    title, name = squeeze(window.title, _TITLE_SHOWN), squeeze(window.app, _TITLE_SHOWN)
    app = f" [{name}]" if name and name.casefold() not in title.casefold() else ""
    return f'"{title}"{app}{state}'
