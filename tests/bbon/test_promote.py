"""The winner's machine stays up for its user, and only that one, until it is given back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import cli
from agent_s3.paths import RunPaths
from agent_s3.record import read_model
from bbon import best_of_n
from bbon.models import Models
from bbon.types import Promoted, RunConfig, RunEvent, RunResult
from llm.chat import Abilities
from llm.scripted import Reply, ScriptedModel
from viewer.terminal import event_lines
from vm_pool.errors import ConfigError
from vm_pool.lease_book import LeaseBook
from vm_pool.pool import Pool
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.releasing import release

_LEASE_S = 1.2
"""So that the pool looks after its leases ten times a second."""


def model(choice: str = "A") -> ScriptedModel:
    verdict = f'{{"reasons": "so", "citations": [], "choice": "{choice}", "confidence": 1}}'
    return ScriptedModel(
        [
            Reply(role="worker", times=0, text='{"thought": "", "action": "done"}'),
            Reply(role="judge", times=0, text=verdict),
        ],
        abilities=Abilities(schema=True, context_tokens=200_000),
    )


class Run:
    """A run of two rollouts whose winner is promoted, with what is heard of it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.paths, self.provider = RunPaths(folder / "run"), FakeProvider(files={"/home/user/a": b"x"})
        self.config = RunConfig(instruction="x", provider="fake", n=2, deliver="promote", **config)
        self.promoted, self.up = asyncio.Event(), list[bool]()
        self.event: Promoted | None = None

    def hear(self, event: RunEvent) -> None:
        if isinstance(event, Promoted):
            self.event = event
            self.up = [not machine.lost for machine in self.provider.machines]
            self.promoted.set()

    async def go(self, judge: str = "A", **more: Any) -> RunResult:
        one = model(judge)
        async with Pool(self.provider, concurrency=4, lease_s=_LEASE_S) as pool:
            return await best_of_n.run(
                self.config, self.paths, listener=self.hear, models=Models(one, one, one), pool=pool, **more
            )

    async def until_promoted(self) -> asyncio.Task[RunResult]:
        task = asyncio.create_task(self.go())
        async with asyncio.timeout(20):
            await self.promoted.wait()
        return task


async def test_the_winners_machine_stays_up_until_its_time_is_over_and_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path, promote_minutes=0.01)
    result = await run.go()
    assert result.promoted is not None
    assert sum(run.up) == 1
    assert [machine.info.machine_id for machine in run.provider.machines if not machine.lost] == []
    assert read_model(run.paths.result, RunResult) == result
    assert LeaseBook().all() == []


async def test_it_is_on_disk_and_in_the_list_of_leases_while_it_is_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    task = await run.until_promoted()
    assert run.event is not None
    made = run.event.promotion
    assert read_model(run.paths.result, RunResult).promoted == made
    leases = {seen.note.machine_id: seen.note for seen in LeaseBook().all()}
    assert leases.keys() == {made.machine_id}
    assert leases[made.machine_id].labels == {"run": "run", "rollout": "0", "promoted": "yes"}
    assert leases[made.machine_id].deadline == made.until
    lines = event_lines(run.event)
    assert f"agent-s3 pool release {made.machine_id}" in lines[1]
    task.cancel()
    assert (await task).promoted == made


async def test_it_is_given_back_from_another_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    task = await run.until_promoted()
    assert run.event is not None
    assert cli.main(["pool", "release", run.event.promotion.machine_id]) == 0
    assert "released" in capsys.readouterr().out
    async with asyncio.timeout(20):
        assert (await task).winner == 0
    assert all(machine.lost for machine in run.provider.machines)


async def test_to_stop_waiting_gives_it_back_and_the_run_is_over_as_it_was(tmp_path: Path) -> None:
    run = Run(tmp_path)
    task = await run.until_promoted()
    task.cancel()
    result = await task
    assert (result.error, result.winner) == (None, 0)
    assert all(machine.lost for machine in run.provider.machines)


async def test_without_a_winner_nothing_stays_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    result = await run.go("none")
    assert (result.winner, result.promoted, run.event, result.error) == (None, None, None, None)
    assert all(machine.lost for machine in run.provider.machines)


async def test_a_machine_of_an_earlier_session_cannot_be_promoted_and_that_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, promote_minutes=0.01)
    await run.go()
    again = await run.go(resume=True)
    assert again.promoted is None
    assert "agent-s3 replay" in (again.error or "")


def test_only_a_promoted_machine_is_released(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not lent"):
        release("m-unknown", LeaseBook(tmp_path))


async def test_a_machine_at_work_is_not_released() -> None:
    async with Pool(FakeProvider(), concurrency=1) as pool, pool.lease(Spec()) as machine:
        with pytest.raises(ConfigError, match="in use by process"):
            release(machine.info.machine_id)
