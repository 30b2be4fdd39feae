"""A rollout of a recorded run, done again on a machine of any provider: from the same start, step by step, checked."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, read_lines, read_model
from agent_s3.replay import Replayed, ReplayReport, Stage, replay
from agent_s3.rollout_log import RolloutStart
from agent_s3.settings import AgentSettings
from agent_s3.types import Step
from bbon.changes import is_noise
from bbon.errors import RunFolderError
from bbon.session import Prepare, set_up, spec_of
from bbon.types import RecordedConfig, Verdict
from vm_pool.pool import Pool
from vm_pool.provider import Provider


async def replay_run(
    paths: RunPaths,
    provider: Provider,
    *,
    rollout: int | None = None,
    prepare: Prepare | None = None,
    on_step: Callable[[Replayed], None],
) -> ReplayReport:
    """Start a machine as the run's were started, and do a rollout's steps again until one comes out otherwise.

    `rollout` None: the winner. `prepare`: as it was given to the run. The run folder is only read.
    Raises: `RunFolderError`, `agent_s3.record.RecordError`, errors of `vm_pool.errors`.
    """
    index = winner(paths) if rollout is None else rollout
    config = read_model(paths.config, RecordedConfig).plain
    steps, start = _recorded(paths, index)
    labels = {"run": paths.root.name, "rollout": f"replay-{index}"}
    with tempfile.TemporaryDirectory(prefix="agent-s3-replay-") as folder:
        seen = FrameStore(Path(folder))
        async with Pool(provider, concurrency=1) as pool, pool.lease(spec_of(config), labels=labels) as machine:
            await set_up(machine, config, paths, prepare)
            stage = Stage(
                machine=machine,
                frames=FrameStore(paths.frames),
                settings=AgentSettings(),
                request_prefix=f"{paths.root.name}-{index}-replay",
                kept=seen,
                ignore=is_noise,
                on_step=on_step,
            )
            try:
                return await replay(steps, stage, first=start.first)
            finally:
                await seen.flush()


def winner(paths: RunPaths) -> int:
    """Raises: `RunFolderError` when the run has none."""
    verdict = read_model(paths.verdict, Verdict) if paths.verdict.exists() else None
    if verdict is None or verdict.winner is None:
        raise RunFolderError(f"{paths.root} has no winner; say which rollout: --rollout 0")
    return verdict.winner


def _recorded(paths: RunPaths, index: int) -> tuple[list[Step], RolloutStart]:
    rollout = paths.rollout(index)
    if not rollout.start.exists():
        raise RunFolderError(f"{paths.root} has no recorded rollout {index}; see the folders in {rollout.root.parent}")
    return read_lines(rollout.trajectory, Step), read_model(rollout.start, RolloutStart)
