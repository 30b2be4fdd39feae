"""Where actions are proven: a desktop, a recording X client in it, and an agent that does what it is told."""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from agent_s3.actions import Action
from agent_s3.agent import run_rollout
from agent_s3.contract.story import Deed, drag, story, tell
from agent_s3.inbox import tell as tell_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step, Task
from llm.chat import Abilities
from llm.scripted import Reply, ScriptedModel
from vm_pool.contract.check import ContractBroken, expect
from vm_pool.contract.pace import stretched
from vm_pool.contract.witness import Seen, Watch, watching
from vm_pool.errors import GuestFileNotFound
from vm_pool.events import Drag
from vm_pool.machine import Machine
from vm_pool.types import Node

T = TypeVar("T")
PROGRAMS = Path(__file__).parent / "programs"
_BLIND = Abilities(tools=True, schema=True, context_tokens=1_000_000)
"""Grounding is by words alone: no model of ours looks at pictures here."""
_LIMIT_S = 40.0
"""LibreOffice takes a long text slowly, the more so on a busy host."""
_POLL_S = 0.05
_SHOWN = 160
_COMM = 15
"""So much of a program's name does the kernel keep."""


@dataclass
class Proof:
    """What both witnesses said during one check."""

    events: str = ""
    """Empty: the X event log was not asked."""
    state: str = ""
    """Empty: the application was not asked."""


@dataclass(frozen=True)
class Played:
    """What the agent recorded of the actions that it was told to do."""

    result: RolloutResult
    steps: Sequence[Step]
    model: ScriptedModel

    @property
    def step(self) -> Step:
        """The first, or only, one."""
        return self.steps[0]

    def at(self, place: int = 0, *, step: int = 0) -> tuple[int, int]:
        """Screen pixels that a phrase of a step was grounded to."""
        found = self.steps[step].grounding[place]
        return found.x, found.y


class Stage:
    """One machine on which one action after the other is done by a rollout and watched."""

    def __init__(self, machine: Machine, watch: Watch, folder: Path) -> None:
        self.machine = machine
        self.proof = Proof()
        self._watch = watch
        self._folder = folder
        self._played = 0

    async def do(self, *actions: Action, replies: Sequence[Reply] = (), user: str = "") -> Played:
        """Let an agent do these actions one after the other; `user` is what its user answers to each question.

        Raises: `ContractBroken` when a step has an error.
        """
        played = await self.play(*actions, replies=replies, user=user)
        errors = [step.error.message for step in played.steps if step.error]
        expect(not errors, f"the agent was told: {'; '.join(errors)}")
        expect(len(played.steps) == len(actions), f"{len(actions)} actions became {len(played.steps)} steps")
        return played

    async def refused(self, action: Action, *, because: Sequence[str]) -> str:
        """Do an action that must be refused, with a message that holds all these words."""
        step = (await self.play(action)).step
        if step.error is None:
            raise ContractBroken(f"{action.action} was not refused")
        message = step.error.message
        missing = [word for word in because if word not in message]
        expect(not missing, f"{missing} is not in the refusal: {message}")
        return message

    async def play(self, *actions: Action, replies: Sequence[Reply] = (), user: str = "") -> Played:
        """As `do`, whatever comes of it; events that came before are forgotten."""
        await self.forget()
        self._played += 1
        paths = RunPaths(self._folder / f"run-{self._played}")
        model = ScriptedModel([*map(_reply, actions), *replies, _REFLECTION], abilities=_BLIND)
        frames = FrameStore(paths.frames)
        result = await run_rollout(
            Task(id="contract", instruction="Do as you are told"),
            self.machine,
            model,
            index=0,
            paths=paths,
            frames=frames,
            settings=AgentSettings(
                style="full",
                max_steps=len(actions),
                open_timeout_s=stretched(60),
                ask=bool(user),
                ask_timeout_s=stretched(_LIMIT_S),
            ),
            on_step=lambda _step, _before, _after: None,
            on_ask=lambda _question, _s: _answer(paths, user),
        )
        expect(result.status in _ENDS, f"the rollout ended with {result.status}: {result.reason}")
        return Played(result, read_lines(paths.rollout(0).trajectory, Step), model)

    async def forget(self) -> None:
        """What X has seen so far is not part of what comes."""
        await self._watch.clear()

    async def saw(self, *deeds: Deed) -> None:
        """The first witness: the X server saw exactly these. Raises: `ContractBroken`."""

        def enough(events: list[Seen]) -> bool:
            return not deeds or story(events) == deeds

        seen = story(await self._watch.until(enough))
        self.proof.events = tell(seen)
        expect(seen == deeds, f"X saw {tell(seen)}; it should have seen {tell(deeds)}")

    async def saw_a_drag(self, played: Played) -> None:
        """The first witness of a highlight: X saw the drag that was recorded, and nothing else."""
        (event,) = played.step.events
        expect(isinstance(event, Drag), f"a {event.type} was recorded, not a drag")
        assert isinstance(event, Drag)
        await self.saw(drag(event.x, event.y, event.to_x, event.to_y))

    async def refused_untouched(self, action: Action, *, because: Sequence[str]) -> None:
        """Both witnesses of a refusal: X saw no event, and the agent was told why in these words."""
        message = await self.refused(action, because=because)
        await self.saw()
        self.proof.state = f"the agent was told: {shortened(message)}"

    async def found(self, what: str, ask: Callable[[], Awaitable[T]], wanted: T) -> None:
        """The second witness: ask the application until its answer is the wanted one. Raises: `ContractBroken`."""
        found = await self.until(ask, lambda answer: answer == wanted)
        self.proof.state = f"{what}: {shortened(repr(found))}"
        expect(found == wanted, f"{what} is {shortened(repr(found))}, not {shortened(repr(wanted))}")

    async def holds(self, what: str, ask: Callable[[], Awaitable[T]], true: Callable[[T], bool]) -> T:
        """As `found`, for an answer that must only fulfil a condition; returns it."""
        found = await self.until(ask, true)
        self.proof.state = f"{what}: {shortened(repr(found))}"
        expect(true(found), f"{what} is {shortened(repr(found))}")
        return found

    async def until(self, ask: Callable[[], Awaitable[T]], true: Callable[[T], bool]) -> T:
        """Ask again and again; the last answer when the time is over."""
        deadline = time.monotonic() + stretched(_LIMIT_S)
        while not true(answer := await ask()) and time.monotonic() < deadline:  # noqa: ASYNC110 - it is in the machine
            await asyncio.sleep(_POLL_S)
        return answer

    async def node(self, true: Callable[[Node], bool], what: str) -> Node:
        """The first such element of the accessibility tree, as soon as there is one. Raises: `ContractBroken`."""

        async def find() -> Node | None:
            return next((node for node in (await self.machine.tree()).root.walk() if true(node)), None)

        node = await self.until(find, lambda found: found is not None)
        if node is None:
            raise ContractBroken(f"{what} is not in the accessibility tree")
        return node

    async def nodes(self, true: Callable[[Node], bool]) -> list[Node]:
        """All such elements of the accessibility tree, now."""
        return [node for node in (await self.machine.tree()).root.walk() if true(node)]

    async def text_of(self, path: str) -> str | None:
        """A file's text; None: it is not there."""
        try:
            return (await self.machine.read(path)).decode()
        except GuestFileNotFound:
            return None

    async def primary(self) -> str:
        """The PRIMARY selection: what is selected in any program, as another program gets it."""
        done = await self.machine.run(["timeout", "2", "xclip", "-o", "-selection", "primary"], timeout_s=10)
        return done.stdout if done.returncode == 0 else ""

    async def clipboard(self) -> str:
        """The clipboard's text, as another program gets it."""
        done = await self.machine.run(["timeout", "2", "xclip", "-o", "-selection", "clipboard"], timeout_s=10)
        return done.stdout if done.returncode == 0 else ""

    async def select(self, text: str) -> None:
        """Make that the PRIMARY selection, as another program's."""
        command = 'printf %s "$1" | xclip -selection primary'
        await self.machine.run(["sh", "-c", command, "sh", text], timeout_s=10)

    async def shows(self, role: str, name: str) -> None:
        """The second witness: an element of that role shows whose name begins with that. Raises: `ContractBroken`."""

        def fits(node: Node) -> bool:
            return node.role == role and node.name.startswith(name) and node.box is not None

        node = await self.node(fits, f"a {role} {name!r}")
        self.proof.state = f"AT-SPI shows the {role} {node.name!r}"

    async def titles(self) -> list[str]:
        """Titles of all windows, topmost last."""
        return [window.title for window in await self.machine.windows()]

    async def quiet(self) -> None:
        """Wait until a program that was just started has drawn itself."""
        await self.machine.settle(quiet_ms=600, timeout_ms=int(stretched(20) * 1000))

    async def end(self, *programs: str) -> None:
        """End programs by their names in the machine, and wait until their windows are gone."""
        for name in programs:
            await self.machine.run(["pkill", "-x", name[:_COMM]], timeout_s=10)
        left = await self.until(self.titles, lambda titles: not titles)
        expect(not left, f"windows are still open: {left}")


@asynccontextmanager
async def stage_on(machine: Machine) -> AsyncGenerator[Stage]:
    """Raises: `NotApplicable` when no recording X client can run in the machine."""
    with tempfile.TemporaryDirectory(prefix="agent-s3-actions-") as folder:
        async with watching(machine, recorder=PROGRAMS / "watch_input.py") as watch:
            yield Stage(machine, watch, Path(folder))


def shortened(text: str, limit: int = _SHOWN) -> str:
    """Beginning and end of a text, which may be very long."""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]} ({len(text)} characters)"


_ENDS = frozenset({"step_limit", "done", "fail"})
_REFLECTION = Reply(role="reflection", text="Go on.", times=0)


def _answer(paths: RunPaths, text: str) -> None:
    tell_rollout(paths.inbox, text, rollout=0, at=datetime.now(UTC))


def _reply(action: Action) -> Reply:
    data = {"thought": "I was told to.", **action.model_dump(mode="json")}
    return Reply.model_validate({"role": "worker", "json": data})
