"""Runs a written rollout on a real desktop and reads what each of its steps took, phase by phase.

The worker is scripted and answers at once, but it is given pictures and the element list as a model that sees would be,
so that encoding frames and building prompts are part of the figures.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step, Task
from bbon import crop
from benchmarks.pool_speed.samples import as_report
from llm.chat import Abilities
from llm.scripted import Reply, ScriptedModel
from vm_pool.errors import GuestError
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Spec
from vm_pool.types import Frame

WIDTH, HEIGHT = 1920, 1080
WAITING = frozenset({"settle"})
"""Phases in which the step waits for the desktop's programs."""
_ABILITIES = Abilities(images=True, schema=True, context_tokens=1_000_000)
_SENTENCE = "The quick brown fox jumps over the lazy dog. "
_ACTIONS: tuple[dict[str, Any], ...] = (
    {"action": "type", "text": _SENTENCE},
    {"action": "hotkey", "keys": ["ctrl", "a"]},
    {"action": "click", "element_description": "File"},
    {"action": "hotkey", "keys": ["esc"]},
    {"action": "scroll", "element_description": "the middle of the page", "clicks": -3},
)
_SCROT = ("scrot", "--overwrite", "/tmp/shot.png")  # noqa: S108 - in the desktop

Note = Callable[[str], None]
Transition = tuple[Step, Frame | None, Frame | None]


class Plan(NamedTuple):
    """How much is measured."""

    steps: int = 30
    """Actions executed, after one that does not count."""
    screenshots: int = 10


async def measure(
    provider: Provider, image: str, *, plan: Plan | None = None, on_note: Note = lambda _: None
) -> dict[str, object]:
    """`{"provider", "image", "metrics", "ratios"}`; times in ms, for a screen of 1920x1080.

    `step_own_ms` is all of a step but the waiting for a quiet screen, and the phases that it is made of follow it.
    `transition_ms` is marking and cropping one transition, without a file being written; `evidence_ms` is that and the
    delta of the same step. The ratio
    `scrot_over_frame` says how much longer a screenshot takes by the usual tool in the desktop, in this same run.
    Raises: `GuestError` when the rollout does not go as written; what the provider raises.
    """
    plan = plan or Plan()
    spec = Spec(image=image, width=WIDTH, height=HEIGHT, labels={"purpose": "bench"})
    async with Pool(provider, concurrency=1) as pool, pool.lease(spec) as machine:
        on_note(f"a written rollout of {plan.steps} steps")
        transitions = await _rollout(machine, plan.steps + 1)
        on_note("screenshots")
        samples = _of_steps([step for step, _, _ in transitions[1:-1]])
        drawn = [(step, _transition_ms((step, before, after))) for step, before, after in transitions[1:-1]]
        samples["transition_ms"] = [took for _, took in drawn if took is not None]
        samples["evidence_ms"] = [took + _delta_ms(step) for step, took in drawn if took is not None]
        samples["frame_client_ms"] = [await _frame_ms(machine) for _ in range(plan.screenshots)]
        samples["scrot_ms"] = [await _scrot_ms(machine) for _ in range(plan.screenshots)]
    report = as_report(provider.name, image, samples)
    return report | {"ratios": {"scrot_over_frame": _ratio(samples["scrot_ms"], samples["frame_client_ms"])}}


async def _rollout(machine: Machine, steps: int) -> list[Transition]:
    """An editor is open and the written actions are executed in turn; the last transition is the agent's `done`."""
    await machine.launch(["mousepad"])
    transitions: list[Transition] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        result = await run_rollout(
            Task(id="step-speed", instruction="Write into the editor."),
            machine,
            _script(steps),
            index=0,
            paths=paths,
            frames=FrameStore(paths.frames),
            settings=AgentSettings(max_steps=steps + 1, reflection="never"),
            on_step=lambda step, before, after: transitions.append((step, before, after)),
        )
    _check(result, transitions, steps)
    return transitions


def _script(steps: int) -> ScriptedModel:
    decisions = [*(_ACTIONS[i % len(_ACTIONS)] for i in range(steps)), {"action": "done"}]
    acts = [Reply(role="worker", text=json.dumps({"thought": "", **decision})) for decision in decisions]
    middle = {"found": True, "x": WIDTH // 2, "y": HEIGHT // 2, "width": WIDTH // 2, "height": HEIGHT // 2}
    return ScriptedModel([*acts, Reply(role="grounding", times=0, text=json.dumps(middle))], abilities=_ABILITIES)


def _check(result: RolloutResult, transitions: Sequence[Transition], steps: int) -> None:
    """Raises: `GuestError` when figures of this rollout would not be those of its actions."""
    faults = [step.error.message for step, _, _ in transitions if step.error is not None]
    if result.status != "done" or faults or len(transitions) != steps + 1:
        raise GuestError(f"the written rollout ended as {result.status!r}: {(faults or [result.reason])[0]}")


def _of_steps(steps: Sequence[Step]) -> dict[str, list[float]]:
    phases = sorted({phase for step in steps for phase in step.seconds})
    took = {phase: [step.seconds.get(phase, 0.0) * 1000 for step in steps] for phase in phases}
    own = [values for phase, values in took.items() if phase not in WAITING]
    total: list[float] = [sum(values) for values in zip(*own, strict=True)]
    return {"step_own_ms": total, **{f"{phase}_ms": values for phase, values in took.items()}}


def _transition_ms(transition: Transition) -> float | None:
    """None: there is no place to look at."""
    step, before, after = transition
    if before is None or after is None:
        return None
    begin = time.perf_counter()
    made = crop.pictures(step.events, step.delta, before, after)
    return None if made is None else _ms_since(begin)


def _delta_ms(step: Step) -> float:
    return step.seconds.get("delta", 0.0) * 1000


async def _frame_ms(machine: Machine) -> float:
    begin = time.perf_counter()
    await machine.screenshot()
    return _ms_since(begin)


async def _scrot_ms(machine: Machine) -> float:
    begin = time.perf_counter()
    done = await machine.run(_SCROT)
    if done.returncode != 0:
        raise GuestError(f"scrot failed in the desktop: {json.dumps(done.stderr[-200:])}")
    return _ms_since(begin)


def _ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Of the middle values."""
    return round(sorted(over)[len(over) // 2] / sorted(under)[len(under) // 2], 1)


def _ms_since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000
