"""The N rollouts of a run, side by side. One that breaks down never stops the others; a lost machine is replaced."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, cast

from agent_s3.agent import StopRule, never_stop, run_rollout
from agent_s3.paths import RolloutPaths
from agent_s3.record import RecordError, read_lines, read_model, write_model
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, RolloutStatus, Step, Task
from bbon.catching_up import caught_up
from bbon.deliver import export
from bbon.evidence import COMPARABLE
from bbon.hopeless import hopeless
from bbon.models import worker_temperature
from bbon.narrator import Narrator
from bbon.reading import installed_reader
from bbon.session import Kept, Session
from bbon.types import Asked, RolloutBegan, RolloutOver, StepTaken
from vm_pool.errors import ConfigError, MachineError, MachineLost, VMPoolError
from vm_pool.machine import Machine
from vm_pool.shield import shielded
from vm_pool.types import Frame

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""Of one rollout in one session: the first, and two more on fresh machines when machines are lost."""


async def run_all(session: Session, indices: Sequence[int]) -> dict[int, RolloutResult]:
    """These rollouts, as far as they are not over yet; results of all by index. Raises: `asyncio.CancelledError`."""
    places = asyncio.Semaphore(session.config.concurrency or max(1, len(indices)))
    async with asyncio.TaskGroup() as group:
        tasks = {index: group.create_task(_guarded(session, index, places)) for index in indices}
    return {index: task.result() for index, task in tasks.items()}


async def _guarded(session: Session, index: int, places: asyncio.Semaphore) -> RolloutResult:
    """One rollout, whatever happens in it."""
    began = time.perf_counter()
    try:
        async with places:
            result = await _rollout(session, index)
    except Exception as error:
        log.exception("rollout %d broke down", index)
        result = _without_steps(session, index, "crashed", _first(error), began)
    if result.status == "done":
        session.done.add(index)
    session.listener(RolloutOver(result=result))
    return result


async def _rollout(session: Session, index: int) -> RolloutResult:
    """Attempts until one is not lost with its machine."""
    paths, known = session.paths.rollout(index), session.state.rollout(index)
    if known.over:
        async with _narrator(session, index).working() as narrator:
            _tell_the_rest(narrator, paths)
        return read_model(paths.result, RolloutResult)
    began = time.perf_counter()
    async with AsyncExitStack() as earlier:
        start = await _where_to_start(session, index, earlier)
        attempt = start.attempt
        while True:
            try:
                result = await _attempt(session, index, start._replace(attempt=attempt))
            except* VMPoolError as errors:
                result = _without_steps(session, index, "machine_lost", _first(errors), began, attempt=attempt)
            if result.status != "machine_lost" or attempt - start.attempt + 1 >= MOST_ATTEMPTS:
                _keep_lease(session, index, earlier)
                return result
            log.warning("rollout %d lost its machine at attempt %d: %s", index, attempt, result.reason)
            await earlier.aclose()  # its place is for the next one
            attempt, start = attempt + 1, start._replace(revived=None)


def _keep_lease(session: Session, index: int, earlier: AsyncExitStack) -> None:
    """A machine that is kept was perhaps lent in `earlier`; that lease ends after the machine was stopped."""
    if index in session.kept:
        both, kept = AsyncExitStack(), session.kept[index]
        both.push_async_exit(earlier.pop_all())
        both.push_async_exit(kept.lease)
        session.kept[index] = Kept(kept.machine, both)


def _first(errors: BaseException) -> Exception:
    """The first error in a group, which says what went wrong."""
    if isinstance(errors, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", errors).exceptions[0])
    return errors if isinstance(errors, Exception) else MachineLost(str(errors))


class _Start(NamedTuple):
    """How an attempt begins."""

    attempt: int
    revived: Machine | None
    """The machine of an interrupted session; None: a fresh fork."""
    replays: bool = False
    """True: what was recorded is done again on the fresh fork first, and the rollout goes on from there."""


async def _where_to_start(session: Session, index: int, leases: AsyncExitStack) -> _Start:
    """Whether there is a machine to go on on; its lease goes to `leases`."""
    known = session.state.rollout(index)
    if known.machine_id is None:
        return _Start(known.attempt, None)
    if known.behind:
        log.warning("the machine %s of rollout %d was not yet where its steps had been", known.machine_id, index)
        return _Start(known.attempt + 1, None, replays=True)
    lease = session.pool.lease_again(known.machine_id, session.source(), labels=_labels(session, index), keep_disk=True)
    try:
        machine = await leases.enter_async_context(lease)
    except VMPoolError as error:
        log.warning("the machine %s of rollout %d cannot be revived: %s", known.machine_id, index, error)
        return _Start(known.attempt + 1, None, replays=True)
    log.info("rollout %d goes on on its machine %s", index, known.machine_id)
    return _Start(known.attempt, machine)


async def _attempt(session: Session, index: int, start: _Start) -> RolloutResult:
    """One attempt on one machine, narrated beside. Raises: errors of `vm_pool.errors`, in a group."""
    if start.replays:
        async with AsyncExitStack() as lease:
            machine = await lease.enter_async_context(_machine(session, index, start))
            if await caught_up(session, index, machine, _settings(session, index), attempt=start.attempt):
                session.state.update_rollout(index, behind=False)
                return await _played(session, index, start, machine, lease, goes_on=True)
    start = start._replace(replays=False)
    if start.revived is None:
        _put_aside(session.paths.rollout(index))
    async with AsyncExitStack() as lease:
        machine = await lease.enter_async_context(_machine(session, index, start))
        return await _played(session, index, start, machine, lease, goes_on=start.revived is not None)


async def _played(
    session: Session, index: int, start: _Start, machine: Machine, lease: AsyncExitStack, *, goes_on: bool
) -> RolloutResult:
    """The rollout on its machine to its end; `goes_on`: after the recorded steps. `lease` may be kept."""
    async with _narrator(session, index).working() as narrator:
        session.listener(
            RolloutBegan(
                rollout=index,
                machine_id=machine.info.machine_id,
                attempt=start.attempt,
                model=session.models.worker_of(index).name,
            )
        )
        result = await _run(session, index, start, machine, narrator, goes_on=goes_on)
        result = await _finished(session, machine, result)
    if session.config.deliver == "promote" and result.status in COMPARABLE:
        session.kept[index] = Kept(machine, lease.pop_all())
    return result


def _narrator(session: Session, index: int) -> Narrator:
    return Narrator(
        index,
        session.paths.rollout(index),
        session.frames,
        session.models.narrator,
        listener=session.listener,
        named=session.config.narrator is not None,
        reader=installed_reader(),
    )


def _put_aside(paths: RolloutPaths) -> None:
    """Narrative and crops of an earlier attempt stay beside its trajectory, as evidence."""
    number = 1
    while paths.root.joinpath(f"narrative-{number}.jsonl").exists():
        number += 1
    if paths.narrative.exists():
        paths.narrative.rename(paths.root / f"narrative-{number}.jsonl")
    if paths.crops.exists():
        paths.crops.rename(paths.root / f"crops-{number}")


@asynccontextmanager
async def _machine(session: Session, index: int, start: _Start) -> AsyncGenerator[Machine]:
    """A rollout's machine, noted on disk as soon as it exists; its disk is kept only when the run is interrupted."""
    provider = session.pool.provider
    async with _revived_or_forked(session, index, start) as machine:
        session.state.update_rollout(
            index, machine_id=machine.info.machine_id, attempt=start.attempt, behind=start.replays
        )
        try:
            yield machine
        except asyncio.CancelledError:
            await shielded(provider.stop(machine, keep_disk=not session.state.rollout(index).behind))
            raise
        except BaseException:
            await shielded(provider.stop(machine))
            raise
        await shielded(provider.stop(machine))
        session.state.update_rollout(index, machine_id=None)


@asynccontextmanager
async def _revived_or_forked(session: Session, index: int, start: _Start) -> AsyncGenerator[Machine]:
    if start.revived is not None:
        yield start.revived
        return
    snapshot = await session.snapshot()
    async with AsyncExitStack() as stack:
        with session.state.timed("fork", side_by_side=True):
            try:
                lease = session.pool.lease(snapshot, labels=_labels(session, index), keep_disk=True)
                machine = await stack.enter_async_context(lease)
            except ConfigError as error:  # somebody cleared it away between two sessions
                await session.forget_snapshot(snapshot)
                raise MachineLost(str(error)) from error
        yield machine


def _labels(session: Session, index: int) -> dict[str, str]:
    return {"run": session.run_id, "rollout": str(index)}


async def _run(
    session: Session, index: int, start: _Start, machine: Machine, narrator: Narrator, *, goes_on: bool
) -> RolloutResult:
    """The agent's loop; `narrator` hears of every step, also of those that a killed session left untold."""

    def on_step(step: Step, before: Frame | None, after: Frame | None) -> None:
        session.save_usage()
        session.listener(StepTaken(rollout=index, step=step))
        narrator.on_step(step, before, after)

    def on_ask(question: str, timeout_s: float) -> None:
        session.listener(Asked(rollout=index, question=question, timeout_s=timeout_s))

    models = session.models
    limits = session.limits.of_rollout(models.worker_of(index), session.paths.rollout(index), eyes=models.ground)
    result = await run_rollout(
        Task(id=session.run_id, instruction=session.config.instruction),
        machine,
        limits.model,
        index=index,
        paths=session.paths,
        frames=session.frames,
        settings=_settings(session, index),
        on_step=on_step,
        on_ask=on_ask,
        resume=goes_on,
        attempt=start.attempt,
        limits=limits.limits,
        stop=_stop_rule(session),
        asker=session.asker,
        eyes=limits.eyes,
    )
    _tell_the_rest(narrator, session.paths.rollout(index))
    return result


def _tell_the_rest(narrator: Narrator, paths: RolloutPaths) -> None:
    """Narrate recorded steps that a killed session left untold."""
    try:
        narrator.catch_up(read_lines(paths.trajectory, Step))
    except RecordError:
        log.exception("the rest of %s was not narrated", paths.trajectory)


def _stop_rule(session: Session) -> StopRule:
    """Nobody is stopped before another rollout is done: a slow one may be the only one that gets there."""
    if not session.config.stop_hopeless:
        return never_stop
    return lambda steps: hopeless(steps) if session.done else None


def _settings(session: Session, index: int) -> AgentSettings:
    config = session.config
    return AgentSettings(
        actions=config.actions,
        observe=config.observe,
        max_steps=config.max_steps,
        images_kept=config.images_kept,
        ground_form=config.ground_form,
        refine=config.refine,
        read_text=config.read_text,
        reflection=config.reflection,
        ask=config.ask,
        ask_timeout_s=config.ask_timeout_s,
        reflection_beside=config.reflection_beside,
        temperature=worker_temperature(config, index),
        seed=config.seed,
        approve=config.approve,
        approve_timeout_s=config.approve_timeout_s,
        risk_rules=config.risk_rules,
    )


async def _finished(session: Session, machine: Machine, result: RolloutResult) -> RolloutResult:
    """Keep what a rollout left on its machine. A machine lost here takes the result with it: nothing could be shown."""
    if result.status == "machine_lost":
        return result
    paths = session.paths.rollout(result.index)
    try:
        await export(machine, result.files, paths.files)
    except MachineError as error:
        lost = result.model_copy(update={"status": "machine_lost", "reason": str(error)})
        write_model(paths.result, lost)
        return lost
    await _call_finish(session, machine, result)
    if result.status in COMPARABLE:
        session.state.update_rollout(result.index, over=True)
    return result


async def _call_finish(session: Session, machine: Machine, result: RolloutResult) -> None:
    if session.finish is None:
        return
    try:
        await session.finish(result.index, machine, result)
    except Exception:
        log.exception("the hook after rollout %d failed", result.index)


def _without_steps(
    session: Session, index: int, status: RolloutStatus, error: Exception, began: float, *, attempt: int = 1
) -> RolloutResult:
    """The result of a rollout that broke down outside of the agent's loop."""
    result = RolloutResult(
        index=index,
        status=status,
        reason=str(error) or type(error).__name__,
        steps=0,
        attempt=attempt,
        model=session.models.worker_of(index).name,
        seconds=round(time.perf_counter() - began, 3),
    )
    try:
        write_model(session.paths.rollout(index).result, result)
    except RecordError:
        log.exception("the result of rollout %d could not be written", index)
    return result
