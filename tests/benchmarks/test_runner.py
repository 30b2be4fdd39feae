"""Running tasks: what one task does never stops the others, and a stopped run goes on where it was."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import write_model
from agent_s3.types import RolloutResult, RolloutStatus
from bbon.models import Models
from bbon.types import RunConfig, RunResult, Verdict
from benchmarks.errors import BenchmarkError
from benchmarks.osworld.errors import SetupFailed, Unsupported
from benchmarks.results import AttemptPaths, BenchConfig, Outcome
from benchmarks.runner import BenchEvent, Plan, Runner, TaskOver
from benchmarks.task import BenchTask
from llm.scripted import Reply, ScriptedModel
from vm_pool.errors import ImageError, MachineLost
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.providers.fake import FakeMachine, FakeProvider

Action = Callable[[], None]


def config(*tasks: str, n: int = 2, **changes: Any) -> BenchConfig:
    fields: dict[str, Any] = {
        "suite": "t",
        "suite_sha256": "0",
        "model": "scripted:t",
        "judge": None,
        "provider": "fake",
    }
    return BenchConfig(n=n, tasks=tasks, temperature=None, max_steps=None, **(fields | changes))


def task(task_id: str, *, score: float = 1.0, setup: Exception | None = None, scoring: Exception | None = None):
    async def prepare(machine: Machine, paths: AttemptPaths) -> None:
        await machine.write("ready.txt", b"1")
        if setup is not None:
            raise setup

    async def rate(index: int, machine: Machine, result: RolloutResult, paths: AttemptPaths) -> Outcome:
        if scoring is not None:
            raise scoring
        assert await machine.read("ready.txt") == b"1"
        return Outcome.scored(score if index == 0 else 0.0)

    return BenchTask(task_id, "Do it", "files", "slim", 3, prepare, rate, "easy")


@dataclass
class Corridor:
    """A double of `bbon.best_of_n.run`: no agent, each rollout ends as told, the first one is chosen."""

    statuses: tuple[RolloutStatus, ...] = ("done", "done")
    broken: Exception | None = None
    after_rollouts: Action = lambda: None
    calls: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    """Run folder and `resume` of every call."""

    async def __call__(
        self,
        config: RunConfig,
        paths: RunPaths,
        *,
        prepare: Callable[[Machine], Awaitable[None]] | None = None,
        finish: Callable[[int, Machine, RolloutResult], Awaitable[None]] | None = None,
        resume: bool = False,
        **_rest: Any,
    ) -> RunResult:
        assert prepare is not None
        assert finish is not None
        self.calls.append((str(paths.root), resume))
        if self.broken is not None:
            raise self.broken
        write_model(paths.config, config)
        machine = FakeMachine()
        await prepare(machine)
        results = [self._result(index, status) for index, status in enumerate(self.statuses[: config.n])]
        for result in results:
            await finish(result.index, machine, result)
        self.after_rollouts()
        verdict = Verdict(winner=0, confidence=0.9, reasons="It did it.", method="mcq")
        return RunResult(
            run_dir=str(paths.root),
            instruction=config.instruction,
            winner=0,
            verdict=verdict,
            rollouts=tuple(results),
            usage={},
            seconds={"total": 2.0},
            model=config.model,
        )

    def _result(self, index: int, status: RolloutStatus) -> RolloutResult:
        return RolloutResult(index=index, status=status, reason="so it went", steps=1, seconds=1.0)


def runner(tmp_path: Path, corridor: Corridor, *, resume: bool = False, **changes: Any) -> Runner:
    return Runner(Plan(config(**changes), tmp_path / "out", resume=resume), run_n=corridor)


def kinds(result: Any) -> list[list[str]]:
    return [[rollout.outcome.kind for rollout in task.rollouts] for task in result.tasks]


async def test_there_must_be_something_to_go_on_with(tmp_path: Path):
    with pytest.raises(BenchmarkError, match="no benchmark run to go on with; leave out --resume"):
        await runner(tmp_path, Corridor(), resume=True).run([task("a")])


async def test_why_a_task_broke_off_is_in_its_log(tmp_path: Path):
    result = await runner(tmp_path, Corridor(broken=KeyError("a bug"))).run([task("a")])
    log = (tmp_path / "out/tasks/a/attempts/1/run.log").read_text()
    assert "Traceback" in log
    assert "a bug" in log
    assert "a bug" in (result.tasks[0].error or "")


async def test_every_rollout_is_scored_on_its_machine_and_the_pick_is_kept(tmp_path: Path):
    result = await runner(tmp_path, Corridor()).run([task("a"), task("b", score=0.0)])
    assert [t.scores for t in result.tasks] == [(1.0, 0.0), (0.0, 0.0)]
    assert [(t.pick, t.winner) for t in result.tasks] == [("picked", 0)] * 2
    assert (result.table.single.value, result.table.best_of_n.value, result.table.oracle.value) == (0.25, 0.5, 0.5)
    assert (tmp_path / "out/tasks/a/attempts/1/outcomes/0.json").is_file()
    assert (tmp_path / "out/result.json").is_file()


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (task("bad", setup=SetupFailed("no window")), "setup_failed"),
        (task("bad", setup=Unsupported("metric x")), "unsupported"),
        (task("bad", setup=MachineLost("gone")), "guest_lost"),
        (task("bad", scoring=RuntimeError("bug")), "evaluator_error"),
        (task("bad", scoring=MachineLost("gone")), "guest_lost"),
    ],
)
async def test_a_broken_task_gets_a_typed_outcome_and_the_others_go_on(tmp_path: Path, broken: BenchTask, kind: str):
    result = await runner(tmp_path, Corridor()).run([task("a"), broken, task("c")])
    assert kinds(result) == [["scored"] * 2, [kind] * 2, ["scored"] * 2]
    assert result.table.single.tasks == 2


async def test_rollouts_that_the_agent_did_not_end_are_not_scored(tmp_path: Path):
    corridor = Corridor(statuses=("step_limit", "machine_lost", "model_error", "bad_replies"))
    result = await runner(tmp_path, corridor, n=4).run([task("a")])
    assert kinds(result) == [["scored", "guest_lost", "agent_error", "scored"]]


async def test_an_image_that_is_not_there_is_a_failed_setup(tmp_path: Path):
    result = await runner(tmp_path, Corridor(broken=ImageError("not built"))).run([task("a")])
    assert kinds(result) == [["setup_failed"] * 2]
    assert result.tasks[0].error == "not built"
    assert result.tasks[0].pick == "unjudged"


async def test_a_resumed_run_skips_what_is_complete_and_tries_the_rest_again(tmp_path: Path):
    await runner(tmp_path, Corridor(statuses=("done", "machine_lost"))).run([task("a")])
    events: list[BenchEvent] = []
    again = replace(runner(tmp_path, corridor := Corridor(), resume=True), listener=events.append)
    result = await again.run([task("a"), task("b")])
    assert kinds(result) == [["scored"] * 2] * 2
    assert [(Path(root).parts[-3:], resume) for root, resume in corridor.calls] == [
        (("a", "attempts", "2"), False),
        (("b", "attempts", "1"), False),
    ]
    corridor.calls.clear()
    await again.run([task("a"), task("b")])
    assert corridor.calls == []
    assert [event.skipped for event in events if isinstance(event, TaskOver)] == [False, False, True, True]


async def test_a_task_that_was_cut_off_goes_on_in_its_own_run_folder(tmp_path: Path):
    def stop() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await runner(tmp_path, Corridor(after_rollouts=stop)).run([task("a")])
    corridor = Corridor()
    result = await runner(tmp_path, corridor, resume=True).run([task("a")])
    assert [(Path(root).name, resume) for root, resume in corridor.calls] == [("1", True)]
    assert kinds(result) == [["scored", "scored"]]


async def test_a_folder_with_another_run_is_refused_with_the_next_step(tmp_path: Path):
    await runner(tmp_path, Corridor()).run([task("a")])
    with pytest.raises(BenchmarkError, match="holds a benchmark run; add --resume or choose another folder"):
        await runner(tmp_path, Corridor()).run([task("a")])
    with pytest.raises(BenchmarkError, match="was run with model 'scripted:t', not 'local'"):
        await runner(tmp_path, Corridor(), resume=True, model="local").run([task("a")])
    with pytest.raises(BenchmarkError, match="was run with image None, not 'desktop'"):
        await runner(tmp_path, Corridor(), resume=True, image="desktop").run([task("a")])


async def test_the_whole_corridor_runs_on_a_fake_desktop(tmp_path: Path):
    done = Reply(role="worker", json={"thought": "It is done.", "action": "done"}, times=0)
    model = ScriptedModel([done, Reply(error="unavailable", text="no judge today", times=0)])
    async with Pool(FakeProvider(), concurrency=2) as pool:
        plan = Plan(config(), tmp_path / "out")
        result = await Runner(plan, models=Models(model, model, model), pool=pool).run([task("a")])
    assert result.tasks[0].scores == (1.0, 0.0)
    assert result.tasks[0].pick == "unjudged"
    assert "no judge today" in (result.tasks[0].error or "")
    assert result.table.calls >= 2
