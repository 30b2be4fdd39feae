"""A recorded rollout on a real desktop is done again on another one."""

from pathlib import Path

import pytest
from rollout_stage import BLIND, act, says

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, read_lines, read_model
from agent_s3.replay import ReplayReport, Stage, replay
from agent_s3.rollout_log import RolloutStart
from agent_s3.settings import AgentSettings
from agent_s3.types import Step, Task
from llm.scripted import ScriptedModel
from vm_pool.machine import Machine
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers.sandbox import SandboxProvider

NOTES = "/home/user/Documents/notes.txt"
SETTINGS = AgentSettings(style="full", reflection="never", open_timeout_s=60)
ACTS = (
    act("open", app_or_filename=NOTES),
    act("hotkey", keys=["ctrl", "End"]),
    act("type", text="second line\n한글 wörld\n"),
    act("hotkey", keys=["ctrl", "s"]),
    act("call_code_agent"),
    says("code", f"```bash\nwc -l < {NOTES} > Documents/count.txt\n```"),
    says("code", "DONE"),
    says("code", "It counted."),
    act("done"),
)


def noise(path: str) -> bool:
    return "/." in path or not path.startswith("/home/")


async def recorded(machine: Machine, paths: RunPaths) -> list[Step]:
    model = ScriptedModel(ACTS, abilities=BLIND)
    result = await run_rollout(
        Task(id="t", instruction="Add a line"),
        machine,
        model,
        index=0,
        paths=paths,
        frames=FrameStore(paths.frames),
        settings=SETTINGS,
        on_step=lambda _step, _before, _after: None,
    )
    assert result.status == "done", result.reason
    return read_lines(paths.rollout(0).trajectory, Step)


async def again(provider: SandboxProvider, snapshot: Snapshot, paths: RunPaths, notes: bytes) -> ReplayReport:
    machine = await provider.fork(snapshot)
    await machine.write(NOTES, notes)
    start = read_model(paths.rollout(0).start, RolloutStart)
    stage = Stage(machine, FrameStore(paths.frames), SETTINGS, "again", ignore=noise)
    report = await replay(read_lines(paths.rollout(0).trajectory, Step), stage, first=start.first)
    if report.diverged is None:
        assert await machine.read(NOTES) == "first line\nsecond line\n한글 wörld\n".encode()
        assert (await machine.read("/home/user/Documents/count.txt")).strip() == b"3"
    await provider.stop(machine)
    return report


@pytest.mark.desktop
async def test_typing_saving_and_code_lead_to_the_same_files_and_another_start_is_noticed(tmp_path: Path) -> None:
    provider, paths = SandboxProvider(), RunPaths(tmp_path / "run")
    async with provider.session():
        base = await provider.boot(Spec(image="slim"))
        await base.write(NOTES, b"first line\n")
        snapshot = await provider.snapshot(base)
        steps = await recorded(base, paths)
        await provider.stop(base)
        same = await again(provider, snapshot, paths, b"first line\n")
        other = await again(provider, snapshot, paths, b"another line\n")
        await provider.drop(snapshot)
    assert [step.error for step in steps] == [None] * len(steps)
    assert same.diverged is None, same.diverged.words if same.diverged else ""
    assert [step.outcome for step in same.steps] == ["same"] * 5 + ["skipped"]
    assert other.diverged is not None
    assert {difference.aspect for difference in other.diverged.differences} & {"files", "elements", "screen"}
