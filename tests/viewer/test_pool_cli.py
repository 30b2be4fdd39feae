"""`agent-s3 pool bench`: its options reach the benchmark, and its report is a table, JSON or a page."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speed_stage import REPORT

import cli
from vm_pool.events import InputEvent
from vm_pool.provider import Provider
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.types import Box, Window

BY_DEFAULT = {"n": 16, "quickly": False, "grow": False, "size": (1920, 1080), "memory_mib": 2048}
STRESS: dict[str, Any] = {
    "provider": "fake",
    "image": "slim",
    "stress": {"minutes": 0.5, "seed": 7, "n": 4},
    "sound": True,
    "done": {"boots": 3, "forks": 40},
    "refused": {"a machine takes 64 MiB and 3 MiB are left": 2},
    "lost": {},
    "unexplained": {},
    "wrong": {},
    "collected": 0,
    "census": {"listed": {"before": 0, "most": 5, "after": 0}},
    "leaked": {},
    "metrics": {"start_ms": {"min": 1.0, "p50": 2.0, "max": 3.0, "n": 43}},
    "machine": REPORT["machine"],
    "host": REPORT["host"],
}


def lively(_name: str) -> Provider:
    """Machines in memory with a window, whose screens a key changes."""

    def prepare(machine: FakeMachine) -> None:
        box = Box(x=0, y=0, width=99, height=99)
        machine.desktop.windows = (Window(id="1", title="editor", app="mousepad", pid=7, box=box),)

    def draw(desktop: FakeDesktop, _event: InputEvent) -> None:
        shade = len(desktop.events) % 200
        desktop.paint(Box(x=0, y=0, width=20, height=20), (shade, shade, shade))

    return FakeProvider(prepare=prepare, script=Script(on_event=draw))


class Double:
    """Notes what it is asked and answers with a report."""

    def __init__(self, report: Mapping[str, Any]):
        self.report = report
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def __call__(self, provider: Provider, image: str, *, on_note: object, **options: Any) -> Mapping[str, Any]:
        self.calls.append((provider.name, image, options))
        return self.report


def call(*argv: str, report: Mapping[str, Any] = REPORT) -> tuple[int, Double]:
    double = Double(report)
    code = cli.main(["pool", "bench", *argv], replace(cli.SERVICES, measure=double, stress=double))
    return code, double


def test_without_options_sixteen_sandboxes_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    code, double = call()
    assert (code, double.calls) == (0, [("sandbox", "slim", {"asked": BY_DEFAULT})])
    shown = capsys.readouterr().out
    assert "fork_ms_n1" in shown
    assert "cold_boot_over_fork: 134.8" in shown
    assert "no screendump_ms:" in shown
    assert "clones_per_s" in shown
    assert "load 0.4 before and 2.1 after" in shown


def test_all_options_arrive() -> None:
    words = "--provider fake --image desktop --n 32 --quick --grow --size 1280x720 --memory 512"
    code, double = call(*words.split())
    asked = {"n": 32, "quickly": True, "grow": True, "size": (1280, 720), "memory_mib": 512}
    assert (code, double.calls) == (0, [("fake", "desktop", {"asked": asked})])


def test_json_is_the_report_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--provider", "fake", "--json")[0] == 0
    assert json.loads(capsys.readouterr().out) == REPORT


def test_a_page_is_written_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert call("--provider", "fake", "--quick", "-n", "4", "--html", str(page))[0] == 0
    assert "fork_ms_n1" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert f"agent-s3 pool bench --provider fake --n 4 --quick --html {page}" in text


def test_stress_is_another_benchmark_and_says_what_became_of_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    code, double = call("--provider", "fake", "--stress", "0.5", "--seed", "7", "-n", "4", report=STRESS)
    assert (code, double.calls) == (0, [("fake", "slim", {"asked": BY_DEFAULT | {"n": 4}, "minutes": 0.5, "seed": 7})])
    shown = capsys.readouterr().out
    assert "3 boots, 40 forks" in shown
    assert "2 x a machine takes 64 MiB" in shown
    assert call("--stress", "0.5", "--json", report=STRESS)[0] == 0
    assert json.loads(capsys.readouterr().out) == STRESS


def test_what_was_left_behind_ends_with_1_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    leaked = STRESS | {"sound": False, "leaked": {"processes": ["process 4711"]}}
    assert call("--stress", "0.5", report=leaked)[0] == 1
    assert "left behind, processes: process 4711" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--n", "0"], "--n"),
        (["--n", "500"], "--n"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--memory", "1"], "--memory"),
        (["--stress", "0"], "--stress"),
        (["--stress", "1", "--grow", "--quick"], "leave out --quick and --grow"),
        (["--stress", "1", "--html", "page.html"], "leave out --html"),
        (["--html", "nowhere/page.html"], "make it: mkdir -p nowhere"),
        (["--provider", "cloud"], "unknown provider 'cloud'"),
    ],
)
def test_a_users_mistake_is_one_line_and_starts_nothing(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, double = call(*argv)
    assert (code, double.calls) == (2, [])
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_the_real_benchmarks_run_behind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "bench", "--provider", "fake", "--stress", "0.01", "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stress"]["n"] == 2


def test_machines_in_memory_are_measured_behind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["pool", "bench", "--quick", "-n", "2", "--size", "320x200", "--json"]
    assert cli.main(argv, replace(cli.SERVICES, make_provider=lively)) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["fork_ms_n2_all"]["n"] == 1
    assert report["machine"]["width"] == 320
