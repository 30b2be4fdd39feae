"""From a benchmark as it runs to a set that is judged: nothing that the laboratory needs is missing in between."""

from pathlib import Path

from agent_s3.types import RolloutResult
from bbon.models import Models
from benchmarks.judge_lab import lab
from benchmarks.judge_lab.folders import collect
from benchmarks.judge_lab.lab import Asked
from benchmarks.judge_lab.pack import pack
from benchmarks.results import AttemptPaths, BenchConfig, Outcome
from benchmarks.runner import Plan, Runner
from benchmarks.task import BenchTask
from llm.scripted import Reply, ScriptedModel
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.providers.fake import FakeProvider

SPEC = "scripted:t"


async def nothing(_machine: Machine, _paths: AttemptPaths) -> None:
    pass


async def rate(index: int, _machine: Machine, _result: RolloutResult, _paths: AttemptPaths) -> Outcome:
    return Outcome.scored(float(index == 1))


async def record(out: Path) -> None:
    """A benchmark of one task with two rollouts on fake desktops."""
    config = BenchConfig(
        suite="t",
        suite_sha256="0",
        model=SPEC,
        judge=None,
        n=2,
        tasks=("a",),
        provider="fake",
        temperature=None,
        max_steps=None,
    )
    worker = Reply(role="worker", json={"thought": "It is done.", "action": "done"}, times=0)
    model = ScriptedModel([worker, Reply(error="unavailable", text="no judge today", times=0)], name=SPEC)
    task = BenchTask("a", "Do it", "files", "slim", 3, nothing, rate, "easy")
    async with Pool(FakeProvider(), concurrency=2) as pool:
        await Runner(Plan(config, out), models=Models(model, model, model), pool=pool).run([task])


async def test_a_benchmark_that_ran_can_be_packed_and_judged(tmp_path: Path) -> None:
    await record(tmp_path / "bench")
    packed = pack([tmp_path / "bench"], tmp_path / "set")
    assert (packed.tasks, packed.rollouts, packed.faults) == (1, 2, ())

    found = collect([tmp_path / "set"])
    assert found.faults == []
    [case] = found.cases
    assert (case.id, case.domain, case.instruction, case.scores) == ("a", "files", "Do it", (0.0, 1.0))
    for attempt in case.attempts:
        assert attempt.candidate.facts
        assert attempt.candidate.last is not None
        assert (await case.frames.png(attempt.candidate.last)).startswith(b"\x89PNG")

    judge = ScriptedModel([Reply(json={"reasons": "r", "citations": [], "choice": "A", "confidence": 1}, times=0)])
    report = await lab.run(Asked((tmp_path / "set",), tmp_path / "out", models=(SPEC,)), models={SPEC: judge})
    assert all(not row.error for row in report.rows)
    assert (report.decidable, report.rollouts) == (1, 2)
