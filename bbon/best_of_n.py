"""Best of N: fork N desktops, run a rollout in each, narrate, judge, deliver the winner. The whole corridor in a page.

Everything is on disk as it happens, so a run that was stopped, or killed at any moment, goes on with `resume`:
finished rollouts are kept, unfinished ones go on on their revived machines, and judging is done once.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, RecordError, read_lines, read_model, write_model
from agent_s3.types import RolloutResult
from bbon import models as run_models
from bbon.deliver import deliver, shortfall
from bbon.errors import BestOfNError
from bbon.evidence import COMPARABLE, candidate
from bbon.judge import judge
from bbon.limits import check_price
from bbon.models import Models
from bbon.recorded import logging_to, write_config
from bbon.rollouts import run_all
from bbon.session import Finish, Prepare, Session
from bbon.state import StateFile, claimed
from bbon.types import Candidate, Delivered, Fact, Judged, Listener, RunConfig, RunResult, Verdict, nobody
from llm.budget import Ledger
from llm.errors import LLMError
from vm_pool.pool import Pool
from vm_pool.providers import make_provider

log = logging.getLogger(__name__)


async def run(
    config: RunConfig,
    paths: RunPaths,
    *,
    listener: Listener = nobody,
    prepare: Prepare | None = None,
    finish: Finish | None = None,
    resume: bool = False,
    models: Models | None = None,
    pool: Pool | None = None,
) -> RunResult:
    """Do a task N times and pick the best.

    `prepare` sets the task up on the base machine before the snapshot. `finish` looks at each rollout's machine when
    the rollout is over, before it is stopped; what it raises is logged. `resume` goes on with the run in `paths`.
    `models` and `pool` (open already) are used instead of those that the config names, and are not closed.

    What goes wrong after the rollouts began is in the result's `error`. Raises before: `ConfigError` of models or
    machines, `HostUnfit`, `ImageError`, `BootTimeout`, `RunFolderError`, `RecordError`; at any time
    `asyncio.CancelledError`, once the rollouts are recorded as interrupted and their machines stopped.
    """
    with logging_to(paths), claimed(paths.root):
        async with AsyncExitStack() as stack:
            state = StateFile.load(paths) if resume else StateFile.create(paths)
            await asyncio.to_thread(write_config, config, paths)
            ledger = Ledger(state.state.usage)
            budget = run_models.budget_of(config, ledger, state.state.forfeited)
            opened = await stack.enter_async_context(run_models.opened(config, models))
            check_price(opened.worker, config)
            session = Session(
                config=config,
                paths=paths,
                listener=listener,
                prepare=prepare,
                finish=finish,
                models=run_models.metered(opened, budget, ledger),
                budget=budget,
                ledger=ledger,
                pool=pool or await stack.enter_async_context(_own_pool(config)),
                state=state,
                frames=FrameStore(paths.frames),
            )
            return await _corridor(session)


def _own_pool(config: RunConfig) -> Pool:
    return Pool(make_provider(config.provider), concurrency=config.concurrency or config.n)


async def _corridor(session: Session) -> RunResult:
    with session.state.timed("total"):
        results = await _roll_out(session)
        verdict, error = await _judged(session, results)
        delivered = await _delivered(session, results, verdict)
    result = RunResult(
        run_dir=str(session.paths.root),
        instruction=session.config.instruction,
        winner=verdict.winner if verdict else None,
        verdict=verdict,
        rollouts=tuple(results.values()),
        delivered=delivered,
        usage=session.ledger.by_role,
        seconds=session.state.state.seconds,
        model=session.models.worker.name,
        error=error or shortfall(delivered),
    )
    write_model(session.paths.result, result)
    return result


async def _roll_out(session: Session) -> Mapping[int, RolloutResult]:
    """Results of all rollouts; those that are not over are run, unless the verdict is there already."""
    indices = range(session.config.n)
    if _known_verdict(session) is not None:
        return {index: read_model(session.paths.rollout(index).result, RolloutResult) for index in indices}
    left = [state for state in map(session.state.rollout, indices) if not state.over]
    if any(state.machine_id is None for state in left):
        await session.snapshot()
    try:
        with session.phase("rollouts", f"{len(left)} of {len(indices)}"):
            results = await run_all(session)
    finally:
        session.save_usage()
    await session.drop_snapshot()
    return results


async def _judged(session: Session, results: Mapping[int, RolloutResult]) -> tuple[Verdict | None, str | None]:
    """The verdict, and what went wrong: without an error-free verdict nothing is written, so a resume tries again."""
    if known := _known_verdict(session):
        return known, None
    candidates = [_candidate(session, result) for result in results.values() if result.status in COMPARABLE]
    config, error = session.config, None
    try:
        with session.phase("judge", f"{len(candidates)} of {len(results)} rollouts"):
            verdict = await judge(
                config.instruction,
                candidates,
                session.models.judge,
                session.frames,
                seed=config.seed,
                votes=config.votes,
            )
    except (LLMError, BestOfNError) as failure:
        log.warning("no verdict: %s", failure)
        return None, f"no verdict: {failure}"
    finally:
        session.save_usage()
    if verdict.method == "no_candidate":
        error = _nothing_to_judge(results)
    else:
        write_model(session.paths.verdict, verdict)
    session.listener(Judged(verdict=verdict))
    return verdict, error


def _known_verdict(session: Session) -> Verdict | None:
    """That of an earlier session; None: there is none, or it is damaged, and then judging is done again."""
    if not session.paths.verdict.exists():
        return None
    try:
        return read_model(session.paths.verdict, Verdict)
    except RecordError as error:
        log.warning("the rollouts are judged again: %s", error)
        return None


def _candidate(session: Session, result: RolloutResult) -> Candidate:
    return candidate(result, read_lines(session.paths.rollout(result.index).narrative, Fact))


def _nothing_to_judge(results: Mapping[int, RolloutResult]) -> str:
    reasons = {f"{result.status}: {result.reason}" for result in results.values()}
    return "no rollout came to an end that can be judged: " + "; ".join(sorted(reasons))


async def _delivered(
    session: Session, results: Mapping[int, RolloutResult], verdict: Verdict | None
) -> tuple[Delivered, ...]:
    if verdict is None or verdict.winner is None:
        return ()
    out = None if session.config.out is None else Path(session.config.out)
    exported = session.paths.rollout(verdict.winner).files
    with session.phase("deliver", str(out or exported)):
        return await asyncio.to_thread(deliver, results[verdict.winner].files, exported, out)
