"""A set to ship: small, the same to a judge, and nothing of the host in it."""

import json
from pathlib import Path

import pytest
from lab_stage import frame_of, judge_of, right, write_bench
from PIL import Image

from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab import lab
from benchmarks.judge_lab.folders import collect
from benchmarks.judge_lab.lab import Asked
from benchmarks.judge_lab.pack import Scrub, Trim, pack, trimmed

SECRET = "sk-abcdefghijklmnop0123456789"


def text_of(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.json*"))


async def test_a_packed_set_is_judged_as_what_it_was_made_of(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0, None, 0.0]})
    packed = pack([tmp_path / "bench"], tmp_path / "set")
    assert (packed.tasks, packed.rollouts, packed.faults) == (2, 5, ())

    reports = []
    for name in ("bench", "set"):
        order = Asked((tmp_path / name,), tmp_path / "out" / name, models=("scripted:judge",))
        reports.append(await lab.run(order, models={"scripted:judge": judge_of(right)}))
    assert reports[0].rows == reports[1].rows
    assert reports[0].cells == reports[1].cells
    facts = [[a.candidate for c in collect([tmp_path / n]).cases for a in c.attempts] for n in ("bench", "set")]
    assert facts[0] == facts[1]


def test_paths_names_and_keys_of_the_host_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    bench = tmp_path / "bench"
    write_bench(bench, {"one": [0.0, 1.0]}, said=f"{SECRET} and hunter2hunter2 in {bench}")
    assert SECRET in text_of(bench)
    pack([bench], tmp_path / "set")
    text = text_of(tmp_path / "set")
    for gone in (SECRET, "hunter2hunter2", str(bench)):
        assert gone not in text
    assert "(secret) and (secret) in ." in text
    assert "/home/user/0.txt" in text  # paths inside desktops are evidence


def test_logs_inputs_crops_and_files_stay_behind(tmp_path: Path) -> None:
    paths = write_bench(tmp_path / "bench", {"one": [0.0, 1.0]})
    run = paths.task("one").attempt(1).root
    for name in (
        "run.log",
        "state.json",
        "inputs/mine.txt",
        "rollouts/0/files/home/user/0.txt",
        "rollouts/0/crops/0.png",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    pack([tmp_path / "bench"], tmp_path / "set")
    names = {path.name for path in (tmp_path / "set").rglob("*") if path.is_file() and path.suffix != ".png"}
    assert names == {
        "bench.json",
        "pack.json",
        "config.json",
        "result.json",
        "trajectory.jsonl",
        "narrative.jsonl",
        *("0.json", "1.json"),
    }


def test_frames_are_small_have_few_colours_and_keep_their_names(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0, 1.0]})
    pack([tmp_path / "bench"], tmp_path / "set", Trim(width=640, colours=16))
    before, after = ({p.name for p in (tmp_path / n).rglob("*.png")} for n in ("bench", "set"))
    assert after == before
    with Image.open(next((tmp_path / "set").rglob("*.png"))) as picture:
        assert (picture.size, picture.mode) == ((640, 360), "P")


def test_the_same_frame_in_two_tasks_takes_its_room_once(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0], "two": [0.0]})
    packed = pack([tmp_path / "bench"], tmp_path / "set")
    files = list((tmp_path / "set").rglob("*.png"))
    assert packed.frames == 2
    assert len(files) == 4
    assert len({path.stat().st_ino for path in files}) == 2


def test_a_picture_becomes_the_same_bytes_every_time() -> None:
    png = frame_of(7).png()
    assert trimmed(png, Trim()) == trimmed(png, Trim())


def test_two_benchmarks_become_one_set_unless_they_hold_the_same_task(tmp_path: Path) -> None:
    write_bench(tmp_path / "a", {"one": [0.0]})
    write_bench(tmp_path / "b", {"two": [1.0]})
    assert pack([tmp_path / "a", tmp_path / "b"], tmp_path / "set").tasks == 2
    with pytest.raises(BenchmarkError, match="two folders hold the task 'one'"):
        pack([tmp_path / "a", tmp_path / "a"], tmp_path / "twice")


def test_what_cannot_be_taken_along_is_one_line(tmp_path: Path) -> None:
    paths = write_bench(tmp_path / "bench", {"one": [0.0, 1.0], "two": [1.0]})
    (paths.task("one").attempt(1).root / "rollouts" / "1" / "result.json").write_text("{torn")
    paths.task("two").result.unlink()
    packed = pack([tmp_path / "bench"], tmp_path / "set")
    assert (packed.tasks, packed.rollouts, len(packed.faults)) == (1, 1, 2)
    assert str(tmp_path) not in json.dumps(packed.faults)


@pytest.mark.parametrize("case", ["full", "none", "large"])
def test_mistakes_say_what_to_do(tmp_path: Path, case: str) -> None:
    write_bench(tmp_path / "bench", {"one": [0.0]})
    words = {"full": "not empty", "none": "no benchmark run", "large": "ask for a smaller --width"}[case]
    source = tmp_path if case == "none" else tmp_path / "bench"
    out = tmp_path / "bench" if case == "full" else tmp_path / "set"
    with pytest.raises(BenchmarkError, match=words):
        pack([source], out, limit_mb=1e-6 if case == "large" else 60)


def test_a_guests_home_is_no_secret(tmp_path: Path) -> None:
    words = Scrub.of_host(tmp_path, env={"AGENT_S3_STATE": "/var/lib/x", "API_KEY": "short"})
    assert words.text("/home/user/a /var/lib/x/b short") == "/home/user/a ./b short"
