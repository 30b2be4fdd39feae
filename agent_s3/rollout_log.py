"""The record of one rollout on disk, so that a killed run goes on at the step where it died.

A step is announced in `pending.json` before anything is sent to the machine and appended to `trajectory.jsonl`
afterwards. A step found pending after a crash may or may not have been executed; it is never executed again.
"""

from datetime import datetime

from agent_s3.code_log import left_behind
from agent_s3.paths import RolloutPaths
from agent_s3.record import append_line, read_lines, read_model, write_model
from agent_s3.types import SCHEMA_VERSION, FrameRef, Frozen, RolloutResult, Step, StepError
from vm_pool.types import Window

INTERRUPTED = "the run was stopped while this action was being executed; it may or may not have happened. Look first"


class RolloutStart(Frozen):
    """What is needed of the beginning of a rollout when it goes on later."""

    schema_version: int = SCHEMA_VERSION
    attempt: int
    started_at: datetime
    first: FrameRef | None
    windows: tuple[Window, ...] | None
    """None: this machine lists no windows."""
    cursor: str | None
    """Of the file journal; None: this machine keeps none."""


class PendingStep(Frozen):
    """A step that is being executed."""

    request_id: str
    step: Step
    """As far as it is known before execution."""


class RolloutLog:
    """Reads and appends the files of one rollout."""

    def __init__(self, paths: RolloutPaths) -> None:
        self._paths = paths
        self.steps: list[Step] = []
        """Recorded so far, in order."""

    def open(self, *, resume: bool) -> RolloutStart | None:
        """Load what is there, or put the files of an earlier attempt aside; returns the start of a rollout to go on.

        Raises: `agent_s3.record.RecordError`.
        """
        self._paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not resume or not self._paths.start.exists():
            self._put_aside()
            return None
        start = read_model(self._paths.start, RolloutStart)
        self.steps = read_lines(self._paths.trajectory, Step)
        self._resolve_pending()
        return start

    def drop_pending(self) -> None:
        """Forget a step that was announced and is known not to have happened on the machine that goes on."""
        self._paths.pending.unlink(missing_ok=True)

    def begin(self, start: RolloutStart) -> None:
        write_model(self._paths.start, start)

    def announce(self, pending: PendingStep) -> None:
        """Must be on disk before the action is sent."""
        write_model(self._paths.pending, pending)

    def append(self, step: Step) -> None:
        append_line(self._paths.trajectory, step)
        self.steps.append(step)
        self._paths.pending.unlink(missing_ok=True)

    def finish(self, result: RolloutResult) -> None:
        write_model(self._paths.result, result)

    def _resolve_pending(self) -> None:
        if not self._paths.pending.exists():
            return
        pending = read_model(self._paths.pending, PendingStep)
        step = pending.step
        if step.index < len(self.steps):  # its line was written; only the removal was missed
            self._paths.pending.unlink()
            return
        code = left_behind(self._paths.code, pending.request_id)
        error = StepError(kind="interrupted", message=INTERRUPTED)
        self.append(step.model_copy(update={"error": error, "code": code}))

    def _put_aside(self) -> None:
        """An earlier attempt's record stays beside the new one, as evidence."""
        if self._paths.trajectory.exists():
            number = 1
            while self._paths.earlier(number).exists():
                number += 1
            self._paths.trajectory.rename(self._paths.earlier(number))
        for path in (self._paths.start, self._paths.pending, self._paths.result):
            path.unlink(missing_ok=True)
