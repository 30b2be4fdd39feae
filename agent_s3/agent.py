"""The rollout: observe, decide, ground, act, settle, observe, record. One flat loop; the parts are elsewhere."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent_s3.approval import Approver, Asker, Ruling
from agent_s3.decide import Decision
from agent_s3.delta import window_changes
from agent_s3.desk import After, Desk
from agent_s3.execute import Executed
from agent_s3.inbox import AskListener, Inbox, nobody
from agent_s3.limits import NO_LIMITS, Limits
from agent_s3.native_turn import SafetyStop
from agent_s3.observation import Observation
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, RecordError
from agent_s3.rollout_log import PendingStep, RolloutLog, RolloutStart
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally, total
from agent_s3.types import Grounding, RolloutResult, RolloutStatus, Step, Task
from agent_s3.worker import Worker
from llm.chat import ChatModel
from llm.errors import BudgetExceeded, LLMError, OutOfTime
from vm_pool.errors import MachineError
from vm_pool.machine import Machine
from vm_pool.types import FileChange, Frame

log = logging.getLogger(__name__)

StepListener = Callable[[Step, Frame | None, Frame | None], None]
"""Told of every recorded step, with its frames before and after; must return at once and must not raise."""

StopRule = Callable[[Sequence[Step]], str | None]
"""Why a rollout is to stop after these steps, though its agent would go on; None: it is not."""


def never_stop(_steps: Sequence[Step]) -> str | None:
    """The rule that lets every rollout go on."""
    return None


async def run_rollout(
    task: Task,
    machine: Machine,
    model: ChatModel,
    *,
    index: int,
    paths: RunPaths,
    frames: FrameStore,
    settings: AgentSettings,
    on_step: StepListener,
    eyes: ChatModel | None = None,
    resume: bool = False,
    attempt: int = 1,
    on_ask: AskListener = nobody,
    limits: Limits = NO_LIMITS,
    stop: StopRule = never_stop,
    asker: Asker | None = None,
) -> RolloutResult:
    """Work on a task until the agent says done or fail, or something ends it; every step is on disk as it happens.

    Never raises for faults of model, machine or agent: they become the result's status. `resume` goes on after the
    recorded steps, on the machine as it is now. `eyes` is the grounding model; None: the worker's own. `on_ask` is told
    of questions to the user. `asker` answers what the settings' policy asks; None: nobody does, so it is refused.
    Raises: `asyncio.CancelledError`, once `interrupted` is recorded.
    """
    approver = Approver(settings.approve, settings.risk_rules, asker, index, settings.approve_timeout_s)
    rollout = _Rollout(
        worker=Worker(
            task,
            machine,
            model,
            frames,
            settings,
            index=index,
            code_notes=paths.rollout(index).code,
            inbox=Inbox(paths.inbox, index, on_ask=on_ask),
            approver=approver,
            eyes=eyes,
        ),
        approver=approver,
        desk=Desk(machine, frames, settings, short=settings.prompt_style(model.abilities) == "short"),
        record=RolloutLog(paths.rollout(index)),
        frames=frames,
        settings=settings,
        limits=limits,
        on_step=on_step,
        index=index,
        attempt=attempt,
        stop=stop,
        model=model.name,
        request_prefix=f"{paths.root.name}-{index}-{attempt}",
    )
    try:
        end = await rollout.loop(resume=resume)
    except asyncio.CancelledError:
        rollout.interrupted()
        raise
    except Exception as error:  # noqa: BLE001 - a rollout that breaks down must not stop the others
        end = _end_of(error)
    return await rollout.close(end)


@dataclass(frozen=True)
class End:
    """Why a rollout is over."""

    status: RolloutStatus
    reason: str


def _end_of(error: Exception) -> End:
    """What a fault that ends a rollout is called."""
    kinds: tuple[tuple[type[Exception], RolloutStatus], ...] = (
        (OutOfTime, "timeout"),
        (BudgetExceeded, "budget"),
        (LLMError, "model_error"),
        (MachineError, "machine_lost"),
        (SafetyStop, "safety_check"),
    )
    for kind, status in kinds:
        if isinstance(error, kind):
            return End(status, str(error))
    log.error("a rollout crashed", exc_info=error)
    return End("crashed", f"{type(error).__name__}: {error}")


def _ruled_out(ruling: Ruling) -> Executed | None:
    """The outcome of a step whose action may not be executed; None: it may."""
    return None if ruling.allowed else Executed(error=ruling.error)


def _with(draft: Step, ruling: Ruling) -> Step:
    return draft.model_copy(update={"risks": ruling.risks, "approval": ruling.approval})


class _Rollout:
    """One rollout in progress; its past is `record.steps`."""

    def __init__(
        self,
        *,
        worker: Worker,
        approver: Approver,
        desk: Desk,
        record: RolloutLog,
        frames: FrameStore,
        settings: AgentSettings,
        limits: Limits,
        on_step: StepListener,
        index: int,
        attempt: int,
        stop: StopRule,
        model: str,
        request_prefix: str,
    ) -> None:
        self._worker = worker
        self._approver = approver
        self._desk = desk
        self._record = record
        self._frames = frames
        self._settings = settings
        self._limits = limits
        self._on_step = on_step
        self._index = index
        self._attempt = attempt
        self._stop = stop
        self._model = model
        self._request_prefix = request_prefix
        self._began = time.perf_counter()
        self._start: RolloutStart | None = None
        self._latest: Observation | None = None

    async def loop(self, *, resume: bool) -> End:
        """Observe, decide, ground, act, settle, observe, record, until something ends it."""
        self._start = self._record.open(resume=resume)
        before = await self._first_look()
        await self._worker.find_actions()
        while (end := self._end()) is None:
            self._limits.begin_step()
            tally, started_at = Tally(), datetime.now(UTC)
            decision = await self._worker.decide(self._record.steps, before, tally)
            places, missed = await self._worker.ground(decision, before, tally)
            draft = self._draft(decision, places, before, tally, started_at)
            ruling = Ruling() if missed else await self._rule(draft, before, tally)
            done = missed or _ruled_out(ruling) or await self._act(draft, decision, tally)
            after = await self._desk.look_again(draft.action, done, before, tally)
            self._append(_with(draft, ruling), done, before, after, tally)
            if fatal := done.fatal or after.fatal:
                raise fatal
            before = self._latest = after.seen or before
        return end

    async def _first_look(self) -> Observation:
        seen = self._latest = await self._desk.observe(since=None)
        if self._start is None:
            self._start = RolloutStart(
                attempt=self._attempt,
                started_at=datetime.now(UTC),
                first=seen.ref,
                windows=seen.look.windows,
                cursor=seen.cursor,
            )
            self._record.begin(self._start)
        return seen

    def _end(self) -> End | None:
        """Why the rollout is over after the steps so far; None: it goes on."""
        steps, bad = self._record.steps, self._settings.bad_steps
        last = steps[-1] if steps else None
        faults = [step.error for step in steps[-bad:] if step.error is not None and step.error.kind == "bad_reply"]
        if last is not None and last.action is not None and last.action.ends_rollout and last.error is None:
            # What the user said meanwhile is still to be done, if there are steps left for it.
            if self._worker.unread(steps) and len(steps) < self._settings.max_steps:
                return None
            return End("done" if last.action.action == "done" else "fail", last.thought)
        if len(faults) == bad:
            return End("bad_replies", f"no usable reply in {bad} steps in a row: {faults[-1].message}")
        if len(steps) >= self._settings.max_steps:
            return End("step_limit", f"not done after {len(steps)} steps")
        reason = self._stop(steps)
        return None if reason is None else End("stopped", reason)

    def _draft(
        self,
        decision: Decision,
        places: tuple[Grounding, ...],
        before: Observation,
        tally: Tally,
        started_at: datetime,
    ) -> Step:
        """The step as far as it is known before it is executed."""
        return Step(
            index=len(self._record.steps),
            started_at=started_at,
            thought=decision.thought,
            action=decision.action,
            reply=decision.reply,
            replies=decision.replies,
            thinking=decision.thinking,
            grounding=places,
            before=before.ref,
            told=decision.told,
            reflection=decision.reflection,
            reflected=decision.reflected,
            native=decision.native,
            error=decision.error,
            usage=tally.usage,
            seconds=tally.seconds,
        )

    async def _rule(self, draft: Step, before: Observation, tally: Tally) -> Ruling:
        """Whether the action may be executed; the one place where that is decided."""
        if draft.action is None:
            return Ruling()
        with tally.phase("approve"):
            return await self._approver.action(draft.action, draft.grounding, before, step=draft.index)

    async def _act(self, draft: Step, decision: Decision, tally: Tally) -> Executed:
        """Execute the action, announced on disk before it is sent."""
        if draft.action is None:
            return Executed(error=decision.error, fatal=decision.fatal)
        request_id = f"{self._request_prefix}-{draft.index}"
        with tally.phase("record"):
            self._record.announce(PendingStep(request_id=request_id, step=draft))
        with tally.phase("act"):
            return await self._worker.act(
                draft.action, draft.grounding, step=draft.index, request_id=request_id, tally=tally
            )

    def _append(self, draft: Step, done: Executed, before: Observation, after: After, tally: Tally) -> None:
        step = draft.model_copy(
            update={
                "events": done.events,
                "after": after.seen.ref if after.seen else None,
                "delta": after.delta,
                "listed": after.seen.listed if after.seen else "",
                "code": done.code,
                "answer": done.answer,
                "error": done.error,
                "grounding": (*draft.grounding, *done.places),
                "missed": done.missed,
                "usage": tally.usage,
                "seconds": tally.seconds,
            }
        )
        self._record.append(step)
        self._on_step(step, before.frame, after.seen.frame if after.seen else None)

    async def close(self, end: End) -> RolloutResult:
        """Gather what the rollout left behind, and write its result."""
        files: tuple[FileChange, ...] = ()
        if end.status != "machine_lost" and self._start is not None:
            files = await self._desk.changed_files(self._start.cursor)
        try:
            await self._frames.flush()
            return self.finish(end, files)
        except RecordError as error:
            log.exception("the result of a rollout could not be written")
            return self._result(End("crashed", str(error)), files)

    def interrupted(self) -> None:
        """Record that the rollout was cancelled, without waiting for anything."""
        try:
            self.finish(End("interrupted", "stopped from outside"), ())
        except RecordError:
            log.exception("the interruption of a rollout could not be written")

    def finish(self, end: End, files: tuple[FileChange, ...]) -> RolloutResult:
        """Write the result. Raises: `agent_s3.record.RecordError`."""
        result = self._result(end, files)
        self._record.finish(result)
        return result

    def _result(self, end: End, files: tuple[FileChange, ...]) -> RolloutResult:
        steps, start = self._record.steps, self._start
        return RolloutResult(
            index=self._index,
            status=end.status,
            reason=end.reason,
            steps=len(steps),
            attempt=self._attempt,
            model=self._model,
            usage=total(step.usage for step in steps),
            seconds=round(time.perf_counter() - self._began, 3),
            first=start.first if start else None,
            last=self._latest.ref if self._latest else None,
            files=files,
            windows=window_changes(
                start.windows if start else None, self._latest.look.windows if self._latest else None
            ),
        )
