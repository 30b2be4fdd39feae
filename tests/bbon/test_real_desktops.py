import asyncio
import os
import subprocess
import sys
from pathlib import Path

import desktop_run
import httpx2
import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, read_lines, read_model
from agent_s3.types import Step
from bbon.judge import judge
from bbon.replaying import replay_run
from bbon.state import RunState
from bbon.types import Candidate, Promoted, Promotion, RunEvent, RunResult
from llm.pull import model_path
from llm.registry import open_model
from vm_pool.providers import make_provider
from vm_pool.releasing import release
from vm_pool.strays import ls

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 120


def renamed(result: RunResult) -> bool:
    """Whether the winner is the rollout that renamed the file and kept its content."""
    given = {delivered.path.rsplit("/", 1)[1]: delivered for delivered in result.delivered}
    final = given["final.txt"].host_path
    return given["report.txt"].kind == "deleted" and final is not None and Path(final).read_bytes() == b"quarterly\n"


async def left_over(folder: Path) -> list[str]:
    return [left.stray.id for left in await ls([make_provider("sandbox")], labels={"run": folder.name})]


@pytest.mark.desktop
async def test_best_of_three_on_real_desktops_delivers_the_right_one_and_leaves_nothing(tmp_path: Path) -> None:
    result = await desktop_run.play(tmp_path / "best-of-three")
    assert [rollout.status for rollout in result.rollouts] == ["done"] * 3
    assert result.error is None
    assert renamed(result)
    assert await left_over(tmp_path / "best-of-three") == []
    paths, sandbox = RunPaths(tmp_path / "best-of-three"), make_provider("sandbox")
    report = await replay_run(paths, sandbox, prepare=desktop_run.prepare, on_step=lambda _step: None)
    assert [step.outcome for step in report.steps] == ["same", "same", "skipped"]
    assert await left_over(tmp_path / "best-of-three") == []


def token_of(made: Promotion) -> str | None:
    """None: it is not there any more."""
    path = Path(made.token_file)
    return path.read_text() if path.exists() else None


@pytest.mark.desktop
async def test_the_winners_desktop_can_be_spoken_to_by_other_programs_until_it_is_given_back(tmp_path: Path) -> None:
    heard: asyncio.Queue[Promoted] = asyncio.Queue()

    def hear(event: RunEvent) -> None:
        if isinstance(event, Promoted):
            heard.put_nowait(event)

    folder = tmp_path / "promoted"
    run = asyncio.create_task(desktop_run.play(folder, listener=hear, deliver="promote"))
    made = (await asyncio.wait_for(heard.get(), _PATIENCE_S)).promotion
    bearer = {"Authorization": f"Bearer {token_of(made)}"}
    async with httpx2.AsyncClient(base_url=made.url) as client:
        seen = await client.get("/screenshot", headers=bearer)
        stranger = await client.get("/screenshot")
        ran = await client.post("/v1/run", headers=bearer, json={"argv": ["ls", "Documents"], "request_id": "x"})
    assert (seen.status_code, seen.content[:4], stranger.status_code) == (200, b"\x89PNG", 401)
    assert "final.txt" in ran.text
    release(made.machine_id)
    assert renamed(await asyncio.wait_for(run, _PATIENCE_S))
    assert token_of(made) is None
    assert await left_over(folder) == []


@pytest.mark.desktop
def test_a_run_that_was_killed_goes_on_with_its_own_desktops(tmp_path: Path) -> None:
    folder = tmp_path / "killed-run"
    paths = RunPaths(folder)
    _kill_a_run(paths)
    before = read_model(paths.state, RunState).rollouts
    result = asyncio.run(desktop_run.play(folder, resume=True))
    assert all(known.machine_id for known in before.values())
    assert [(rollout.status, rollout.attempt) for rollout in result.rollouts] == [("done", 1)] * 3
    assert renamed(result)
    for index in range(3):
        assert [step.index for step in read_lines(paths.rollout(index).trajectory, Step)] == [0, 1, 2]
    assert asyncio.run(left_over(folder)) == []


@pytest.mark.desktop
def test_a_killed_run_whose_desktops_are_gone_too_does_their_steps_again_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "killed-run"
    paths = RunPaths(folder)
    _kill_a_run(paths)
    asyncio.run(_remove_machines(folder))
    result = asyncio.run(desktop_run.play(folder, resume=True))
    assert [(rollout.status, rollout.attempt) for rollout in result.rollouts] == [("done", 2)] * 3
    assert paths.log.read_text().count("steps that were done again") == 3
    assert renamed(result)
    for index in range(3):
        steps = read_lines(paths.rollout(index).trajectory, Step)
        assert [step.index for step in steps] == [0, 1, 2]
        assert [step.error for step in steps] == [None] * 3
    assert asyncio.run(left_over(folder)) == []


async def _remove_machines(folder: Path) -> None:
    for provider, stray in await ls([make_provider("sandbox")], labels={"run": folder.name}):
        if stray.kind == "machine":
            await provider.remove(stray)


def _kill_a_run(paths: RunPaths) -> None:
    """Begin one in a process of its own, and kill that in the middle of its steps."""
    command = [sys.executable, desktop_run.__file__, str(paths.root), "3"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(_ROOT)}) as process:
        _wait_for_steps(paths, process)
        process.kill()


def _wait_for_steps(paths: RunPaths, process: subprocess.Popen[bytes]) -> None:
    """Wait until every rollout of another process has a step; its workers think for seconds, so it is not over then."""
    for _ in range(_PATIENCE_S * 10):
        if all(read_lines(paths.rollout(index).trajectory, Step) for index in range(3)):
            return
        assert process.poll() is None, "the run ended before it could be killed"
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"no steps within {_PATIENCE_S} s")


@pytest.mark.local_model
@pytest.mark.timeout(600)
async def test_the_embedded_model_judges_by_letters_in_every_order(tmp_path: Path) -> None:
    if not model_path().exists():
        pytest.skip("the embedded model is not here; run: agent-s3 model pull local")
    right, wrong = "was renamed to final.txt, content unchanged.", "was deleted."
    candidates = [
        Candidate(index=i, status="done", facts=(), first=None, last=None, steps=1, changes=(f"report.txt {change}",))
        for i, change in enumerate((wrong, right))
    ]
    model = open_model("local")
    try:
        verdict = await judge("Rename report.txt to final.txt", candidates, model, FrameStore(tmp_path))
    finally:
        await model.aclose()
    assert verdict.method == "mcq_logprobs"
    assert {ballot.order[0] for ballot in verdict.ballots} == {0, 1, None}
    assert verdict.winner == 1
