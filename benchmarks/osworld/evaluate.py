"""Score a machine: the evaluator contract of OSWorld, with a typed outcome for everything that can go wrong.

Source: `DesktopEnv.evaluate` of xlang-ai/OSWorld. Order: postconfig; `infeasible` is right exactly when the last
action is FAIL; any other task whose last action is FAIL scores 0; then the comparisons, joined by `conj`.
"""

import asyncio
import logging
from dataclasses import replace

from benchmarks.osworld.errors import EvaluationFailed, SetupFailed, Unsupported
from benchmarks.osworld.getters import GETTERS, fetch
from benchmarks.osworld.metrics import METRICS, score
from benchmarks.osworld.setup import Stage, set_up
from benchmarks.osworld.steps import STEP_MODELS
from benchmarks.osworld.tasks import INFEASIBLE, Check, Evaluator, OSWorldTask
from benchmarks.results import Outcome
from vm_pool.errors import GuestError, GuestTimeout, MachineLost

_log = logging.getLogger(__name__)


def missing(task: OSWorldTask) -> tuple[str, ...]:
    """What the task needs and this version lacks, e.g. `metric compare_table`; empty when it can be run."""
    return (
        *(f"setup type {name}" for name in sorted(task.setup_types - STEP_MODELS.keys())),
        *(f"getter {name}" for name in sorted(task.getter_types - GETTERS.keys())),
        *(f"metric {name}" for name in sorted(task.metrics - METRICS.keys() - {INFEASIBLE})),
    )


async def prepare(task: OSWorldTask, stage: Stage) -> tuple[str, ...]:
    """Bring the machine into the task's first state; answers with notes on steps that did not fully work.

    Raises: `Unsupported`, `SetupFailed`, `vm_pool.errors.MachineLost`.
    """
    if lacking := missing(task):
        raise Unsupported(f"task {task.id} needs {', '.join(lacking)}")
    return await set_up(task.config, stage)


async def evaluate(task: OSWorldTask, stage: Stage, *, gave_up: bool) -> Outcome:
    """Never raises but for cancellation. `gave_up`: the agent's last action was FAIL."""
    try:
        return await _evaluate(task.evaluator, stage, gave_up=gave_up)
    except Unsupported as error:
        return Outcome(kind="unsupported", detail=str(error))
    except (MachineLost, GuestTimeout) as error:
        return Outcome(kind="guest_lost", detail=f"while it was scored: {error}")
    except (EvaluationFailed, SetupFailed, GuestError) as error:
        return Outcome(kind="evaluator_error", detail=str(error))
    except Exception as error:  # noqa: BLE001 - one broken evaluator must not stop the other tasks; logged below
        _log.exception("the evaluator of task %s broke", task.id)
        return Outcome(kind="evaluator_error", detail=f"{type(error).__name__}: {error}")


async def _evaluate(evaluator: Evaluator, stage: Stage, *, gave_up: bool) -> Outcome:
    lenient = replace(stage, strict=False)  # what fails here may be the agent's doing: a file it never made
    notes = "; ".join(await set_up(evaluator.postconfig, lenient))
    if evaluator.infeasible:
        return Outcome.scored(float(gave_up), notes)
    if gave_up:
        return Outcome.scored(0.0, "the agent gave up on a task that can be done")
    return Outcome.scored(await _joined(evaluator, stage), notes)


async def _joined(evaluator: Evaluator, stage: Stage) -> float:
    """`and`: the first 0 decides, else the mean. `or`: the first 1 decides, else the best."""
    scores: list[float] = []
    for check in evaluator.checks():
        scores.append(await _compare(check, stage))
        if scores[-1] == (0.0 if evaluator.conj == "and" else 1.0):
            return scores[-1]
    return sum(scores) / len(scores) if evaluator.conj == "and" else max(scores)


async def _compare(check: Check, stage: Stage) -> float:
    if check.result is None:
        raise EvaluationFailed(f"metric {check.metric!r} has no result getter; correct the task file")
    result = await fetch(check.result, stage)
    expected = None if check.expected is None else await fetch(check.expected, stage)
    return await asyncio.to_thread(score, check.metric, result, expected, check.options)
