"""Doing recorded steps again on another machine, each exactly once and each checked against what it did then.

Nothing is decided anew and no model is asked: what is sent are the recorded events, and for the few actions that are
not made of events the recorded action; snippets of the coding agent are run again. At the first step that does not do
what it did it stops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent_s3.actions import Action
from agent_s3.code_agent import CodeOutcome
from agent_s3.desk import Desk
from agent_s3.execute import Executed, Hands, execute
from agent_s3.observation import Observation
from agent_s3.record import FrameStore, RecordError
from agent_s3.replay_check import Difference, as_seen, did_nothing, differences, replayable, screen_difference
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally
from agent_s3.types import CodeReport, CodeTurn, FrameRef, Frozen, Step, StepError, UserAnswer
from agent_s3.words import action_words
from tools.code import Interpreter
from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.machine import Machine
from vm_pool.types import Frame

_LOOKS = 4
"""A busy machine may not have shown all at the first look; only the last one counts against it."""


def _no_noise(_path: str) -> bool:
    return False


class Replayed(Frozen):
    """One step as it was done again."""

    step: int
    did: str
    """The action in words."""
    outcome: Literal["same", "skipped", "diverged"]
    """`skipped`: the recorded step had sent nothing."""
    differences: tuple[Difference, ...] = ()

    @property
    def words(self) -> str:
        """One line."""
        return "; ".join(difference.words for difference in self.differences) or self.outcome


class ReplayReport(Frozen):
    """How far a replay came."""

    steps: tuple[Replayed, ...]

    @property
    def diverged(self) -> Replayed | None:
        """The step that did not do what it did then; None: all did."""
        return self.steps[-1] if self.steps and self.steps[-1].outcome == "diverged" else None


def nobody(_step: Replayed) -> None:
    """The listener that ignores all."""


@dataclass(frozen=True)
class Stage:
    """On what and with what is replayed."""

    machine: Machine
    frames: FrameStore
    """That of the run, from which recorded pictures are read."""
    settings: AgentSettings
    request_prefix: str
    """Of the ids of what is sent, so that the machine executes nothing twice; other than that of the recording."""
    kept: FrameStore | None = None
    """Receives the pictures that are seen now; None: that of the run."""
    ignore: Callable[[str], bool] = _no_noise
    """Which files are noise."""
    on_step: Callable[[Replayed], None] = nobody


async def replay(steps: Sequence[Step], stage: Stage, *, first: FrameRef | None = None) -> ReplayReport:
    """Do steps again, in order, until one diverges. `first`: the picture that they began with; None: not compared.

    Raises: errors of `vm_pool.errors` when the machine is lost or does not answer.
    """
    return await _Replay(stage).run(steps, first)


class _Replay:
    """One replay in progress."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._desk = Desk(stage.machine, stage.kept or stage.frames, stage.settings, short=False)
        self._done: list[Replayed] = []

    async def run(self, steps: Sequence[Step], first: FrameRef | None) -> ReplayReport:
        before = await self._desk.observe(since=None)
        before, unlike = await self._same_start(before, first)
        if unlike is not None:
            self._tell(Replayed(step=-1, did="start", outcome="diverged", differences=(unlike,)))
            return self._report()
        for step in steps:
            before = await self._step(step, before)
            if self._report().diverged:
                break
        return self._report()

    def _report(self) -> ReplayReport:
        return ReplayReport(steps=tuple(self._done))

    def _tell(self, done: Replayed) -> None:
        self._done.append(done)
        self._stage.on_step(done)

    async def _same_start(self, before: Observation, first: FrameRef | None) -> tuple[Observation, Difference | None]:
        """The first look at which the desktop is as it was, or the last one and what differs."""
        wanted, unlike = await self._recorded(first), None
        for _ in range(_LOOKS):
            unlike = screen_difference(wanted, before.frame) if wanted and before.frame else None
            if unlike is None:
                return before, None
            await self._quiet()
            before = await self._desk.observe(since=None)
        return before, unlike

    async def _quiet(self) -> None:
        await self._stage.machine.settle(timeout_ms=self._stage.settings.settle_timeout_ms)

    async def _step(self, step: Step, before: Observation) -> Observation:
        """Do one step again and tell of it; returns what was seen afterwards."""
        did = action_words(step.action) if step.action else "no usable reply"
        if reason := replayable(step):
            wrong = Difference(aspect="action", recorded=did, now=reason)
            self._tell(Replayed(step=step.index, did=did, outcome="diverged", differences=(wrong,)))
            return before
        if step.action is None or did_nothing(step):
            self._tell(Replayed(step=step.index, did=did, outcome="skipped"))
            return before
        done = await self._do(step.action, step)
        if done.error is not None:
            wrong = Difference(aspect="action", recorded=did, now=done.error.message)
            self._tell(Replayed(step=step.index, did=did, outcome="diverged", differences=(wrong,)))
            return before
        seen, wrong = await self._checked(step, done, before)
        self._tell(Replayed(step=step.index, did=did, outcome="diverged" if wrong else "same", differences=wrong))
        return seen

    async def _do(self, action: Action, step: Step) -> Executed:
        """Send what was sent; a lost machine is raised."""
        machine, request_id = self._stage.machine, f"{self._stage.request_prefix}-{step.index}"
        if step.events:
            try:
                await machine.perform(step.events, request_id=request_id)
            except (GuestError, GuestTimeout) as error:
                return Executed(error=StepError(kind="refused_by_guest", message=str(error)))
            return Executed(events=step.events)
        if step.code is not None:
            return Executed(code=await self._run_again(step.code, request_id))
        hands = Hands(machine, self._stage.settings, request_id, _no_code, _no_question, _no_span)
        done = await execute(action, step.grounding, hands)
        if done.fatal is not None:
            raise done.fatal
        return done

    async def _run_again(self, report: CodeReport, request_id: str) -> CodeReport:
        interpreter = Interpreter(self._stage.machine, timeout_s=self._stage.settings.code_timeout_s)
        turns = [
            await self._turn(interpreter, turn, f"{request_id}.{number}") for number, turn in enumerate(report.turns)
        ]
        return report.model_copy(update={"turns": tuple(turns)})

    async def _turn(self, interpreter: Interpreter, turn: CodeTurn, request_id: str) -> CodeTurn:
        if turn.approval is not None and not turn.approval.allowed:
            return turn  # it was not run then either
        try:
            ran = await interpreter.run(turn.language, turn.code, request_id=request_id)
        except (GuestError, GuestTimeout) as error:
            return turn.model_copy(update={"returncode": 1, "output": str(error)})
        return turn.model_copy(update={"returncode": ran.returncode, "output": ran.output})

    async def _checked(
        self, step: Step, done: Executed, before: Observation
    ) -> tuple[Observation, tuple[Difference, ...]]:
        """What is seen, as soon as it is what was seen then, or at last what differs. Raises: errors of the machine."""
        wanted = await self._recorded(step.after)
        seen, wrong = before, ()
        for _ in range(_LOOKS):
            after = await self._desk.look_again(step.action, done, before, Tally())
            if after.fatal is not None:
                raise after.fatal
            if after.seen is None or after.delta is None:
                raise GuestError("the machine could not be looked at")
            seen = after.seen
            unlike = screen_difference(wanted, seen.frame) if wanted and seen.frame else None
            recorded = as_seen(step, seen.look)
            found = differences(recorded, after.delta, done.code, ignore=self._stage.ignore)
            wrong = (*found, *([unlike] if unlike else []))
            if not wrong:
                break
            await self._quiet()
        return seen, wrong

    async def _recorded(self, ref: FrameRef | None) -> Frame | None:
        """A recorded picture; None: it is not there, and not compared."""
        if ref is None:
            return None
        try:
            return Frame.from_image_file(await self._stage.frames.png(ref), taken_at=0.0)
        except (RecordError, ValueError, OSError):
            return None


async def _no_question(_: str) -> UserAnswer:
    """Nobody is asked in a replay, whose steps stand fast."""
    return UserAnswer(text=None, seconds=0)


async def _no_span(_start: str, _end: str) -> None:
    """What was read on a picture was recorded as a drag, and that is sent."""


async def _no_code(task: str | None) -> CodeOutcome:
    """No model is asked in a replay; a recorded step of the coding agent has a report, and is done by that."""
    report = CodeReport(task=task or "", turns=(), ended="error", summary="it has no recorded snippets")
    return CodeOutcome(report, GuestError(report.summary))
