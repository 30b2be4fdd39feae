"""Runs every situation under every policy and counts steps, model calls and successes."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings, ReflectionPolicy
from agent_s3.types import Task
from benchmarks.reflection.form import Form, machine_with
from benchmarks.reflection.situations import SITUATIONS, Situation
from llm.chat import Abilities, ChatModel, Request, Usage
from llm.registry import open_model
from llm.scripted import Reply, ScriptedModel
from llm.settings import Settings

POLICIES: tuple[ReflectionPolicy, ...] = ("never", "on-evidence", "always")
MAX_STEPS = 15
SIMULATED = "simulated"
_ABILITIES = Abilities(schema=True, context_tokens=1_000_000)
_FINE = "It is on its way."
_WRONG = "The last steps do not lead to the goal. Go back to what the task asks for."

Note = Callable[[str], None]


class Row(BaseModel):
    """One situation under one policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    situation: str
    policy: ReflectionPolicy
    solved: bool
    status: str
    steps: int
    calls: int
    """To models, of all roles."""
    reflections: int
    """Of these calls, those that reflected."""


class Figures(BaseModel):
    """All situations under one policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ReflectionPolicy
    situations: int
    solved: int
    steps: int
    calls: int
    calls_per_step: float


class Report(BaseModel):
    """What `agent-s3 bench reflection --json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """`simulated`: agents of our own that go on in a wrong way until they are told."""
    figures: tuple[Figures, ...]
    rows: tuple[Row, ...]


async def compare(spec: str | None, situations: Sequence[Situation], *, on_note: Note = lambda _: None) -> Report:
    """`measure` with the model of a spec; None: simulated agents. Raises: `ConfigError` of models."""
    if spec is None:
        return await measure(situations=situations, on_note=on_note)
    model = open_model(spec, settings=Settings())
    try:
        return await measure(model, situations=situations, on_note=on_note)
    finally:
        await model.aclose()


async def measure(
    model: ChatModel | None = None,
    *,
    situations: Sequence[Situation] = SITUATIONS,
    policies: Sequence[ReflectionPolicy] = POLICIES,
    on_note: Note = lambda _: None,
) -> Report:
    """`model` None: a simulated agent for each situation."""
    rows: list[Row] = []
    for policy in policies:
        for situation in situations:
            rows.append(await _row(situation, policy, model))
            on_note(f"{policy}: {situation.name}: {'solved' if rows[-1].solved else 'not solved'}")
    figures = tuple(_sum(policy, [row for row in rows if row.policy == policy]) for policy in policies)
    return Report(model=model.name if model else SIMULATED, figures=figures, rows=tuple(rows))


async def _row(situation: Situation, policy: ReflectionPolicy, model: ChatModel | None) -> Row:
    form = Form(dead=situation.dead)
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        result = await run_rollout(
            Task(id="reflection", instruction=situation.instruction),
            machine_with(form),
            model or Simulated(situation).model,
            index=0,
            paths=paths,
            frames=FrameStore(paths.frames),
            settings=AgentSettings(observe="a11y", reflection=policy, max_steps=MAX_STEPS),
            on_step=lambda _step, _before, _after: None,
        )
    return Row(
        situation=situation.name,
        policy=policy,
        solved=result.status == "done" and situation.solved(form),
        status=result.status,
        steps=result.steps,
        calls=sum(usage.calls for usage in result.usage.values()),
        reflections=result.usage.get("reflection", Usage()).calls,
    )


def _sum(policy: ReflectionPolicy, rows: Sequence[Row]) -> Figures:
    steps, calls = sum(row.steps for row in rows), sum(row.calls for row in rows)
    return Figures(
        policy=policy,
        situations=len(rows),
        solved=sum(row.solved for row in rows),
        steps=steps,
        calls=calls,
        calls_per_step=round(calls / steps, 3) if steps else 0.0,
    )


class Simulated:
    """An agent that falls for a situation's trap until it is told, and a reflection that knows whether it has."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._right = 0
        self._wrong = 0
        self._cured = not situation.wrong
        self.model = ScriptedModel([self._answer], name=SIMULATED, abilities=_ABILITIES)

    def _answer(self, request: Request, role: str) -> Reply:
        if role == "reflection":
            return Reply(text=_WRONG if self._wrong and not self._cured else _FINE)
        return Reply(text=json.dumps({"thought": "", **self._next(request)}))

    def _next(self, request: Request) -> dict[str, object]:
        here = self._situation
        if self._wrong and (_told(request) or self._wrong == here.notices):
            self._cured = True
        if not self._cured and self._right >= here.after:
            self._wrong += 1
            return dict(here.wrong[(self._wrong - 1) % len(here.wrong)])
        self._right += 1
        return dict(here.right[min(self._right, len(here.right)) - 1])


def _told(request: Request) -> bool:
    """Whether the newest message says anything of the progress but that it is fine."""
    _, mark, said = request.messages[-1].text.partition("Reflection on your progress:\n")
    return bool(mark) and not said.startswith(_FINE)
