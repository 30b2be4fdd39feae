"""The laboratory finds out the skill that scripted judges really have."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab_stage import answer, case_of, first, judge_of, options_of, right, task_of, write_bench, wrong

from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab import lab
from benchmarks.judge_lab.cases import Case, Collected
from benchmarks.judge_lab.lab import Asked, asked
from benchmarks.judge_lab.report import Cell, LabReport
from llm.chat import Request
from llm.errors import ConfigError
from llm.scripted import Reply, ScriptedModel

SPEC = "scripted:judge"


async def study(cases: list[Case], model: ScriptedModel, out: Path, **more: Any) -> LabReport:
    options: dict[str, Any] = {"judges": ("mcq",), "models": (SPEC,), "sizes": (), **more}
    return await lab.judge_cases(Asked((), out, **options), Collected(cases), models={SPEC: model})


def cell(report: LabReport, judge: str) -> Cell:
    return next(found for found in report.cells if found.judge == judge)


def share(text: str) -> float:
    """A number from 0 to 1 that is the same for the same text, and spread evenly over texts."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def skilled(skill: float) -> Callable[[Request, list[tuple[str, float]]], str]:
    """Right with this chance, by task; otherwise wrong."""
    return lambda request, options: (right if share(task_of(request)) < skill else wrong)(request, options)


@pytest.mark.parametrize("skill", [0.0, 0.3, 0.784, 1.0])
async def test_the_accuracy_that_is_measured_is_the_judges_skill(tmp_path: Path, skill: float) -> None:
    cases = [case_of(f"t{number}", [0, 0, 1, 0], tmp_path) for number in range(400)]
    report = await study(cases, judge_of(skilled(skill)), tmp_path)

    found = cell(report, "mcq")
    really = sum(share(case.instruction) < skill for case in cases) / len(cases)
    assert found.accuracy.value == pytest.approx(really)
    assert abs(really - skill) <= 3.5 * (skill * (1 - skill) / 400) ** 0.5
    assert found.gap.value == pytest.approx((really - 0.25) / 0.75)
    assert found.over_random.value == pytest.approx(really - 0.25)
    if 0 < skill < 1:
        assert found.gap.low is not None
        assert found.gap.high is not None
        assert found.gap.low < (skill - 0.25) / 0.75 < found.gap.high


async def test_random_and_oracle_are_exact_and_bound_every_judge(tmp_path: Path) -> None:
    cases = [
        case_of("a", [0, 1, 1, 0], tmp_path),
        case_of("b", [1, 1], tmp_path),
        case_of("c", [0.5, 0, 0, 0], tmp_path),
    ]
    report = await study(cases, judge_of(right), tmp_path)

    assert (report.tasks, report.decidable, report.scored, report.rollouts) == (3, 2, 3, 10)
    assert cell(report, "random").success.value == pytest.approx((0.5 + 1 + 0.125) / 3)
    assert cell(report, "oracle").success.value == pytest.approx((1 + 1 + 0.5) / 3)
    assert cell(report, "oracle").gap.value == 1.0
    assert cell(report, "random").gap.value == 0.0
    assert cell(report, "mcq").success == cell(report, "oracle").success


async def test_a_better_judge_is_better_on_the_same_tasks(tmp_path: Path) -> None:
    """`right` on every task against one that is right on the first half of them only."""
    cases = [case_of(f"t{number:02}", [0, 1], tmp_path) for number in range(20)]

    def half(request: Request, options: list[tuple[str, float]]) -> str:
        return (right if task_of(request) < "Do t10" else wrong)(request, options)

    found = Asked((), tmp_path, judges=("mcq",), models=(SPEC, "scripted:half"), sizes=())
    models = {SPEC: judge_of(right), "scripted:half": judge_of(half, "scripted:half")}
    report = await lab.judge_cases(found, Collected(cases), models=models)
    compared = next(c for c in report.comparisons if c.cell == "mcq · narratives · scripted:half")
    assert compared.difference.value == -0.5
    assert (compared.only_cell, compared.only_other) == (0, 10)
    assert compared.p == pytest.approx(2 / 2**10)
    assert compared.difference.high is not None
    assert compared.difference.high < 0
    [agreed] = report.agreement
    assert agreed.same == 0.5


async def test_a_second_run_asks_nobody_and_says_the_same(tmp_path: Path) -> None:
    cases = [case_of(f"t{number}", [0, 1, 0], tmp_path) for number in range(6)]
    kinds = ("mcq", "majority", "pairwise", "tournament")
    before = await study(cases, model := judge_of(right), tmp_path, judges=kinds, sizes=(2,))
    again = await study(
        cases, silent := ScriptedModel([], name=SPEC, abilities=model.abilities), tmp_path, judges=kinds, sizes=(2,)
    )

    assert model.asked
    assert not silent.asked
    assert again.rows == before.rows
    assert again.cells == before.cells
    assert not again.spent
    assert before.spent["judge"].calls == len(model.asked)
    assert cell(again, "mcq").usage.calls == 6


async def test_a_run_that_its_budget_ended_goes_on_from_there(tmp_path: Path) -> None:
    cases = [case_of(f"t{number}", [0, 1], tmp_path) for number in range(8)]
    short = await study(cases, poor := judge_of(right), tmp_path, budget_tokens=25_000, concurrency=1)
    missing = cell(short, "mcq").unanswered
    assert 0 < missing < 8
    assert "budget" in next(row.error for row in short.rows if row.error)
    whole = await study(cases, rich := judge_of(right), tmp_path)
    assert cell(whole, "mcq").unanswered == 0
    assert len(poor.asked) + len(rich.asked) == 8
    assert cell(short, "mcq").success.tasks == 8 - missing


async def test_a_bias_for_the_first_place_is_found_and_costs_all_skill(tmp_path: Path) -> None:
    cases = [case_of(f"t{number}", [0, 0, 1, 0], tmp_path) for number in range(60)]
    report = await study(cases, judge_of(first), tmp_path, judges=("majority",), votes=4)
    [found] = report.positions
    assert found.picked == (240, 0, 0, 0)
    assert found.p is not None
    assert found.p < 1e-6
    assert found.steady == 0.0


async def test_no_bias_is_found_where_there_is_none(tmp_path: Path) -> None:
    cases = [case_of(f"t{number}", [0, 0, 1, 0], tmp_path) for number in range(30)]
    report = await study(cases, judge_of(right), tmp_path, judges=("majority",), votes=4)
    [found] = report.positions
    assert found.picked == (30, 30, 30, 30)
    assert (found.p, found.steady) == (1.0, 1.0)


async def test_the_curve_of_a_perfect_judge_is_the_oracles(tmp_path: Path) -> None:
    cases = [case_of("a", [0, 1, 0, 0], tmp_path), case_of("b", [1, 0, 0, 1], tmp_path)]
    report = await study(cases, judge_of(right), tmp_path, judges=("tournament",), sizes=None, subsets=1)
    oracle = {point.n: point.success.value for point in cell(report, "oracle").curve}
    assert oracle == pytest.approx({1: 0.375, 2: (0.5 + 5 / 6) / 2, 3: (0.75 + 1) / 2, 4: 1.0})
    judged = {point.n: point.success.value for point in cell(report, "tournament").curve}
    assert judged[1] == 0.375
    assert judged[4] == 1.0
    assert judged[3] == pytest.approx(oracle[3])  # every rollout was left out once, so these are all sets
    assert [point.success.value for point in cell(report, "random").curve] == [0.375] * 4


async def test_smaller_numbers_cost_the_tournament_nothing(tmp_path: Path) -> None:
    cases = [case_of("a", [0, 1, 0, 0], tmp_path)]
    model = judge_of(right)
    await study(cases, model, tmp_path, judges=("tournament",), sizes=None)
    assert len(model.asked) == 6


async def test_choosing_none_counts_as_0_and_is_right_where_all_failed(tmp_path: Path) -> None:
    cases = [case_of("a", [0, 0], tmp_path), case_of("b", [0, 1], tmp_path)]
    none = judge_of(lambda _request, _options: "none")
    found = cell(await study(cases, none, tmp_path), "mcq")
    assert (found.none, found.none_right, found.success.value) == (2, 1, 0.0)
    assert found.accuracy.value == 0.0


async def test_what_nobody_scored_is_judged_and_counts_in_no_figure(tmp_path: Path) -> None:
    cases = [case_of("a", [None, None], tmp_path), case_of("b", [0, 1], tmp_path)]
    unscored = ScriptedModel([lambda _r, _role: answer("A")], name=SPEC, abilities=judge_of(right).abilities)
    report = await study(cases, unscored, tmp_path)
    assert report.scored == 1
    assert (cell(report, "mcq").answered, cell(report, "mcq").success.tasks) == (2, 1)
    assert cell(report, "oracle").unanswered == 1


async def test_a_judge_that_gives_no_usable_answer_stays_out_of_the_figures(tmp_path: Path) -> None:
    cases = [case_of("a", [0, 1], tmp_path), case_of("b", [0, 1], tmp_path)]

    def sometimes(request: Request, options: list[tuple[str, float]]) -> str:
        return right(request, options) if task_of(request) == "Do a" else "Q"

    report = await study(cases, judge_of(sometimes), tmp_path)
    assert (cell(report, "mcq").answered, cell(report, "mcq").unanswered) == (1, 1)
    assert cell(report, "mcq").success.value == 1.0
    [error] = [row.error for row in report.rows if row.error]
    assert "no usable verdict" in error


async def test_pictures_for_a_model_without_eyes_are_skipped_with_the_reason(tmp_path: Path) -> None:
    report = await study(
        [case_of("a", [0, 1], tmp_path)], judge_of(right), tmp_path, evidence=("narratives", "screens")
    )
    skipped = [found for found in report.cells if found.skipped]
    assert [found.name for found in skipped] == ["mcq · screens"]
    assert "cannot see pictures" in skipped[0].skipped


async def test_rollouts_that_ended_alike_count_as_the_same_choice(tmp_path: Path) -> None:
    case = case_of("a", [1, 1, 0], tmp_path)
    ends = ["same", "same", "other"]
    alike = tuple(
        type(a)(a.candidate.model_copy(update={"end_state": end}), a.moments, a.score, a.folder)
        for a, end in zip(case.attempts, ends, strict=True)
    )
    report = await study([Case("a", "d", "Do a", alike, case.frames)], judge_of(right), tmp_path)
    row = next(row for row in report.rows if row.cell == "mcq · narratives")
    assert (row.pick, row.label) == (0, "0")


async def test_a_run_over_folders_leaves_a_report_without_the_hosts_paths(tmp_path: Path) -> None:
    paths = write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, 1.0, None], "torn": [1.0]})
    paths.task("torn").result.write_text("{")
    out = tmp_path / "out"
    notes: list[str] = []
    order = Asked((tmp_path / "bench",), out, models=(SPEC,))

    report = await lab.run(order, models={SPEC: judge_of(right)}, note=notes.append)

    text = (out / "lab.json").read_text()
    assert LabReport.model_validate_json(text) == report
    assert str(tmp_path) not in text
    assert report.config.folders == ("bench",)
    assert "bench/tasks/torn" in report.faults[0]
    assert (report.tasks, report.rollouts) == (2, 4)
    assert sorted(notes) == ["one: 2 rollouts judged", "two: 2 rollouts judged"]
    assert "judge_lab/caption" in report.prompts


def test_unknown_judges_forms_and_models_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    base: dict[str, Any] = {"folders": (tmp_path,), "out": tmp_path, "judges": ["mcq"], "evidence": ["narratives"]}
    with pytest.raises(BenchmarkError, match="no judge 'best'; the judges are: mcq, majority"):
        asked(**base | {"judges": ["best"]}, models=["local"])
    with pytest.raises(BenchmarkError, match="no evidence 'smells'; the forms are: narratives"):
        asked(**base | {"evidence": ["smells"]}, models=["local"])
    with pytest.raises(ConfigError, match="unknown model"):
        asked(**base, models=["gpt"])
    assert asked(**base, models=["local", "local"]).models == ("local",)


@pytest.mark.parametrize("form", ["narratives", "captions"])
async def test_a_stopped_run_leaves_no_question_behind(tmp_path: Path, form: str) -> None:
    """A local model that is asked after it was closed would start again."""
    asked_once = asyncio.Event()

    def slowly(_request: Request, _role: str) -> Reply:
        asked_once.set()
        return Reply(text="words", delay_s=60)

    slow = ScriptedModel([slowly], name=SPEC, abilities=judge_of(right).abilities)
    running = asyncio.create_task(study([case_of("a", [0, 1], tmp_path)], slow, tmp_path, evidence=(form,)))
    await asked_once.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_nothing_to_judge_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nothing to judge; .*no folder of a run, a benchmark or OSWorld results"):
        await lab.run(Asked((tmp_path,), tmp_path / "out"))


def test_the_stage_shows_worths_to_scripted_judges() -> None:
    """If the question's form changes, the judges of these tests are blind, and this says so."""
    assert options_of.__doc__
