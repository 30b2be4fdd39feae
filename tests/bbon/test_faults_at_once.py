"""A best-of-4 on real desktops to which everything happens at once."""

import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import read_lines, read_model
from agent_s3.types import Step
from bbon import best_of_n
from bbon.models import Models
from bbon.types import RunConfig, RunEvent, RunResult, StepTaken
from llm.chat import Abilities, Completion, Request, Usage
from llm.scripted import Reply, ScriptedModel
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Snapshot
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.strays import ls

READS = Abilities(schema=True, context_tokens=200_000)
SOUND, GARBAGE, HUNG, KILLED = range(4)
"""Rollouts, and what happens to each."""


class Watched(SandboxProvider):
    """Knows which machine each rollout has."""

    def __init__(self) -> None:
        super().__init__()
        self.machine_of: dict[int, Machine] = {}

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        machine = await super().fork(snapshot, labels=labels)
        if labels is not None:
            self.machine_of[int(labels["rollout"])] = machine
        return machine

    def strike(self, rollout: int, signal_: signal.Signals) -> None:
        """Send a signal to all that runs in a rollout's machine."""
        for pid in self.process_ids(self.machine_of[rollout]):
            with suppress(ProcessLookupError):  # programs come and go
                os.kill(pid, signal_)


def worker() -> ScriptedModel:
    """Renames the file by code, waits, and says done."""
    acts = ('{"thought": "", "action": "call_code_agent"}', '{"thought": "", "action": "wait", "time": 0.2}')
    return ScriptedModel(
        [
            *(Reply(role="worker", turn=turn, times=0, text=text) for turn, text in enumerate(acts)),
            Reply(role="worker", times=0, text='{"thought": "", "action": "done"}'),
            Reply(role="code", turn=0, times=0, when="Be neutral", text="Done."),
            Reply(role="code", turn=0, times=0, text="```bash\nmv Documents/report.txt Documents/final.txt\n```"),
            Reply(role="code", times=0, text="DONE"),
            Reply(role="reflection", times=0, text="Go on."),
        ],
        name="scripted:sound",
        abilities=READS,
    )


def garbage() -> ScriptedModel:
    return ScriptedModel(
        [lambda _request, _role: "\x00\ufffd}{ as an AI ]]> " * 9], name="scripted:garbage", abilities=READS
    )


def judge() -> ScriptedModel:
    """Chooses the attempt that renamed the file."""

    def answer(request: Request, _role: str) -> Completion:
        attempts = re.split(r"(?m)^Attempt (\w)", request.messages[1].text)[1:]
        right = [letter for letter, told in zip(attempts[::2], attempts[1::2], strict=True) if "was renamed to" in told]
        text = f'{{"reasons": "it renamed", "citations": [], "choice": "{right[0]}", "confidence": 1}}'
        return Completion(text=text, model="s", usage=Usage(calls=1))

    return ScriptedModel([answer], name="scripted:judge", abilities=READS)


def delivered(result: RunResult, name: str) -> bytes:
    path = next(one.host_path for one in result.delivered if one.path.endswith(f"/{name}"))
    assert path is not None
    return Path(path).read_bytes()


@pytest.mark.desktop
@pytest.mark.timeout(300)
async def test_a_killed_machine_a_hung_guest_and_a_model_that_writes_garbage_at_once_do_not_cost_the_winner(
    tmp_path: Path,
) -> None:
    provider, folder = Watched(), tmp_path / "faults-at-once"
    struck = set[int]()

    def strike(event: RunEvent) -> None:
        blows = {HUNG: signal.SIGSTOP, KILLED: signal.SIGKILL}
        if isinstance(event, StepTaken) and event.rollout in blows.keys() - struck:
            struck.add(event.rollout)
            provider.strike(event.rollout, blows[event.rollout])

    async def prepare(machine: Machine) -> None:
        await machine.write(f"{machine.info.home}/Documents/report.txt", b"quarterly\n")

    sound = worker()
    models = Models(sound, sound, judge(), (garbage(), sound, sound))
    config = RunConfig(instruction="Rename report.txt in Documents to final.txt", n=4, image="slim")
    async with Pool(provider, concurrency=4) as pool:
        result = await best_of_n.run(
            config, RunPaths(folder), listener=strike, prepare=prepare, models=models, pool=pool
        )

    assert struck == {HUNG, KILLED}
    assert [rollout.status for rollout in result.rollouts] == ["done", "bad_replies", "done", "done"]
    assert [rollout.attempt for rollout in result.rollouts] == [1, 1, 2, 2]
    assert [rollout.model for rollout in result.rollouts].index("scripted:garbage") == GARBAGE
    assert result.error is None
    assert result.winner in (SOUND, HUNG, KILLED)
    assert delivered(result, "final.txt") == b"quarterly\n"
    for rollout in (HUNG, KILLED):
        assert read_lines(RunPaths(folder).rollout(rollout).earlier(1), Step)
    assert read_model(RunPaths(folder).result, RunResult) == result
    assert [left.stray.id for left in await ls([provider], labels={"run": folder.name})] == []
