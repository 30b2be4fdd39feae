"""Best of N: fork N desktops, run a rollout in each, narrate, judge, deliver the winner. The whole corridor in a page.

Everything is on disk as it happens, so a run that was stopped, or killed at any moment, goes on with `resume`:
finished rollouts are kept, unfinished ones go on on their revived machines, and judging is done once.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from agent_s3.approval import Asker, Question
from agent_s3.ask_files import FileAsker
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, RecordError, read_lines, read_model, write_model
from agent_s3.types import RolloutResult
from bbon import models as run_models
from bbon.deliver import deliver, shortfall
from bbon.errors import BestOfNError
from bbon.evidence import COMPARABLE, candidate
from bbon.growing import affordable, more
from bbon.judge import judge
from bbon.limits import check_price, recorded
from bbon.models import Models
from bbon.promote import promoted, unpromoted, until_released
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
    asker: Asker | None = None,
) -> RunResult:
    """Do a task N times and pick the best.

    `prepare` sets the task up on the base machine before the snapshot. `finish` looks at each rollout's machine when
    the rollout is over, before it is stopped; what it raises is logged. `resume` goes on with the run in `paths`.
    `models` and `pool` (open already) are used instead of those that the config names, and are not closed. `asker` is
    the way to a user whom `config.approve` wants asked; None: over files of the run folder.

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
            check_price(opened, config)
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
                asker=asker or FileAsker(paths.questions, _log_question),
            )
            stack.push_async_callback(session.let_go)
            return await _corridor(session)


def _log_question(question: Question) -> None:
    log.info("waiting %g s for an answer to question %s: %s", question.timeout_s, question.id, question.what)


def _own_pool(config: RunConfig) -> Pool:
    """Machines that may have to stay up until the verdict keep their places until then."""
    most = max(config.n, config.max_n or 0)
    places = most if config.deliver == "promote" else config.concurrency or most
    return Pool(make_provider(config.provider), concurrency=places)


async def _corridor(session: Session) -> RunResult:
    with session.state.timed("total"):
        results, verdict, error = await _decided(session)
        delivered = await _delivered(session, results, verdict)
    winner = verdict.winner if verdict else None
    async with promoted(session, winner) as promotion:
        result = RunResult(
            run_dir=str(session.paths.root),
            instruction=session.config.instruction,
            winner=winner,
            verdict=verdict,
            rollouts=tuple(results.values()),
            delivered=delivered,
            promoted=promotion,
            usage=session.ledger.by_role,
            seconds=session.state.state.seconds,
            model=session.models.worker_names,
            error=error or shortfall(delivered) or unpromoted(session, winner, promotion),
        )
        write_model(session.paths.result, result)
        if promotion is not None and winner is not None:
            await until_released(session, winner, promotion)
    return result


async def _decided(session: Session) -> tuple[dict[int, RolloutResult], Verdict | None, str | None]:
    """Results of all rollouts, the verdict and what went wrong; more are run while the judge is unsure."""
    if known := _known_verdict(session):
        return _recorded(session), known, None
    results = await _roll_out(session, range(session.n))
    verdict, error = await _judged(session, results)
    while verdict is not None and (extra := _extra(session, verdict)):
        before = session.n
        with session.phase("grow", f"{extra} more rollouts: {_doubt(verdict)}"):
            session.state.update(n=before + extra, earlier=(*session.state.state.earlier, verdict))
        results |= await _roll_out(session, range(before, session.n))
        verdict, error = await _judged(session, results)
    await session.drop_snapshot()
    if verdict is None and session.state.state.earlier:
        return (
            results,
            session.state.state.earlier[-1],
            f"{error}; the verdict before the last rollouts were added stands",
        )
    return results, verdict and _concluded(session, verdict), error


def _recorded(session: Session) -> dict[int, RolloutResult]:
    return {index: read_model(session.paths.rollout(index).result, RolloutResult) for index in range(session.n)}


def _doubt(verdict: Verdict) -> str:
    return "none was right" if verdict.winner is None else f"the judge is {verdict.confidence:.0%} sure"


def _extra(session: Session, verdict: Verdict) -> int:
    """How many rollouts to add."""
    config, n = session.config, session.n
    if config.max_n is None:
        return 0
    spent = session.budget.spent
    steps = sum(len(recorded(session.paths.rollout(index))) for index in range(n))
    rooms = [(config.budget_usd, spent.usd), (config.budget_tokens, spent.tokens), (config.budget_steps, steps)]
    room = 0 if session.limits.deadline.left == 0 else affordable(n, rooms)
    return more(verdict, n=n, most=config.max_n, confidence=config.confidence, room=room)


async def _roll_out(session: Session, indices: Sequence[int]) -> dict[int, RolloutResult]:
    """Results of these rollouts; those that are not over are run."""
    left = [state for state in map(session.state.rollout, indices) if not state.over]
    if any(state.machine_id is None for state in left):
        await session.snapshot()
    try:
        with session.phase("rollouts", f"{len(left)} of {len(indices)}"):
            return await run_all(session, indices)
    finally:
        session.save_usage()


async def _judged(session: Session, results: Mapping[int, RolloutResult]) -> tuple[Verdict | None, str | None]:
    """The verdict on these rollouts, and what went wrong."""
    candidates = [_candidate(session, result) for result in results.values() if result.status in COMPARABLE]
    config = session.config
    try:
        with session.phase("judge", f"{len(candidates)} of {len(results)} rollouts"):
            verdict = await judge(
                session.task,
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
    return verdict, _nothing_to_judge(results) if verdict.method == "no_candidate" else None


def _concluded(session: Session, verdict: Verdict) -> Verdict:
    """The verdict with the earlier ones, written and told; where nothing was judged, a resume tries again."""
    final = verdict.model_copy(update={"earlier": session.state.state.earlier})
    if final.method != "no_candidate":
        write_model(session.paths.verdict, final)
    session.listener(Judged(verdict=final))
    return final


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
