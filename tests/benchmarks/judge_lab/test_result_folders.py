"""Result folders of OSWorld and of Agent S3's scripts: read, judged, and written in the same form."""

import json
from pathlib import Path

import pytest
from lab_stage import judge_of, right, write_bench, write_result

from benchmarks.judge_lab import lab
from benchmarks.judge_lab.folders import collect
from benchmarks.judge_lab.lab import Asked
from benchmarks.judge_lab.result_folders import read_results
from benchmarks.judge_lab.result_writing import safe


def write_set(root: Path, agent_s3: bool = True) -> list[Path]:
    folders = [root / name for name in ("r0", "r1", "r2")]
    for folder, score in zip(folders, ("0.0", "1.0", "0.5"), strict=True):
        write_result(folder, "os/aa", score, agent_s3=agent_s3)
        write_result(folder, "chrome/bb", "1", agent_s3=agent_s3)
    return folders


def test_agent_s3s_results_are_read(tmp_path: Path) -> None:
    found = read_results(write_set(tmp_path))
    assert found.faults == []
    chrome, files = found.cases
    assert (chrome.id, files.id, files.domain, files.instruction) == ("chrome/bb", "os/aa", "os", "Do it")
    assert files.scores == (0.0, 1.0, 0.5)
    one = files.attempts[0]
    assert (one.candidate.status, one.candidate.steps) == ("done", 2)
    assert one.moments[0].action == "pyautogui.click(5, 5)"
    assert one.moments[0].thought == "plan 1"
    assert one.candidate.first is not None
    assert one.moments[0].before == one.candidate.first
    assert one.moments[1].after == one.candidate.last
    assert "pyautogui.click(5, 5)" in one.candidate.facts[0].text


async def test_pictures_are_those_of_the_files(tmp_path: Path) -> None:
    [case] = read_results([write_result(tmp_path / "r0", "os/aa", "1").parents[1]]).cases
    last = case.attempts[0].candidate.last
    assert last is not None
    assert await case.frames.png(last) == next((tmp_path / "r0" / "os" / "aa").glob("step_2_*.png")).read_bytes()
    assert (last.width, last.height) == (320, 200)


def test_osworlds_own_results_are_read_with_the_instruction_from_its_examples(tmp_path: Path) -> None:
    folders = write_set(tmp_path, agent_s3=False)
    assert not read_results(folders).cases
    assert "--examples" in read_results(folders).faults[0]
    for task in ("os/aa", "chrome/bb"):
        file = tmp_path / "examples" / f"{task}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"id": task, "instruction": " Do that "}))
    found = read_results(folders, examples=tmp_path / "examples")
    assert [case.instruction for case in found.cases] == ["Do that", "Do that"]
    assert found.cases[0].attempts[0].candidate.first is not None  # no step_0.png there: the first that is


def test_the_folder_that_the_runner_was_given_is_read_as_well(tmp_path: Path) -> None:
    write_result(tmp_path / "results" / "pyautogui" / "screenshot" / "gpt", "os/aa", "1")
    [case] = collect([tmp_path / "results"]).cases
    assert case.id == "os/aa"
    assert case.attempts[0].folder == tmp_path / "results" / "pyautogui" / "screenshot" / "gpt"


def test_fact_captions_are_the_narrative(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "r0", "os/aa", "1")
    lines = [
        {"fact_thoughts": "t", "fact_answer": "Fact Caption from Screenshot 2: B <b>", "screenshot_num": 2},
        {"fact_thoughts": "t", "fact_answer": "Fact Caption from Screenshot 1: A", "screenshot_num": 1},
        {"fact_answer": 7},
    ]
    (folder / "fact_captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{torn")
    [case] = read_results([tmp_path / "r0"]).cases
    assert [(f.step, f.text) for f in case.attempts[0].candidate.facts] == [(0, "A"), (1, "B ‹b›")]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("result.txt", None, "not evaluated"),
        ("result.txt", "nan", "score is nan"),
        ("result.txt", "good", "could not convert"),
        ("traj.jsonl", '{"Error": "boom"}\n', "no action"),
        ("fact_captions.jsonl", "{}\n", "no fact"),
    ],
)
def test_a_damaged_rollout_is_one_line(tmp_path: Path, file: str, content: str | None, words: str) -> None:
    folders = write_set(tmp_path)
    path = folders[1] / "os" / "aa" / file
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    found = read_results(folders)
    [fault] = found.faults
    assert words in fault
    assert [attempt.index for attempt in found.cases[1].attempts] == [0, 2]


def test_a_damaged_picture_costs_the_picture_only(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "r0", "os/aa", "1")
    next(folder.glob("step_2_*.png")).write_bytes(b"torn")
    [case] = read_results([tmp_path / "r0"]).cases
    assert case.attempts[0].moments[1].after is None
    assert case.attempts[0].candidate.last == case.attempts[0].moments[0].after


@pytest.mark.parametrize(
    ("last", "status"), [("DONE", "done"), ("FAIL", "fail"), ("pyautogui.press('a')", "step_limit")]
)
def test_how_it_ended_is_told(tmp_path: Path, last: str, status: str) -> None:
    write_result(tmp_path / "r0", "os/aa", "1", last=last)
    assert read_results([tmp_path / "r0"]).cases[0].attempts[0].candidate.status == status


async def test_what_is_written_is_read_again_as_the_same(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, 1.0]})
    order = Asked((tmp_path / "bench",), tmp_path / "out", models=("scripted:judge",))
    await lab.run(order, models={"scripted:judge": judge_of(right)}, results=tmp_path / "theirs")

    folders = [tmp_path / "theirs" / f"rollout_{place}" for place in (0, 1)]
    found = read_results(folders)
    assert found.faults == []
    assert [case.id for case in found.cases] == ["files/one", "files/two"]
    assert [case.scores for case in found.cases] == [(0.0, 1.0), (1.0, 1.0)]
    ours = collect([tmp_path / "bench"]).cases
    for case, theirs in zip(ours, found.cases, strict=True):
        assert theirs.instruction == case.instruction
        for before, after in zip(case.attempts, theirs.attempts, strict=True):
            assert [f.text for f in after.candidate.facts] == [f.text for f in before.candidate.facts]
            assert after.candidate.status == before.candidate.status
            assert len(after.moments) == len(before.moments)


async def test_choices_are_written_as_agent_s3s_judge_writes_them(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, 1.0]})
    order = Asked((tmp_path / "bench",), tmp_path / "out", models=("scripted:judge",))
    await lab.run(order, models={"scripted:judge": judge_of(right)}, results=tmp_path / "theirs")

    told = json.loads((tmp_path / "theirs" / "verdicts" / safe("mcq · narratives") / "BoN2.json").read_text())
    one = told["files/one"]
    assert one["selected_trajectory"] == str(tmp_path / "theirs" / "rollout_1")
    assert one["answer"] == "2"
    assert set(one) == {"selected_trajectory", "answer", "thoughts"}
    assert told["score"] == {
        "optimal": 2.0,
        "minimum": 1.0,
        "expected_value": 1.5,
        "res": [1.0, 1.0],
        "actual score": 2.0,
    }
