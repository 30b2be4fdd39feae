"""Our own folders as cases, whole and damaged."""

from pathlib import Path

import pytest
from lab_stage import write_bench, write_result, write_run

from agent_s3.record import read_model, write_model
from agent_s3.types import RolloutResult
from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab.folders import collect


def test_a_benchmark_is_read_with_its_scores_and_unscored_rollouts_are_left_out(tmp_path: Path) -> None:
    write_bench(tmp_path, {"one": [0.0, None, 1.0], "two": [1.0, 1.0]})
    found = collect([tmp_path])
    assert found.faults == []
    one, two = found.cases
    assert (one.id, one.domain, one.instruction) == ("one", "files", "Do one")
    assert [attempt.index for attempt in one.attempts] == [0, 2]
    assert (one.scores, one.decidable) == ((0.0, 1.0), True)
    assert (two.scores, two.decidable) == ((1.0, 1.0), False)
    assert one.attempts[0].candidate.facts[0].text == "Rollout 0 is worth 0.0."
    assert one.attempts[0].moments[0].action == "click 'OK'"


async def test_frames_are_found(tmp_path: Path) -> None:
    write_bench(tmp_path, {"one": [0.0, 1.0]})
    [case] = collect([tmp_path]).cases
    last = case.attempts[0].candidate.last
    assert last is not None
    assert (await case.frames.png(last)).startswith(b"\x89PNG")


def test_a_task_that_was_cut_off_is_read_from_what_is_there(tmp_path: Path) -> None:
    paths = write_bench(tmp_path, {"one": [0.0, 1.0]})
    paths.task("one").result.unlink()
    [case] = collect([tmp_path]).cases
    assert case.scores == (0.0, 1.0)


def test_a_run_that_nobody_scored_is_a_case_without_scores(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [0.0, 1.0])
    [case] = collect([tmp_path / "run"]).cases
    assert (case.id, case.scores, case.decidable, len(case.attempts)) == ("run", None, False, 2)


def test_facts_are_computed_anew_where_the_narrative_is_missing(tmp_path: Path) -> None:
    paths = write_run(tmp_path / "run", [0.0])
    paths.rollout(0).narrative.unlink()
    [case] = collect([tmp_path / "run"]).cases
    assert "was created" in case.attempts[0].candidate.facts[0].text


def test_an_ending_that_no_judge_is_shown_is_left_out(tmp_path: Path) -> None:
    paths = write_run(tmp_path / "run", [0.0, 1.0])
    lost = read_model(paths.rollout(0).result, RolloutResult).model_copy(update={"status": "machine_lost"})
    write_model(paths.rollout(0).result, lost)
    [case] = collect([tmp_path / "run"]).cases
    assert [attempt.index for attempt in case.attempts] == [1]


@pytest.mark.parametrize("file", ["result.json", "trajectory.jsonl"])
def test_a_damaged_rollout_is_one_line_and_the_rest_goes_on(tmp_path: Path, file: str) -> None:
    paths = write_bench(tmp_path, {"one": [0.0, 1.0, 1.0], "two": [1.0, 0.0]})
    (paths.task("one").attempt(1).root / "rollouts" / "1" / file).write_text('{"index": "x"}\n')
    found = collect([tmp_path])
    assert [attempt.index for attempt in found.cases[0].attempts] == [0, 2]
    assert len(found.cases) == 2
    [fault] = found.faults
    assert "\n" not in fault
    assert "rollouts/1" in fault


def test_damaged_and_foreign_folders_are_one_line_each(tmp_path: Path) -> None:
    paths = write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, 0.0], "three": [0.0]})
    paths.task("two").result.write_text("{torn")
    (paths.task("three").attempt(1).root / "config.json").write_text("[]")
    write_run(tmp_path / "run", [1.0]).config.write_text("nothing")
    (tmp_path / "empty").mkdir()
    found = collect([tmp_path / "bench", tmp_path / "run", tmp_path / "empty"])
    assert [case.id for case in found.cases] == ["one"]
    assert len(found.faults) == 4
    assert "no folder of a run, a benchmark or OSWorld results" in found.faults[-1]


def test_the_same_task_from_two_folders_is_two_cases(tmp_path: Path) -> None:
    for name in "ab":
        write_bench(tmp_path / name, {"one": [0.0, 1.0]})
    assert [case.id for case in collect([tmp_path / "a", tmp_path / "b"]).cases] == ["one", "one (2)"]


def test_folders_of_both_kinds_go_together(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0]})
    for name, score in (("r0", "0"), ("r1", "1")):
        write_result(tmp_path / name, "os/x", score)
    found = collect([tmp_path / "bench", tmp_path / "r0", tmp_path / "r1"])
    assert [case.id for case in found.cases] == ["one", "os/x"]


def test_nothing_at_all_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="nothing to judge"):
        collect([tmp_path / "missing"])
