"""The command line as a user meets it: what is printed where, and the exit code. Runs are played by a double."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cli
from agent_s3.approval import Asker
from agent_s3.paths import RunPaths
from agent_s3.record import RecordError, write_model
from agent_s3.risks import RiskRules
from agent_s3.types import RolloutResult
from bbon.types import Judged, Listener, PhaseBegan, RecordedConfig, RunConfig, RunResult, Verdict
from llm.errors import ConfigError as ModelConfigError
from viewer import orders
from viewer.faults import UserMistake
from vm_pool.errors import HostUnfit, ImageError, VMPoolError
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Spec, Stray
from vm_pool.providers import make_provider
from vm_pool.providers.fake import FakeProvider

WHEN = datetime(2026, 11, 23, 22, 12, tzinfo=UTC)
Play = Callable[[RunConfig, RunPaths, Listener], Awaitable[RunResult]]


class RunDouble:
    """Stands where `bbon.best_of_n.run` is; records its calls and plays `play`."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.calls: list[tuple[RunConfig, RunPaths, bool]] = []
        self.asker: Asker | None = None

    async def __call__(
        self,
        config: RunConfig,
        paths: RunPaths,
        *,
        listener: Listener,
        resume: bool = False,
        asker: Asker | None = None,
    ) -> RunResult:
        self.asker = asker
        self.calls.append((config, paths, resume))
        recorded = RecordedConfig(**config.model_dump(), started_at=WHEN, versions={}, prompts={})
        write_model(paths.config, recorded)
        return await self.play(config, paths, listener)


def verdict(winner: int | None) -> Verdict:
    return Verdict(winner=winner, confidence=0.8, reasons="It renamed the file.", method="mcq")


def playing(winner: int | None = 0, error: str | None = None) -> Play:
    async def play(config: RunConfig, paths: RunPaths, listener: Listener) -> RunResult:
        listener(PhaseBegan(name="boot"))
        judged = verdict(winner)
        if error is None:
            write_model(paths.verdict, judged)
            listener(Judged(verdict=judged))
        rollout = RolloutResult(index=0, status="done", reason="says so", steps=2, seconds=1.0)
        result = RunResult(
            run_dir=str(paths.root),
            instruction=config.instruction,
            winner=winner,
            verdict=None if error else judged,
            rollouts=(rollout,),
            usage={},
            seconds={"total": 1.5},
            model=config.model,
            error=error,
        )
        write_model(paths.result, result)
        return result

    return play


def raising(error: Exception) -> Play:
    async def play(config: RunConfig, paths: RunPaths, listener: Listener) -> RunResult:
        raise error

    return play


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENT_S3_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AGENT_S3_CACHE", str(tmp_path / "cache"))


def call(*argv: str, play: Play | None = None) -> tuple[int, RunDouble]:
    double = RunDouble(play or playing())
    services = replace(cli.SERVICES, best_of_n=double, make_provider=make_provider, now=lambda: WHEN)
    return cli.main(list(argv), services), double


def test_a_delivered_winner_ends_with_0_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, double = call("run", "Rename it", "-n", "2", "--model", "openai:gpt-5")

    shown = capsys.readouterr()
    assert code == 0
    assert "rollout 0 of 1 (confidence 0.80" in shown.out
    assert "report.html" in shown.out
    assert "boot" in shown.err
    config, paths, resume = double.calls[0]
    assert (config.n, config.model, resume) == (2, "openai:gpt-5", False)
    assert paths.root.name.startswith("20261123-221200-")
    assert paths.report.is_file()


@pytest.mark.parametrize(("policy", "asked"), [("ask", True), ("ask-on-risk", True), ("auto", False)])
def test_a_run_that_asks_has_a_way_to_its_user(policy: str, asked: bool) -> None:
    _, double = call("run", "x", "--approve", policy)
    assert (double.asker is not None) is asked


def test_rules_that_cannot_be_read_are_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, double = call("run", "x", "--risk-rules", "missing.toml")
    assert (code, double.calls) == (2, [])
    assert "--risk-rules" in capsys.readouterr().err


def test_every_flag_reaches_the_run() -> None:
    Path("in.csv").write_text("a,b\n")
    Path("rules.toml").write_text('off = ["sudo"]\n')
    flags = {
        "--judge": "openai:gpt-5",
        "--narrator": "local",
        "--ground": "openai+http://localhost:8000/v1:UI-TARS-1.5-7B",
        "--ground-form": "point-1000",
        "--refine": "always",
        "--budget-usd": "2",
        "--budget-tokens": "9000",
        "--budget-steps": "40",
        "--max-minutes": "30",
        "--rollout-budget-usd": "0.5",
        "--rollout-budget-tokens": "3000",
        "--rollout-max-minutes": "9.5",
        "--approve": "dry-run",
        "--approve-timeout": "60",
        "--risk-rules": "rules.toml",
        "--image": "slim",
        "--network": "allow:example.org",
        "--max-steps": "7",
        "--actions": "native",
        "--observe": "a11y",
        "--reflection": "always",
        "--ask-timeout": "60",
        "--temperature": "0.3",
        "--concurrency": "2",
        "--votes": "3",
        "--max-n": "9",
        "--confidence": "0.8",
        "--size": "1280x720",
        "--seed": "5",
        "--out": "results",
        "--deliver": "promote",
        "--promote-minutes": "5",
        "--file": "in.csv",
        "--run-dir": "here",
    }

    switches = ("--reflection-first", "--stop-hopeless", "--ask", "--no-read-text")
    _, double = call("run", "Sum it", *switches, *(word for pair in flags.items() for word in pair))

    config, paths, _ = double.calls[0]
    assert config == RunConfig(
        instruction="Sum it",
        judge="openai:gpt-5",
        narrator="local",
        ground="openai+http://localhost:8000/v1:UI-TARS-1.5-7B",
        ground_form="point-1000",
        refine="always",
        read_text=False,
        budget_usd=2,
        budget_tokens=9000,
        budget_steps=40,
        max_minutes=30,
        rollout_budget_usd=0.5,
        rollout_budget_tokens=3000,
        rollout_max_minutes=9.5,
        approve="dry-run",
        approve_timeout_s=60,
        risk_rules=RiskRules(off=("sudo",)),
        image="slim",
        network="allow:example.org",
        max_steps=7,
        actions="native",
        observe="a11y",
        reflection="always",
        reflection_beside=False,
        ask=True,
        ask_timeout_s=60,
        temperature=0.3,
        concurrency=2,
        votes=3,
        max_n=9,
        confidence=0.8,
        stop_hopeless=True,
        width=1280,
        height=720,
        seed=5,
        deliver="promote",
        promote_minutes=5,
        files=("in.csv",),
        out=str(Path("results").absolute()),
    )
    assert (paths.inputs / "in.csv").read_text() == "a,b\n"
    assert paths.root == Path("here")


def test_a_mixture_counts_the_rollouts_unless_told() -> None:
    mixture = "2xopenai:gpt-5,3xanthropic:claude-opus-5-5"
    for argv, n in (((), 5), (("-n", "4"), 4)):
        _, double = call("run", "Sum it", "--model", mixture, *argv)
        assert (double.calls[0][0].n, double.calls[0][0].model) == (n, mixture)


def test_fewer_rollouts_at_most_than_at_the_start_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, double = call("run", "Sum it", "-n", "4", "--max-n", "2")
    assert (code, double.calls) == (2, [])
    assert "--max-n" in capsys.readouterr().err


def test_json_prints_one_result_and_nothing_else_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call("run", "x", "--json")

    result = RunResult.model_validate_json(capsys.readouterr().out)
    assert code == 0
    assert result.winner == 0


def test_a_judge_that_chose_none_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call("run", "x", play=playing(winner=None))

    assert code == 3
    assert "no rollout did the task" in capsys.readouterr().out


def test_a_run_that_broke_down_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call("run", "x", play=playing(error="the budget is used up"))

    shown = capsys.readouterr().out
    assert code == 1
    assert "the budget is used up" in shown
    assert "to go on  agent-s3 run --resume runs/" in shown


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run"], "say what to do"),
        (["run", "  "], "say what to do"),
        (["run", "x", "-n", "0"], "-n"),
        (["run", "x", "-n", "99"], "-n"),
        (["run", "x", "--frobnicate"], "--frobnicate"),
        (["run", "x", "--size", "big"], "WIDTHxHEIGHT"),
        (["run", "x", "--size", "100x100"], "--size, width: "),
        (["run", "x", "--model", "gpt"], "unknown model 'gpt'"),
        (["run", "x", "--judge", "gpt"], "unknown model 'gpt'"),
        (["run", "x", "--file", "nowhere.txt"], "'nowhere.txt' is not there"),
        (["run", "x", "--file", "."], "is a folder"),
        (["run", "x", "--file", "/dev/null"], "is no regular file"),
        (["run", "x", "--out", "taken"], "is not a folder"),
        (["run", "x", "--out", "taken/deeper"], "is not a folder"),
        (["run", "x", "--run-dir", "taken"], "is not an empty folder"),
        (["run", "x", "--run-dir", "taken/deeper"], "cannot make the run folder"),
        (["run", "x", "--budget-usd", "-1"], "--budget-usd"),
        (["run", "x", "--observe", "smell"], "--observe"),
        (["run", "--resume", "nowhere"], "holds no run"),
        (["run", "--resume", "nowhere", "-n", "3"], "leave out -n"),
        (["report", "nowhere"], "holds no run"),
        (["model", "pull", "huge"], "no model 'huge'"),
        (["pool", "image", "build", "windows"], "unknown image 'windows'"),
        (["pool", "image", "rm", "../.."], "is not an image id"),
        (["pool", "ls", "--provider", "cloud"], "unknown provider 'cloud'"),
        (["run", "x", "--provider", "cloud"], "unknown provider 'cloud'"),
        (["run", "x", "--network", "everything"], "no network 'everything'; write none, open, or allow:NAME"),
        (["bench", "mini", "--provider", "cloud"], "unknown provider 'cloud'"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_users_mistake_ends_with_2_and_says_what_to_mend(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("")

    code, double = call(*argv)

    shown = capsys.readouterr()
    assert (code, double.calls, shown.out) == (2, [], "")
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not Path("runs").exists()


def test_a_path_that_this_account_may_not_look_at_is_a_users_mistake() -> None:
    refused = PermissionError(13, "Permission denied", "/root/in.csv")

    with pytest.raises(UserMistake, match="no permission for"), orders.permitted():
        raise refused


def test_two_files_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "in.csv").write_text(folder)

    code, _ = call("run", "x", "--file", "a/in.csv", "--file", "b/in.csv")

    assert code == 2
    assert "same name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelConfigError("OPENAI_API_KEY is not set: export it"), 2),
        (HostUnfit("bwrap is missing; run: apt-get install bubblewrap"), 2),
        (ImageError("image 'slim' is not built; run: agent-s3 pool image build slim"), 1),
        (RecordError("cannot write x: No space left on device"), 1),
        (OSError(28, "No space left on device", "x.png"), 1),
        (ExceptionGroup("two", [VMPoolError("it broke"), VMPoolError("twice")]), 1),
    ],
)
def test_errors_that_we_know_are_one_line(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    ended, _ = call("run", "x", play=raising(error))

    lines = capsys.readouterr().err.splitlines()
    assert ended == code
    assert [line.startswith("agent-s3: ") for line in lines].count(True) == 1
    assert lines[-1].startswith("to go on: ") == (code == 1)


def test_an_error_that_nobody_expected_leaves_its_traceback_in_the_log_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, double = call("run", "x", play=raising(ZeroDivisionError("0/0")))

    shown = capsys.readouterr().err
    log = double.calls[0][1].log
    assert code == 1
    assert "Traceback" not in shown
    assert str(log) in shown
    assert "ZeroDivisionError: 0/0" in log.read_text()


def test_ctrl_c_stops_cleanly_with_130_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned: list[bool] = []

    async def stopped(config: RunConfig, paths: RunPaths, listener: Listener) -> RunResult:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)
            cleaned.append(True)
        raise AssertionError("not reached")

    code, double = call("run", "x", play=stopped)

    assert (code, cleaned) == (130, [True])
    assert f"agent-s3 run --resume {double.calls[0][1].root}" in capsys.readouterr().err


def test_a_run_that_never_began_leaves_no_folder() -> None:
    async def refuse(*_args: object, **_options: object) -> RunResult:
        raise ModelConfigError("OPENAI_API_KEY is not set: export it")

    code = cli.main(["run", "x"], replace(cli.SERVICES, best_of_n=refuse))

    assert code == 2
    assert list(Path("runs").iterdir()) == []


def test_resume_takes_the_recorded_run_and_raised_limits_only() -> None:
    _, first = call("run", "Rename it", "-n", "3", "--image", "slim", "--run-dir", "r")

    code, again = call("run", "--resume", "r", "--budget-tokens", "5000")

    config, paths, resume = again.calls[0]
    assert (code, resume, paths.root) == (0, True, Path("r"))
    assert config == first.calls[0][0].model_copy(update={"budget_tokens": 5000})


def test_a_run_folder_that_holds_a_run_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    call("run", "x", "--run-dir", "r")

    code, _ = call("run", "y", "--run-dir", "r")

    assert code == 2
    assert "agent-s3 run --resume r" in capsys.readouterr().err


def test_report_writes_the_page_again(capsys: pytest.CaptureFixture[str]) -> None:
    call("run", "x", "--run-dir", "r")
    Path("r/report.html").unlink()
    capsys.readouterr()

    code, _ = call("report", "r")

    assert (code, capsys.readouterr().out.strip()) == (0, "r/report.html")
    assert Path("r/report.html").is_file()


def test_help_and_version_print_and_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["-h"], ["--help"], ["run", "-h"], ["pool", "image", "-h"], ["--version"]):
        assert call(*argv)[0] == 0
        assert capsys.readouterr().out


def test_pool_commands_work_where_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (
        ["pool", "ls"],
        ["pool", "ls", "--json"],
        ["pool", "gc", "--all", "--dry-run"],
        ["pool", "image", "ls"],
    ):
        assert call(*argv, *(["--provider", "fake"] if argv[1] in ("ls", "gc") else []))[0] == 0
    assert "nothing is running" in capsys.readouterr().out


class Elsewhere(FakeProvider):
    """A provider that does not work here."""

    name = "elsewhere"

    async def strays(self) -> list[Stray]:
        raise HostUnfit("there is no elsewhere; run: go there")


def test_pool_commands_without_a_provider_go_over_all_that_work(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeProvider()
    asyncio.run(fake.boot(Spec(image="fake")))
    services = replace(cli.SERVICES, all_providers=lambda: [Elsewhere(), fake], make_provider=_elsewhere)

    assert cli.main(["pool", "ls", "--json"], services) == 0
    shown = capsys.readouterr()
    [found] = json.loads(shown.out)
    assert (found["provider"], found["kind"]) == ("fake", "machine")
    assert shown.err == "left out elsewhere: there is no elsewhere; run: go there\n"
    assert cli.main(["pool", "gc", "--dry-run"], services) == 0
    assert "0 to remove" in capsys.readouterr().out
    assert cli.main(["pool", "gc", "--provider", "elsewhere"], services) == 2
    assert "there is no elsewhere" in capsys.readouterr().err


def _elsewhere(name: str) -> Provider:
    assert name == "elsewhere"
    return Elsewhere()


def test_a_run_uses_the_provider_that_it_was_given() -> None:
    assert call("run", "x", "--provider", "docker", "--run-dir", "r")[1].calls[0][0].provider == "docker"


def test_doctor_names_a_mending_command_for_all_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call("doctor", "--json")

    found = json.loads(capsys.readouterr().out)
    missing = {check["name"]: check for check in found if not check["ok"]}
    assert code == 1
    assert missing["local model"]["fix"] == "agent-s3 model pull local"
    assert all(check["fix"] for check in missing.values())


def test_model_ls_lists_the_forms(capsys: pytest.CaptureFixture[str]) -> None:
    call("model", "ls")

    shown = capsys.readouterr().out
    assert "anthropic:NAME" in shown
    assert "not pulled: agent-s3 model pull local" in shown


def test_a_closed_standard_output_is_no_fault() -> None:
    import subprocess
    import sys

    command = f"exec {sys.executable} {cli.__file__} pool image ls >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_help_starts_without_the_heavy_libraries() -> None:
    import subprocess
    import sys

    code = "import sys, cli; cli.main(['-h']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(cli.__file__).parent
    )

    assert not {"pydantic", "numpy", "PIL", "rich", "asyncio", "jinja2"} & set(done.stderr.split())


def test_what_was_left_behind_is_listed_without_naming_a_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "ls"]) == 0
    assert cli.main(["pool", "gc", "--dry-run"]) == 0
    assert "remote" not in capsys.readouterr().err


def test_what_happened_is_told_by_another_command(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeProvider()

    services = replace(cli.SERVICES, all_providers=lambda: [fake])
    with asyncio.Runner() as runner:
        lent = AsyncExitStack()
        pool = runner.run(lent.enter_async_context(Pool(fake, concurrency=1)))
        runner.run(lent.enter_async_context(pool.lease(Spec(image="fake"), labels={"run": "r7"})))
        assert cli.main(["pool", "ls"], services) == 0
        runner.run(lent.aclose())
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["provider", "kind", "id", "owner", "age", "lent", "heartbeat", "disk", "labels"]
    assert shown[1].split()[-1] == "run=r7"

    assert cli.main(["pool", "logs"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == [
        *("asked", "admitted", "ready", "lent", "stopped"),
    ]
    assert cli.main(["pool", "logs", "fake-0", "--json"], services) == 0
    assert json.loads(capsys.readouterr().out)["events"][0]["labels"] == {"run": "r7"}
    assert cli.main(["pool", "logs", "m-none"], replace(cli.SERVICES, all_providers=list)) == 2
    assert "nothing is known of 'm-none'" in capsys.readouterr().err


def test_one_note_does_for_providers_that_lack_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "ls"], replace(cli.SERVICES, all_providers=lambda: [Elsewhere(), Elsewhere()])) == 0
    assert capsys.readouterr().err == "left out elsewhere: there is no elsewhere; run: go there\n"
