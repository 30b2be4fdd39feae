"""`agent-s3 judge` and `agent-s3 bench pack`, from the command line to the files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lab_stage import write_bench, write_run

import cli
from benchmarks.judge_lab.report import LabReport

ROOT = Path(cli.__file__).parent
REPLY = {"times": 0, "json": {"reasons": "r", "citations": [], "choice": "A", "confidence": 0.5}}


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, 1.0, 0.0]})
    return tmp_path / "bench"


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "judge.json"
    path.write_text(json.dumps([REPLY]))
    return f"scripted:{path}"


def judge(bench: Path, script: str, *more: str) -> int:
    return cli.main(["judge", str(bench), "--model", script, "--out", str(bench.parent / "out"), *more])


def test_a_table_a_page_and_a_report_come_of_it(bench: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(bench, script, "--judge", "mcq", "--judge", "majority", "--votes", "2", "--judge", "longest") == 0
    shown = capsys.readouterr()
    for words in (
        "2 tasks, 2 decidable, 5 rollouts",
        "mcq · narratives",
        "majority",
        "longest",
        "random",
        "oracle",
        "against the first",
    ):
        assert words in shown.out
    assert "one: 2 rollouts judged" in shown.err
    report = LabReport.model_validate_json((bench.parent / "out" / "lab.json").read_text())
    assert report.config.votes == 2
    assert report.config.models == ("scripted:judge.json",)
    assert "Which judge is right?" in (bench.parent / "out" / "lab.html").read_text()
    assert len(next(p for p in report.positions if p.cell.startswith("majority")).picked) == 3


def test_json_is_the_report(bench: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(bench, script, "--json", "--seed", "5", "--sizes", "2", "--subsets", "3") == 0
    report = LabReport.model_validate_json(capsys.readouterr().out)
    assert (report.config.seed, report.config.sizes, report.config.subsets) == (5, (2,), 3)
    sets = {row.candidates for row in report.rows if row.task == "two" and row.n == 2 and row.cell.startswith("mcq")}
    assert sets == {(0, 1), (0, 2), (1, 2)}


def test_no_smaller_sizes_when_none_are_asked_for(bench: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(bench, script, "--json", "--sizes", "none") == 0
    assert all(row["whole"] for row in json.loads(capsys.readouterr().out)["rows"])


def test_captions_are_written_by_the_narrator_that_is_named(bench: Path, script: str, tmp_path: Path) -> None:
    narrator = tmp_path / "narrator.json"
    narrator.write_text(json.dumps([{"times": 0, "role": "narrator", "text": "a caption"}]))
    assert judge(bench, script, "--evidence", "captions", "--narrator", f"scripted:{narrator}", "--sizes", "none") == 0
    report = LabReport.model_validate_json((bench.parent / "out" / "lab.json").read_text())
    assert report.spent["narrator"].calls > 0
    assert report.config.narrator == "scripted:narrator.json"
    assert all(not row.error for row in report.rows)


def test_rollouts_and_choices_in_agent_s3s_form_where_they_are_asked_for(
    bench: Path, script: str, tmp_path: Path
) -> None:
    assert judge(bench, script, "--results", str(tmp_path / "theirs")) == 0
    assert (tmp_path / "theirs" / "rollout_0" / "files" / "one" / "fact_captions.jsonl").is_file()
    assert list((tmp_path / "theirs" / "verdicts").rglob("BoN2.json"))
    again = ["judge", *(str(tmp_path / "theirs" / f"rollout_{k}") for k in (0, 1)), "--model", script]
    assert cli.main([*again, "--out", str(tmp_path / "again")]) == 0


def test_a_budget_that_is_too_small_for_any_answer_is_a_breakdown_that_says_so(
    bench: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(bench, script, "--budget-tokens", "10") == 1
    assert "budget is used up" in capsys.readouterr().out


def test_a_run_that_nobody_scored_can_be_judged_too(
    tmp_path: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", [0.0, 1.0])
    assert judge(tmp_path / "run", script) == 0
    assert "1 tasks, 0 decidable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--judge", "best"], "there is no judge 'best'; the judges are: mcq"),
        (["--evidence", "smell"], "the forms are: narratives"),
        (["--model", "gpt"], "unknown model"),
        (["--sizes", "a"], "cannot read the sizes 'a': write 2-10, 2,4,8 or none"),
        (["--sizes", "1-4"], "between 2 and 32"),
        (["--out", __file__], "is not a folder"),
        (["--votes", "0"], "--votes"),
    ],
)
def test_mistakes_are_one_line(bench: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["judge", str(bench), *more]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert len(shown.strip().splitlines()) == 1


def test_folders_that_are_not_there_and_hold_nothing_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["judge", str(tmp_path / "none"), *out]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert cli.main(["judge", str(tmp_path), *out]) == 2
    assert "there is nothing to judge" in capsys.readouterr().err


def test_a_set_is_packed_and_judged(bench: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = bench.parent / "set"
    assert cli.main(["bench", "pack", str(bench), "--out", str(target), "--width", "320", "--colours", "8"]) == 0
    assert "2 tasks, 5 rollouts, 4 frames" in capsys.readouterr().out
    assert judge(target, script) == 0
    assert cli.main(["bench", "pack", str(bench), "--out", str(target)]) == 2
    assert "not empty" in capsys.readouterr().err
    more = ["--out", str(bench.parent / "other"), "--limit-mb", "0.001"]
    assert cli.main(["bench", "pack", str(bench), *more]) == 2
    assert "smaller --width" in capsys.readouterr().err
    assert cli.main(["bench", "pack", str(bench), "--out", str(bench.parent / "third"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == 2


def test_without_scipy_the_command_says_what_to_install(bench: Path) -> None:
    code = f"import sys; sys.modules['scipy'] = None; import cli; sys.exit(cli.main(['judge', {str(bench)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "agent-s3: the laboratory's statistics need scipy: pip install 'agent-s3[lab]'\n"
