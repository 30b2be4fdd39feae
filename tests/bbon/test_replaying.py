"""A recorded run is done again on a fresh machine, which its folder only has to be read for."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from agent_s3.paths import RunPaths
from bbon import best_of_n
from bbon.errors import RunFolderError
from bbon.models import Models
from bbon.replaying import replay_run
from bbon.types import RunConfig
from llm.chat import Abilities
from llm.scripted import Reply, ScriptedModel
from viewer import replays
from vm_pool.events import InputEvent, Text
from vm_pool.pool import Pool
from vm_pool.provider import Provider
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, FakeFile, Script

NAMES = "/home/user/Documents/names.txt"


def typing_adds_a_name(desktop: FakeDesktop, event: InputEvent) -> None:
    if isinstance(event, Text):
        desktop.files[NAMES] = FakeFile(desktop.files[NAMES].data + event.text.encode())


def provider() -> FakeProvider:
    return FakeProvider(script=Script(on_event=typing_adds_a_name))


async def run_once(folder: Path) -> RunPaths:
    """A run of one rollout that typed a name into a file that was given to it."""
    paths = RunPaths(folder / "run")
    paths.inputs.mkdir(parents=True)
    (paths.inputs / "names.txt").write_bytes(b"Ann\n")
    model = ScriptedModel(
        [
            Reply(role="worker", turn=0, text='{"thought": "", "action": "type", "text": "Bob"}'),
            Reply(role="worker", turn=1, text='{"thought": "", "action": "done"}'),
            Reply(role="judge", text='{"reasons": "it did", "citations": [], "choice": "A", "confidence": 1}'),
        ],
        abilities=Abilities(schema=True, context_tokens=200_000),
    )
    config = RunConfig(instruction="Add Bob", provider="fake", n=1, files=("names.txt",))
    async with Pool(provider(), concurrency=1) as pool:
        result = await best_of_n.run(config, paths, models=Models(model, model, model), pool=pool)
    assert result.winner == 0
    return paths


@pytest.fixture
async def paths(tmp_path: Path) -> RunPaths:
    return await run_once(tmp_path)


@pytest.fixture
def recorded_run(tmp_path: Path) -> RunPaths:
    """The same for a test that runs a whole command, which has a loop of its own."""
    return asyncio.run(run_once(tmp_path))


async def test_the_winner_is_done_again_from_the_same_start(paths: RunPaths) -> None:
    machines, lines = provider(), list[str]()
    before = sorted(path.name for path in paths.frames.iterdir())
    report = await replay_run(paths, machines, on_step=lambda step: lines.append(replays.step_line(step)))
    assert report.diverged is None
    assert lines == ["step 0: type 'Bob': same", "step 1: say that the task is done: skipped"]
    assert machines.machines[0].desktop.files[NAMES].data == b"Ann\nBob"
    assert machines.machines[0].lost
    assert sorted(path.name for path in paths.frames.iterdir()) == before


async def test_another_start_is_noticed_at_the_first_step_that_shows_it(paths: RunPaths) -> None:
    (paths.inputs / "names.txt").write_bytes(b"Zoe\n")
    report = await replay_run(paths, provider(), rollout=0, on_step=lambda _step: None)
    assert report.diverged is not None
    assert report.diverged.step == 0
    assert "stopped at step 0" in replays.summary(report)


async def test_a_rollout_that_is_not_there_is_said(paths: RunPaths) -> None:
    with pytest.raises(RunFolderError, match="no recorded rollout 7"):
        await replay_run(paths, provider(), rollout=7, on_step=lambda _step: None)
    paths.verdict.unlink()
    with pytest.raises(RunFolderError, match="--rollout 0"):
        await replay_run(paths, provider(), on_step=lambda _step: None)


def test_a_folder_without_a_run_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_command_says_each_step_and_ends_with_0_or_1(
    recorded_run: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(machines: FakeProvider) -> int:
        def made(_name: str) -> Provider:
            return machines

        services = replace(cli.SERVICES, make_provider=made)
        return cli.main(["replay", str(recorded_run.root), "--rollout", "0", "--on", "fake"], services)

    assert command(provider()) == 0
    shown = capsys.readouterr()
    assert "step 0: type 'Bob': same" in shown.err
    assert "came out as recorded" in shown.out
    assert command(FakeProvider()) == 1  # a desktop on which typing does nothing
    assert "files: recorded" in capsys.readouterr().err
