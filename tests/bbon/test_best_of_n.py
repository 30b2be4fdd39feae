import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent_s3 import inbox
from agent_s3.approval import ScriptedAsker
from agent_s3.paths import RunPaths
from agent_s3.record import read_lines, read_model, write_model
from agent_s3.rollout_log import PendingStep
from agent_s3.types import RolloutResult, Step
from bbon import best_of_n
from bbon.errors import RunFolderError
from bbon.models import Models, opened
from bbon.state import RunState, claimed
from bbon.types import (
    Asked,
    Fact,
    Promoted,
    RecordedConfig,
    RolloutBegan,
    RunConfig,
    RunEvent,
    RunResult,
    StepTaken,
    Verdict,
)
from llm.budget import upper_estimate
from llm.chat import Abilities, Completion, Request, Usage
from llm.errors import ConfigError as ModelConfigError
from llm.errors import PriceUnknown, Unavailable
from llm.pricing import FREE
from llm.scripted import Reply, ScriptedModel
from vm_pool.errors import BootTimeout, ConfigError, MachineLost
from vm_pool.events import InputEvent, Text
from vm_pool.lease_book import LeaseBook
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Snapshot
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script

REPORT, FINAL = "/home/user/Documents/report.txt", "/home/user/Documents/final.txt"
READS = Abilities(schema=True, context_tokens=200_000)
"""A judge and worker in text only, so that no test depends on pictures."""


def typed_names_rename_the_report(desktop: FakeDesktop, event: InputEvent) -> None:
    """Typing a name into this desktop renames the report to it."""
    if isinstance(event, Text) and REPORT in desktop.files:
        desktop.files[f"/home/user/Documents/{event.text}"] = desktop.files.pop(REPORT)


def act(action: str, **arguments: Any) -> dict[str, Any]:
    return {"thought": "so", "action": action, **arguments}


def workers(names: Sequence[str], *, hold_s: float = 0.0) -> ScriptedModel:
    """A worker model whose rollouts type one name each, in the order in which they first ask, and then say done.

    `hold_s` is how long it thinks before it says done.
    """
    left = list(names)

    def answer(request: Request, _role: str) -> Reply:
        began = any(message.role == "assistant" for message in request.messages)
        reply = act("done") if began else act("type", text=left.pop(0))
        usage = Usage(calls=1, input_tokens=100)
        return Reply(text=json.dumps(reply), usage=usage, delay_s=hold_s if began else 0.0)

    return ScriptedModel([answer], abilities=READS)


def picks(change: str) -> ScriptedModel:
    """A judge that chooses the attempt whose evidence holds a text."""

    def answer(request: Request, _role: str) -> Completion:
        text = request.messages[1].text
        letter = text[: text.index(change)].rsplit("Attempt ", 1)[1][0] if change in text else "none"
        reply = {"reasons": "the facts", "citations": [], "choice": letter, "confidence": 0.9}
        return Completion(text=json.dumps(reply), model="scripted", usage=Usage(calls=1, output_tokens=5))

    return ScriptedModel([answer], abilities=READS)


class Run:
    """One run folder, one provider, and what the listener heard."""

    def __init__(self, folder: Path, *, n: int = 2, **config: Any) -> None:
        self.paths = RunPaths(folder / "run")
        self.config = RunConfig(instruction="Rename report.txt to final.txt", provider="fake", n=n, **config)
        self.script = Script(on_event=typed_names_rename_the_report)
        self.provider: FakeProvider = FakeProvider(files={REPORT: b"words"}, script=self.script)
        self.heard: list[RunEvent] = []
        self.on_event: Callable[[], object] | None = None

    def hear(self, event: RunEvent) -> None:
        self.heard.append(event)
        if self.on_event is not None:
            self.on_event()

    async def go(
        self,
        worker: ScriptedModel,
        judge: ScriptedModel | None = None,
        *,
        ground: ScriptedModel | None = None,
        **more: Any,
    ) -> RunResult:
        models = Models(worker, worker, judge or picks("Documents/final.txt"), ground=ground)
        async with Pool(self.provider, concurrency=8) as pool:
            return await best_of_n.run(self.config, self.paths, listener=self.hear, models=models, pool=pool, **more)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Run]:
    def made(**config: Any) -> Run:
        return Run(tmp_path, **config)

    return made


async def test_the_best_rollout_wins_and_its_files_are_delivered(make: Callable[..., Run], tmp_path: Path) -> None:
    run = make(n=3, out=str(tmp_path / "out"))
    result = await run.go(workers(["wrong.txt", "final.txt", "wrong2.txt"]))
    assert result.error is None
    assert result.winner is not None
    assert [r.status for r in result.rollouts] == ["done"] * 3
    assert (tmp_path / "out" / "Documents" / "final.txt").read_bytes() == b"words"
    assert {(d.kind, Path(d.path).name) for d in result.delivered} == {
        ("created", "final.txt"),
        ("deleted", "report.txt"),
    }


async def test_a_grounding_model_of_its_own_is_asked_as_the_run_is_set_and_paid_by_the_run(
    make: Callable[..., Run],
) -> None:
    run = make(n=1, ground_form="point-1000", refine="never", read_text=False)
    acts = ({"action": "click", "element_description": "the little cloud"}, {"action": "done"})
    worker = ScriptedModel([json.dumps({"thought": "", **act}) for act in acts], abilities=READS)
    eyes = ScriptedModel(["(500, 250)"], name="scripted:eyes")
    result = await run.go(worker, ground=eyes)
    step = read_lines(run.paths.rollout(0).trajectory, Step)[0]
    place = step.grounding[0]
    frame = step.before
    assert frame is not None
    assert abs(place.x - frame.width / 2) <= 1
    assert abs(place.y - frame.height / 4) <= 1
    assert [(t.by, [q.model for q in t.questions]) for t in place.tried] == [("tree", []), ("model", ["scripted:eyes"])]
    assert result.usage["grounding"].calls == 1
    assert (run.config.ground_form, "ground" in json.loads(run.paths.config.read_text())) == ("point-1000", True)


async def test_native_actions_of_a_model_that_has_none_are_refused_before_anything_starts(
    make: Callable[..., Run],
) -> None:
    run = make(n=1, actions="native")
    with pytest.raises(ModelConfigError, match="no computer tool"):
        await run.go(ScriptedModel([], abilities=READS))
    assert run.provider.booted == []


async def test_native_actions_reach_the_workers(make: Callable[..., Run]) -> None:
    run = make(n=1, actions="native")
    done = Reply.model_validate({"role": "worker", "tool_calls": [{"name": "done", "arguments": {"thought": "x"}}]})
    worker = ScriptedModel([done], abilities=replace(READS, images=True, tools=True, computer="openai"))
    result = await run.go(worker, judge=ScriptedModel([], abilities=READS))
    assert result.rollouts[0].status == "done"
    assert worker.asked[0][1].computer is not None


@pytest.mark.parametrize(("given", "found"), [(None, None), ("eyes", "scripted:{}/eyes.json")])
async def test_the_grounding_model_that_a_run_names_is_opened(
    tmp_path: Path, given: str | None, found: str | None
) -> None:
    for name in ("worker", "eyes"):
        (tmp_path / f"{name}.json").write_text('["x"]')
    specs = {name: f"scripted:{tmp_path}/{name}.json" for name in ("worker", "eyes")}
    config = RunConfig(instruction="x", model=specs["worker"], ground=specs.get(given or ""))
    async with opened(config, None) as models:
        name = models.ground.name if models.ground else None
    assert name == (found and found.format(tmp_path))


async def test_desktops_may_reach_what_the_run_allows(make: Callable[..., Run]) -> None:
    run = make(n=2, network="allow:example.org")
    await run.go(workers(["wrong.txt", "final.txt"]))
    assert {spec.network for spec in run.provider.booted} == {"allow:example.org"}


async def test_a_winner_whose_files_could_not_be_delivered_is_an_error_that_a_resume_mends(
    make: Callable[..., Run], tmp_path: Path
) -> None:
    run = make(n=2, out=str(tmp_path / "out"))
    mine = tmp_path / "out" / "Documents" / "final.txt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    result = await run.go(workers(["wrong.txt", "final.txt"]))
    assert result.winner is not None
    assert "other content" in (result.error or "")
    mine.unlink()
    assert (await run.go(workers([]), resume=True)).error is None
    assert mine.read_bytes() == b"words"


async def test_everything_is_in_the_run_folder(make: Callable[..., Run]) -> None:
    run = make(n=2)
    result = await run.go(workers(["wrong.txt", "final.txt"]))
    assert read_model(run.paths.result, RunResult) == result
    assert read_model(run.paths.verdict, Verdict) == result.verdict
    recorded = read_model(run.paths.config, RecordedConfig)
    assert recorded.plain == run.config
    assert {"bbon/judge", "bbon/narrate"} < set(recorded.prompts)
    assert recorded.versions["python"]
    for index in range(2):
        told = read_lines(run.paths.rollout(index).narrative, Fact)
        assert {fact.step for fact in told} == {0, 1}
        assert any("was renamed to" in fact.text for fact in told)
        assert read_model(run.paths.rollout(index).result, RolloutResult) == result.rollouts[index]
    assert set(result.seconds) == {"boot", "setup", "snapshot", "fork", "rollouts", "judge", "deliver", "total"}
    assert result.usage["worker"].calls == 4
    assert result.usage["judge"].calls == 1
    assert "rollouts 2 of 2" in run.paths.log.read_text()


async def test_a_run_folder_is_closed_to_other_users(make: Callable[..., Run]) -> None:
    run = make(n=2)
    await run.go(workers(["wrong.txt", "final.txt"]))
    assert run.paths.root.stat().st_mode & 0o077 == 0


async def test_nothing_is_left_running(make: Callable[..., Run]) -> None:
    run = make(n=2)
    await run.go(workers(["wrong.txt", "final.txt"]))
    assert all(machine.lost for machine in run.provider.machines)
    assert run.provider.snapshots == {}


async def test_files_and_preparation_are_in_every_fork(make: Callable[..., Run]) -> None:
    run = make(n=2, files=("in.csv",))
    run.paths.inputs.mkdir(parents=True)
    (run.paths.inputs / "in.csv").write_bytes(b"1,2")

    async def prepare(machine: Machine) -> None:
        await machine.write("/home/user/ready", b"yes")

    async def finish(index: int, machine: Machine, result: RolloutResult) -> None:
        seen[index] = await machine.read("/home/user/Documents/in.csv") + await machine.read("/home/user/ready")
        assert result.status == "done"

    seen: dict[int, bytes] = {}
    await run.go(workers(["wrong.txt", "final.txt"]), prepare=prepare, finish=finish)
    assert seen == {0: b"1,2yes", 1: b"1,2yes"}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ""])
async def test_an_input_name_cannot_leave_the_inputs_folder(make: Callable[..., Run], name: str) -> None:
    with pytest.raises(RunFolderError):
        await make(files=(name,)).go(workers([]))


async def test_a_lost_machine_is_replaced_and_the_other_rollouts_go_on(make: Callable[..., Run]) -> None:
    run = make(n=2)
    run.script.fail_next("perform", MachineLost("its server was killed"))
    result = await run.go(workers(["final.txt", "wrong.txt", "final.txt"]))
    assert [r.status for r in result.rollouts] == ["done", "done"]
    assert sorted(r.attempt for r in result.rollouts) == [1, 2]
    retried = next(r.index for r in result.rollouts if r.attempt == 2)
    assert run.paths.rollout(retried).earlier(1).exists()
    assert (run.paths.rollout(retried).root / "narrative-1.jsonl").exists()
    assert [e.attempt for e in run.heard if isinstance(e, RolloutBegan) and e.rollout == retried] == [1, 2]


async def test_a_fork_that_fails_is_tried_again(make: Callable[..., Run]) -> None:
    run = make(n=1)
    for _ in range(2):
        run.script.fail_next("fork", BootTimeout("no desktop"))
    result = await run.go(workers(["final.txt"]))
    assert (result.winner, result.error) == (0, None)


async def test_when_every_machine_is_lost_there_is_no_candidate_and_an_error(make: Callable[..., Run]) -> None:
    run = make(n=2)
    run.script.lose_after_calls = 2
    result = await run.go(workers(["final.txt"] * 6))
    assert result.winner is None
    assert result.verdict is not None
    assert result.verdict.method == "no_candidate"
    assert "machine_lost" in (result.error or "")
    assert not run.paths.verdict.exists()


async def test_a_model_that_is_down_makes_no_candidate(make: Callable[..., Run]) -> None:
    down = ScriptedModel([lambda _request, _role: Unavailable("connection refused")], abilities=READS)
    result = await make(n=2).go(down)
    assert [r.status for r in result.rollouts] == ["model_error"] * 2
    assert "connection refused" in (result.error or "")


async def test_the_judge_may_choose_none_and_nothing_is_delivered(make: Callable[..., Run]) -> None:
    result = await make(n=2).go(workers(["wrong.txt", "wrong2.txt"]), picks("perfect.txt"))
    assert (result.winner, result.delivered, result.error) == (None, (), None)
    assert result.verdict is not None


@pytest.mark.parametrize(("wanted", "winner"), [("Documents/final.txt", 0), ("perfect.txt", None)])
async def test_equal_results_are_judged_once_and_can_all_be_wrong(
    make: Callable[..., Run], wanted: str, winner: int | None
) -> None:
    judge = picks(wanted)
    result = await make(n=2).go(workers(["final.txt", "final.txt"]), judge)
    assert (len(judge.asked), result.winner) == (1, winner)


async def test_a_judge_that_fails_is_asked_again_on_resume_and_nothing_else_is_done_twice(
    make: Callable[..., Run],
) -> None:
    run = make(n=2)
    down = ScriptedModel([Reply(role="judge", error="unavailable", text="gone")], abilities=READS)
    first = await run.go(workers(["wrong.txt", "final.txt"]), down)
    assert first.verdict is None
    assert "gone" in (first.error or "")
    second = await run.go(workers([]), resume=True)
    assert second.error is None
    assert second.winner is not None
    assert len(run.provider.machines) == 3
    assert second.usage["worker"].calls == 4


async def test_a_hook_that_fails_stops_nothing(make: Callable[..., Run]) -> None:
    async def finish(_index: int, _machine: Machine, _result: RolloutResult) -> None:
        raise RuntimeError("the evaluator broke")

    run = make(n=2)
    result = await run.go(workers(["wrong.txt", "final.txt"]), finish=finish)
    assert result.winner is not None
    assert "the evaluator broke" in run.paths.log.read_text()


async def test_a_folder_with_a_run_is_not_used_for_another(make: Callable[..., Run]) -> None:
    run = make(n=1)
    await run.go(workers(["final.txt"]))
    with pytest.raises(RunFolderError, match="--resume"):
        await run.go(workers(["final.txt"]))


async def test_the_budget_spans_the_resumed_run_with_what_unanswered_calls_may_have_taken(
    make: Callable[..., Run],
) -> None:
    run = make(n=1, budget_tokens=50_000)
    slow = ScriptedModel([Reply(role="judge", error="timeout", text="no answer")], abilities=READS)
    first = await run.go(workers(["final.txt"]), slow)
    assert "no answer" in (first.error or "")
    state = read_model(run.paths.state, RunState)
    taken = sum(usage.input_tokens + usage.output_tokens for usage in state.usage.values())
    assert state.forfeited.tokens > 0
    run.config = run.config.model_copy(update={"budget_tokens": taken + 2 * state.forfeited.tokens - 1})
    judge = picks("Documents/final.txt")
    again = await run.go(workers([]), judge, resume=True)
    assert "the budget is used up" in (again.error or "")
    assert judge.asked == []
    run.config = run.config.model_copy(update={"budget_tokens": taken + 2 * state.forfeited.tokens})
    assert (await run.go(workers([]), judge, resume=True)).winner == 0


async def first_question(folder: Path) -> int:
    """Most tokens that the first question of these rollouts may take."""
    asked = workers(["final.txt"])
    await Run(folder, n=1).go(asked)
    return upper_estimate(asked.asked[0][1], FREE).tokens


async def test_a_rollout_that_hits_its_own_budget_is_judged_as_it_is(make: Callable[..., Run], tmp_path: Path) -> None:
    room = await first_question(tmp_path / "before")
    run = make(n=2, rollout_budget_tokens=room + 99)  # the first answer takes 100
    worker = workers(["wrong.txt", "final.txt"])
    result = await run.go(worker)
    assert [r.status for r in result.rollouts] == ["budget"] * 2
    assert "the budget of this rollout is used up" in result.rollouts[0].reason
    assert (len(worker.asked), result.error) == (2, None)
    assert result.winner is not None
    assert "final.txt" in {Path(d.path).name for d in result.delivered}


async def test_a_rollouts_budget_spans_its_sessions(make: Callable[..., Run], tmp_path: Path) -> None:
    room = await first_question(tmp_path / "before")
    run = make(n=2, rollout_budget_tokens=room * 4)
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    run.config = run.config.model_copy(update={"rollout_budget_tokens": room + 99})
    worker = workers([])
    result = await run.go(worker, resume=True)
    assert ([r.status for r in result.rollouts], worker.asked) == (["budget"] * 2, [])


async def test_the_steps_of_all_rollouts_together_are_limited(make: Callable[..., Run]) -> None:
    run = make(n=2, budget_steps=3)
    result = await run.go(workers(["wrong.txt", "final.txt"]))
    assert sorted(r.status for r in result.rollouts) == ["budget", "done"]
    assert sum(r.steps for r in result.rollouts) == 3
    assert result.winner is not None


@pytest.mark.parametrize("limit", ["max_minutes", "rollout_max_minutes"])
async def test_a_rollout_whose_time_is_over_is_judged_as_it_is(make: Callable[..., Run], limit: str) -> None:
    run = make(n=2, **{limit: 0.01})
    result = await run.go(workers(["wrong.txt", "final.txt"], hold_s=600))
    assert [r.status for r in result.rollouts] == ["timeout"] * 2
    assert "time" in result.rollouts[0].reason
    assert (result.error, result.winner is not None) == (None, True)


async def test_who_is_to_be_asked_is_asked_and_a_run_where_all_is_refused_changes_nothing(
    make: Callable[..., Run],
) -> None:
    run, asker = make(n=2, approve="ask"), ScriptedAsker([False, False])
    result = await run.go(workers(["wrong.txt", "final.txt"]), asker=asker)
    assert sorted(q.rollout for q in asker.asked) == [0, 1]
    assert [r.files for r in result.rollouts] == [(), ()]
    told = read_lines(run.paths.rollout(0).narrative, Fact)
    assert any("the user did not allow it, nothing was done" in fact.text for fact in told)


async def test_without_another_way_questions_lie_in_the_run_folder(make: Callable[..., Run]) -> None:
    run = make(n=1, approve="ask", approve_timeout_s=0.5)
    await run.go(workers(["final.txt"]))
    assert "waiting 0.5 s for an answer to question 0-0-" in run.paths.log.read_text()
    assert run.paths.questions.is_dir()


async def test_a_rollouts_money_cannot_be_limited_without_a_price(make: Callable[..., Run]) -> None:
    run = make(n=2, rollout_budget_usd=1)
    unknown = ScriptedModel([], name="openai:nobody-knows-this-one", abilities=READS)
    with pytest.raises(PriceUnknown):
        await run.go(unknown)
    assert run.provider.booted == []


async def stop_when(run: Run, worker: ScriptedModel, enough: Callable[[list[RunEvent]], bool], **more: Any) -> None:
    """Start a run and cancel it as soon as the events so far are enough."""
    reached = asyncio.Event()
    run.on_event = lambda: reached.set() if enough(run.heard) else None
    task = asyncio.create_task(run.go(worker, **more))
    async with asyncio.timeout(20):
        await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    run.on_event = None


def all_began(events: list[RunEvent]) -> bool:
    return len({event.rollout for event in events if isinstance(event, StepTaken)}) == 2


def one_began(events: list[RunEvent]) -> bool:
    return any(isinstance(event, StepTaken) for event in events)


async def test_a_stopped_run_records_interruptions_and_keeps_what_resume_needs(make: Callable[..., Run]) -> None:
    run = make(n=2)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    state = read_model(run.paths.state, RunState)
    assert state.snapshot is not None
    assert state.usage["worker"].calls >= 2
    for index in range(2):
        assert state.rollouts[index].machine_id
        assert read_model(run.paths.rollout(index).result, RolloutResult).status == "interrupted"


async def test_a_resumed_run_goes_on_from_the_last_recorded_step_on_its_own_machines(make: Callable[..., Run]) -> None:
    run = make(n=2)
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    machines = len(run.provider.machines)
    result = await run.go(workers([]), resume=True)
    assert [r.status for r in result.rollouts] == ["done", "done"]
    assert [r.attempt for r in result.rollouts] == [1, 1]
    assert result.winner is not None
    assert len(run.provider.machines) == machines
    for index in range(2):
        assert [step.index for step in read_lines(run.paths.rollout(index).trajectory, Step)] == [0, 1]


async def test_the_machines_of_a_resumed_run_have_leases_like_those_of_a_new_one(make: Callable[..., Run]) -> None:
    run = make(n=2)
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    known = read_model(run.paths.state, RunState).rollouts
    leased: set[tuple[str, str]] = set()
    run.on_event = lambda: leased.update(
        (seen.note.machine_id, seen.note.labels["rollout"]) for seen in LeaseBook().all()
    )
    await run.go(workers([]), resume=True)
    assert {(known[index].machine_id, str(index)) for index in range(2)} <= leased
    assert LeaseBook().all() == []


async def test_what_was_changed_before_a_stop_is_judged_and_delivered_after_the_resume(
    make: Callable[..., Run], tmp_path: Path
) -> None:
    run = make(n=2, out=str(tmp_path / "out"))
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    result = await run.go(workers([]), resume=True)
    assert result.winner is not None
    winner = result.rollouts[result.winner]
    assert [(change.path, change.kind) for change in winner.files] == [(FINAL, "created"), (REPORT, "deleted")]
    assert read_model(run.paths.rollout(result.winner).result, RolloutResult) == winner
    assert (tmp_path / "out" / "Documents" / "final.txt").read_bytes() == b"words"


def typed_on(run: Run) -> list[list[str]]:
    """What was typed on each machine, in the order in which they were started."""
    return [[event.text for event in m.desktop.events if isinstance(event, Text)] for m in run.provider.machines]


async def test_without_its_machine_a_rollout_goes_on_where_its_steps_bring_a_fresh_one(
    make: Callable[..., Run],
) -> None:
    run = make(n=2)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    worker = workers([])
    result = await run.go(worker, resume=True)
    assert result.winner is not None
    assert [(r.status, r.attempt, r.steps) for r in result.rollouts] == [("done", 2, 2)] * 2
    assert len(worker.asked) == 2  # nothing was decided twice
    base, *forks = typed_on(run)
    assert base == []
    assert sorted(forks[:2]) == sorted(forks[2:]) == [["final.txt"], ["wrong.txt"]]
    assert "goes on after 1 steps that were done again" in run.paths.log.read_text()
    assert not run.paths.rollout(0).earlier(1).exists()


async def test_a_step_that_comes_out_otherwise_is_named_and_the_rollout_starts_afresh(make: Callable[..., Run]) -> None:
    run = make(n=1)
    await stop_when(run, workers(["final.txt"], hold_s=60), one_began)
    before = len(run.provider.machines)

    def other(desktop: FakeDesktop, event: InputEvent) -> None:
        if isinstance(event, Text) and event.text == "final.txt":
            desktop.files.pop(REPORT, None)
        else:
            typed_names_rename_the_report(desktop, event)

    run.script.on_event = other
    result = await run.go(workers(["second.txt"]), picks("second.txt"), resume=True)
    assert (result.winner, result.rollouts[0].attempt) == (0, 2)
    assert typed_on(run)[before:] == [["final.txt"], ["second.txt"]]  # each on a machine of its own
    said = run.paths.log.read_text()
    assert "step 0 (type 'final.txt') came out otherwise: files" in said
    assert run.paths.rollout(0).earlier(1).exists()


async def test_a_machine_on_which_steps_were_still_being_done_again_is_not_gone_on_with(
    make: Callable[..., Run],
) -> None:
    run = make(n=1)
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["final.txt"], hold_s=60), one_began)
    state = read_model(run.paths.state, RunState)
    behind = {0: state.rollouts[0].model_copy(update={"behind": True})}
    write_model(run.paths.state, state.model_copy(update={"rollouts": behind}))
    before = len(run.provider.machines)
    result = await run.go(workers([]), resume=True)
    assert (result.winner, result.rollouts[0].attempt) == (0, 2)
    assert typed_on(run)[before:] == [["final.txt"]]
    assert not read_model(run.paths.state, RunState).rollouts[0].behind


async def test_a_machine_of_an_earlier_session_that_was_gone_on_with_can_be_promoted(make: Callable[..., Run]) -> None:
    run = make(n=1, deliver="promote")
    run.provider = Reviving(files={REPORT: b"words"}, script=run.script)
    await stop_when(run, workers(["final.txt"], hold_s=60), one_began)
    up = asyncio.Event()
    run.on_event = lambda: up.set() if isinstance(run.heard[-1], Promoted) else None
    going = asyncio.create_task(run.go(workers([]), resume=True))
    await asyncio.wait_for(up.wait(), 20)
    assert [machine.lost for machine in run.provider.machines] == [True, False]
    going.cancel()
    assert (await going).promoted is not None
    assert all(machine.lost for machine in run.provider.machines)
    assert LeaseBook().all() == []


async def test_an_action_that_was_cut_off_did_not_happen_on_the_machine_that_goes_on(make: Callable[..., Run]) -> None:
    run = make(n=1)
    await stop_when(run, workers(["final.txt"], hold_s=60), one_began)
    paths = run.paths.rollout(0)
    step = read_lines(paths.trajectory, Step)[0].model_copy(update={"index": 1})
    write_model(paths.pending, PendingStep(request_id="run-0-1-1", step=step))
    result = await run.go(workers([]), resume=True)
    assert [step.error for step in read_lines(paths.trajectory, Step)] == [None, None]
    assert (result.winner, result.rollouts[0].steps) == (0, 2)


async def test_a_snapshot_that_was_cleared_away_is_made_again(make: Callable[..., Run]) -> None:
    run = make(n=2)
    await stop_when(run, workers(["wrong.txt", "final.txt"], hold_s=60), all_began)
    run.provider = Forgetful(files={REPORT: b"words"}, script=run.script)
    result = await run.go(workers(["wrong.txt", "final.txt"]), resume=True)
    assert result.winner is not None
    assert run.provider.snapshots == {}


async def test_a_run_killed_at_any_write_of_its_state_can_be_resumed(make: Callable[..., Run]) -> None:
    """Every state of `state.json` during a run is taken as that of a killed one."""
    run = make(n=1)
    saved: list[bytes] = []
    run.on_event = lambda: saved.append(run.paths.state.read_bytes())
    await run.go(workers(["final.txt"]))
    run.on_event = None
    for state in dict.fromkeys(saved):
        for path in (run.paths.verdict, run.paths.result):
            path.unlink(missing_ok=True)
        run.paths.state.write_bytes(state)
        run.provider = Forgetful(files={REPORT: b"words"}, script=run.script)
        result = await run.go(workers(["final.txt"]), resume=True)
        assert (result.winner, result.error) == (0, None)


async def test_a_run_that_is_over_can_be_resumed_without_any_machine(make: Callable[..., Run]) -> None:
    run = make(n=2)
    first = await run.go(workers(["wrong.txt", "final.txt"]))
    machines = len(run.provider.machines)
    again = await run.go(workers([]), picks("nothing"), resume=True)
    assert (again.winner, again.delivered) == (first.winner, first.delivered)
    assert len(run.provider.machines) == machines


async def test_two_processes_do_not_work_in_one_run_folder(make: Callable[..., Run]) -> None:
    run = make(n=1)
    await run.go(workers(["final.txt"]))
    with claimed(run.paths.root), pytest.raises(RunFolderError, match="another process is at work"):
        await run.go(workers([]), resume=True)
    assert (await run.go(workers([]), resume=True)).winner == 0


async def test_a_damaged_verdict_is_judged_again(make: Callable[..., Run]) -> None:
    run = make(n=2)
    first = await run.go(workers(["wrong.txt", "final.txt"]))
    run.paths.verdict.write_text('{"winner": ')
    again = await run.go(workers([]), resume=True)
    assert (again.winner, again.error) == (first.winner, None)
    assert read_model(run.paths.verdict, Verdict) == again.verdict


class Reviving(FakeProvider):
    """Keeps disks, as real providers do: a machine that was stopped with its disk can be revived.

    Its journal knows what there was at the first start, and none of the cursors given out before.
    """

    async def revive(self, machine_id: str) -> FakeMachine:
        before = await super().revive(machine_id)
        first = before._file_states[0]
        machine = FakeMachine(before.info, script=self.script, desktop=before.desktop, first_files=first)
        self.machines[self.machines.index(before)] = machine
        return machine

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        if not keep_disk:
            await super().stop(machine)


class Forgetful(FakeProvider):
    """Another process, which knows neither the machines nor the snapshots of the first."""

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> FakeMachine:
        if snapshot.snapshot_id not in self.snapshots:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r}")
        return await super().fork(snapshot, labels=labels)


@pytest.mark.parametrize(("policy", "asked"), [("always", 1), ("on-evidence", 0)])
async def test_the_policy_of_reflection_reaches_the_workers(tmp_path: Path, policy: Any, asked: int):
    run = Run(tmp_path, n=1, reflection=policy)
    worker = workers(["final.txt"])
    await run.go(worker)
    assert [role for role, _ in worker.asked].count("reflection") == asked


async def test_what_the_user_tells_all_rollouts_belongs_to_the_task_that_is_judged(make: Callable[..., Run]) -> None:
    run = make(n=1)

    def adds() -> None:
        if isinstance(run.heard[-1], RolloutBegan):
            inbox.tell(run.paths.inbox, "and keep a copy", rollout=None, at=datetime(2026, 1, 1, tzinfo=UTC))

    run.on_event = adds
    judge = picks("What happened")
    result = await run.go(workers(["final.txt"]), judge)
    assert result.winner == 0
    question = "\n".join(message.text for message in judge.asked[0][1].messages)
    assert "Later the user added:" in question.split("<attempt>")[0]
    assert 'The user had told this attempt: "and keep a copy"' in question


async def test_a_question_of_an_agent_is_heard_with_the_time_there_is_for_an_answer(make: Callable[..., Run]) -> None:
    run = make(n=1, ask=True, ask_timeout_s=1.0)

    def answers() -> None:
        if isinstance(run.heard[-1], Asked):
            inbox.tell(run.paths.inbox, "final.txt", rollout=0, at=datetime(2026, 1, 1, tzinfo=UTC))

    def asks(request: Request, _role: str) -> Reply:
        text = "\n".join(message.text for message in request.messages)
        step = act("ask_user", question="How?") if "answered" not in text else act("done")
        return Reply(text=json.dumps(step))

    run.on_event = answers
    result = await run.go(ScriptedModel([asks], abilities=READS), picks("What happened"))
    assert [r.status for r in result.rollouts] == ["done"]
    [asked] = [event for event in run.heard if isinstance(event, Asked)]
    assert (asked.rollout, asked.question, asked.timeout_s) == (0, "How?", 1.0)
    facts = read_lines(run.paths.rollout(0).narrative, Fact)
    assert 'The user answered "final.txt".' in [fact.text for fact in facts]
