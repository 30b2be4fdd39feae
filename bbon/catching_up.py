"""Going on with a rollout whose machine is gone: its recorded steps are done again on a fresh fork of the snapshot.

Only when each of them did what it did then does the rollout go on from there; otherwise it starts afresh.
"""

import logging

from agent_s3.record import RecordError, read_lines, read_model
from agent_s3.replay import Replayed, ReplayReport, Stage, replay
from agent_s3.rollout_log import RolloutLog, RolloutStart
from agent_s3.settings import AgentSettings
from agent_s3.types import Step
from bbon.changes import is_noise
from bbon.quoting import one_line
from bbon.session import Session
from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.machine import Machine

log = logging.getLogger(__name__)


async def caught_up(session: Session, index: int, machine: Machine, settings: AgentSettings, *, attempt: int) -> bool:
    """Whether a fresh machine is now where the recorded steps of a rollout had brought the one that is gone.

    False: it is not, and of no use any more; the log says which step came out otherwise. Raises: `MachineLost`.
    """
    paths = session.paths.rollout(index)
    try:
        start, steps = read_model(paths.start, RolloutStart), read_lines(paths.trajectory, Step)
    except RecordError as error:
        log.warning("rollout %d starts afresh, its record cannot be read: %s", index, error)
        return False
    stage = Stage(
        machine=machine,
        frames=session.frames,
        settings=settings,
        request_prefix=f"{session.run_id}-{index}-{attempt}-again",
        ignore=is_noise,
    )
    try:
        report = await replay(steps, stage, first=start.first)
    except (GuestError, GuestTimeout) as error:
        log.warning("rollout %d starts afresh, its steps could not be done again: %s", index, error)
        return False
    return _accepted(index, report, RolloutLog(paths))


def _accepted(index: int, report: ReplayReport, record: RolloutLog) -> bool:
    if diverged := report.diverged:
        log.warning("rollout %d starts afresh: done again, %s", index, _how(diverged))
        return False
    record.drop_pending()  # what the old machine was doing when it went away was not done on this one
    log.info("rollout %d goes on after %d steps that were done again", index, len(report.steps))
    return True


def _how(diverged: Replayed) -> str:
    where = f"step {diverged.step} ({one_line(diverged.did)})" if diverged.step >= 0 else "the start"
    return f"{where} came out otherwise: {one_line(diverged.words, 500)}"
