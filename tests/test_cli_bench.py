"""A benchmark while it runs and its table, played by a double."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cli
from bbon.types import PhaseBegan
from benchmarks.desktop_mini import suite
from benchmarks.results import BenchConfig, BenchResult, Outcome, RolloutScore, TaskResult
from benchmarks.runner import TaskBegan, TaskEvent, TaskOver
from benchmarks.table import tabulate
from viewer.boards import LiveBoards
from viewer.console import ProgressConsole
from vm_pool.provider import Provider


def rollout(index: int, score: float | None) -> RolloutScore:
    outcome = Outcome(kind="guest_lost") if score is None else Outcome.scored(score)
    return RolloutScore(index=index, status="done", steps=3, seconds=2.0, outcome=outcome)


RESULT = TaskResult(
    task_id="files-rename-report",
    domain="files",
    instruction="Rename it",
    image="slim",
    rollouts=(rollout(0, 1.0), rollout(1, 0.0), rollout(2, None)),
    pick="picked",
    winner=0,
    seconds={"total": 41.2},
    run_dir="files-rename-report/1",
)


def bench_result(n: int) -> BenchResult:
    config = BenchConfig(
        suite="desktop_mini",
        suite_sha256="ab",
        model="local",
        judge=None,
        n=n,
        tasks=(RESULT.task_id,),
        provider="sandbox",
        temperature=None,
        max_steps=None,
    )
    return BenchResult(out_dir="results", config=config, table=tabulate([RESULT], n=n), tasks=(RESULT,))


async def play(*, listener: Callable[[Any], None], n: int, **_options: Any) -> BenchResult:
    [task] = suite.bench_tasks([RESULT.task_id])
    listener(TaskBegan(task=task, number=1, of=1))
    listener(TaskEvent(task_id=task.id, event=PhaseBegan(name="boot")))
    listener(TaskOver(result=RESULT, skipped=False))
    return bench_result(n)


SERVICES = replace(cli.SERVICES, bench_mini=play)


def test_the_table_shows_all_four_figures_with_intervals(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = cli.main(["bench", "mini", "-n", "3", "--out", str(tmp_path)], SERVICES)

    shown = capsys.readouterr()
    assert code == 0
    for words in ("one rollout", "best of 3, by the judge", "random pick", "oracle (pass@3)", "95 % interval"):
        assert words in shown.out
    assert "task 1 of 1: files-rename-report" in shown.err
    assert "files-rename-report: 1 0 –, the judge picked 0, 41.2 s" in shown.err


def test_the_policy_of_reflection_reaches_the_benchmark(tmp_path: Path) -> None:
    asked: list[object] = []

    async def heard(*, reflection: str, **options: Any) -> BenchResult:
        asked.append(reflection)
        return await play(**options)

    cli.main(["bench", "mini", "--reflection", "never", "--out", str(tmp_path)], replace(SERVICES, bench_mini=heard))
    assert asked == ["never"]


def test_json_is_the_whole_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli.main(["bench", "mini", "-n", "3", "--json", "--out", str(tmp_path)], SERVICES)

    assert BenchResult.model_validate_json(capsys.readouterr().out) == bench_result(3)


def test_the_tasks_run_on_the_provider_that_was_given(tmp_path: Path) -> None:
    asked: list[str] = []

    async def note(*, provider: str, **options: Any) -> BenchResult:
        asked.append(provider)
        return await play(**options)

    services = replace(cli.SERVICES, bench_mini=note)
    assert cli.main(["bench", "mini", "--provider", "docker", "--out", str(tmp_path)], services) == 0
    assert cli.main(["bench", "mini", "--out", str(tmp_path / "other")], services) == 0
    assert asked == ["docker", "sandbox"]


SPEEDS = {
    "provider": "fake",
    "image": "slim",
    "metrics": {"step_own_ms": {"min": 1.0, "p50": 2.0, "max": 3.0, "n": 4}},
    "ratios": {"scrot_over_frame": 43.3},
}


async def measured(provider: Provider, image: str, **_: object) -> Mapping[str, object]:
    return {**SPEEDS, "provider": provider.name, "image": image}


def test_speeds_are_printed_as_a_table_with_their_ratios_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    services = replace(cli.SERVICES, measure_steps=measured)

    assert cli.main(["bench", "steps", "--provider", "fake"], services) == 0
    shown = capsys.readouterr().out
    assert "step_own_ms" in shown
    assert "scrot_over_frame: 43.3" in shown
    assert cli.main(["bench", "steps", "--provider", "fake", "--json"], services) == 0
    assert json.loads(capsys.readouterr().out) == SPEEDS


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resume"], "name that folder"),
        (["--model", "gpt"], "unknown model"),
        (["-n", "0"], "-n"),
        (["--budget-usd", "-3"], "--budget-usd: Input should be greater than 0; see agent-s3 bench mini -h"),
        (["--budget-tokens", "0"], "--budget-tokens: "),
        (["--out", __file__], "is not a folder"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "mini", *argv], SERVICES) == 2
    assert words in capsys.readouterr().err


def test_a_benchmark_in_which_nothing_could_be_scored_ends_with_1(tmp_path: Path) -> None:
    nothing = RESULT.model_copy(update={"rollouts": (rollout(0, None),), "pick": "unjudged", "winner": None})

    async def fail(**_options: Any) -> BenchResult:
        return bench_result(1).model_copy(update={"table": tabulate([nothing], n=1)})

    assert cli.main(["bench", "mini", "--out", str(tmp_path)], replace(cli.SERVICES, bench_mini=fail)) == 1


def test_a_terminal_shows_the_tasks_under_way() -> None:
    screen = io.StringIO()
    console = ProgressConsole(file=screen, force_terminal=True, width=100, color_system=None)

    with LiveBoards(2, console) as live:
        live.begin("a", "task 3 of 18: a")
        live.advance("a", PhaseBegan(name="snapshot"))
        live.advance("unknown", PhaseBegan(name="judge"))
        live.begin("b", "task 4 of 18: b")
        live.stopping(first=True)
        live.end("a", "a: 1 \x1b[31m0")

    assert "task 3 of 18" in screen.getvalue()
    assert "snapshot" in screen.getvalue()
    assert "a: 1 [31m0" in screen.getvalue()
