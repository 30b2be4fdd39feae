"""Runs that add rollouts, mix models and stop those without hope; on fake machines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_s3.paths import RunPaths
from agent_s3.record import read_model
from agent_s3.types import RolloutResult
from bbon import best_of_n
from bbon.models import Models, settings_of
from bbon.state import RunState
from bbon.types import PhaseBegan, RolloutBegan, RunConfig, RunEvent, RunResult, Verdict
from llm.chat import Abilities, Completion, Request, Usage
from llm.scripted import Reply, Scripted, ScriptedModel
from viewer.report import render
from viewer.report_data import load
from vm_pool.pool import Pool
from vm_pool.providers.fake import FakeProvider

READS = Abilities(schema=True, context_tokens=200_000)
DONE = Reply(role="worker", text='{"thought": "", "action": "done"}', times=0, usage=Usage(calls=1, input_tokens=100))


def worker(name: str = "scripted:worker", replies: Sequence[Scripted] = (DONE,)) -> ScriptedModel:
    return ScriptedModel(replies, name=name, abilities=READS)


def judging(*confidences: float | None) -> ScriptedModel:
    """A judge as sure as this at each question in turn, from the fewest rollouts on; None: it chooses none."""
    left = list(confidences)

    def answer(_request: Request, _role: str) -> Completion:
        sure = left.pop(0)
        choice = {"choice": "none", "confidence": 0.9} if sure is None else {"choice": "A", "confidence": sure}
        usage = Usage(calls=1, input_tokens=50)
        return Completion(text=json.dumps({"reasons": "r", "citations": [], **choice}), model="s", usage=usage)

    return ScriptedModel([answer], name="scripted:judge", abilities=READS)


async def go(folder: Path, models: Models, heard: list[RunEvent] | None = None, **fields: Any) -> RunResult:
    resume = fields.pop("resume", False)
    n = fields.pop("n", 4)
    config = RunConfig(instruction="Do it", provider="fake", n=n, **fields)
    async with Pool(FakeProvider(), concurrency=16) as pool:
        listener = (heard if heard is not None else []).append
        return await best_of_n.run(config, RunPaths(folder), listener=listener, models=models, pool=pool, resume=resume)


async def test_rollouts_are_added_while_the_judge_is_unsure_and_the_earlier_verdicts_are_kept(tmp_path: Path) -> None:
    heard: list[RunEvent] = []
    judge = judging(0.3, None, 0.9)
    result = await go(tmp_path / "run", Models(worker(), worker(), judge), heard, max_n=10)
    assert len(result.rollouts) == 10
    assert [rollout.index for rollout in result.rollouts] == list(range(10))
    assert result.verdict is not None
    assert [(before.winner is None, before.confidence) for before in result.verdict.earlier] == [
        (False, 0.3),
        (True, 0.9),
    ]
    assert read_model(RunPaths(tmp_path / "run").verdict, Verdict) == result.verdict
    grown = [event.detail for event in heard if isinstance(event, PhaseBegan) and event.name == "grow"]
    assert grown == ["3 more rollouts: the judge is 30% sure", "3 more rollouts: none was right"]
    assert sorted(event.rollout for event in heard if isinstance(event, RolloutBegan)) == list(range(10))
    assert result.usage["worker"].calls == 10


async def test_a_sure_judge_ends_the_run_at_once(tmp_path: Path) -> None:
    result = await go(tmp_path / "run", Models(worker(), worker(), judging(0.8)), max_n=10)
    assert len(result.rollouts) == 4
    assert result.verdict is not None
    assert result.verdict.earlier == ()


async def test_the_threshold_is_a_setting(tmp_path: Path) -> None:
    models = Models(worker(), worker(), judging(0.8, 0.95))
    assert len((await go(tmp_path / "run", models, max_n=5, confidence=0.9)).rollouts) == 5


async def test_without_max_n_no_rollout_is_added(tmp_path: Path) -> None:
    assert len((await go(tmp_path / "run", Models(worker(), worker(), judging(None)))).rollouts) == 4


async def test_no_rollout_is_added_that_the_budget_would_not_pay(tmp_path: Path) -> None:
    models = Models(worker(), worker(), judging(0.1, 0.1, 0.1))
    result = await go(tmp_path / "run", models, max_n=10, budget_tokens=60_000)
    assert len(result.rollouts) == 10
    poor = Models(worker(), worker(), judging(0.1))
    spent = Usage(calls=1, input_tokens=30_000)
    dear = ScriptedModel([DONE.model_copy(update={"usage": spent})], abilities=READS)
    poor = Models(dear, poor.narrator, poor.judge)
    assert len((await go(tmp_path / "poor", poor, max_n=10, budget_tokens=140_000)).rollouts) == 4


async def test_a_judge_that_fails_after_rollouts_were_added_leaves_the_verdict_before_standing(tmp_path: Path) -> None:
    gone = Reply(role="judge", error="unavailable", text="gone")
    judge = ScriptedModel([Reply(role="judge", text=SURE_NOT), gone], abilities=READS)
    result = await go(tmp_path / "run", Models(worker(), worker(), judge), max_n=10)
    assert (result.winner is not None, len(result.rollouts)) == (True, 7)
    assert "gone" in (result.error or "")
    assert not RunPaths(tmp_path / "run").verdict.exists()
    again = await go(tmp_path / "run", Models(worker(), worker(), judging(0.9)), max_n=10, resume=True)
    assert (again.error, len(again.rollouts)) == (None, 7)
    assert read_model(RunPaths(tmp_path / "run").state, RunState).n == 7


SURE_NOT = '{"reasons": "r", "citations": [], "choice": "A", "confidence": 0.2}'


async def test_a_mixture_gives_each_rollout_its_model_and_the_record_says_which(tmp_path: Path) -> None:
    one, other = worker("scripted:one"), worker("scripted:other")
    heard: list[RunEvent] = []
    result = await go(tmp_path / "run", Models(one, one, judging(0.9), (other,)), heard, n=5)
    assert [rollout.model for rollout in result.rollouts] == [
        f"scripted:{name}" for name in ("one", "other", "one", "other", "one")
    ]
    assert (len(one.asked), len(other.asked)) == (3, 2)
    assert result.model == "scripted:one, scripted:other"
    began = {event.rollout: event.model for event in heard if isinstance(event, RolloutBegan)}
    assert began == {rollout.index: rollout.model for rollout in result.rollouts}
    recorded = read_model(RunPaths(tmp_path / "run").rollout(1).result, RolloutResult)
    assert recorded.model == "scripted:other"


def test_no_rollout_waits_for_another_at_a_provider() -> None:
    settings = settings_of(RunConfig(instruction="Do it", n=4, max_n=10))
    assert settings.limits.most("anthropic") >= 20
    assert settings.limits.most("local") == 4


async def test_the_models_of_a_mixture_are_opened_from_its_spec(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps([DONE.model_dump(), {"role": "judge", "text": SURE_NOT}]))
    mixture = f"1xscripted:{tmp_path}/one.json,2xscripted:{tmp_path}/other.json"
    config = RunConfig(instruction="Do it", provider="fake", n=3, model=mixture)
    async with Pool(FakeProvider(), concurrency=4) as pool:
        result = await best_of_n.run(config, RunPaths(tmp_path / "run"), pool=pool)
    assert [Path(rollout.model).name for rollout in result.rollouts] == ["one.json", "other.json", "other.json"]


def idles_and_works() -> ScriptedModel:
    """The first rollout that asks is done at once; the others take notes for ever."""
    first = list[str]()

    def answer(request: Request, _role: str) -> Reply:
        began = any(message.role == "assistant" for message in request.messages)
        if not began and not first:
            first.append("it is done")
            return DONE
        return Reply(text=NOTE, usage=Usage(calls=1), delay_s=0.05)

    return ScriptedModel([answer], abilities=READS)


NOTE = '{"thought": "", "action": "save_to_knowledge", "text": ["x"]}'


async def test_rollouts_without_hope_are_stopped_once_another_is_done(tmp_path: Path) -> None:
    model = idles_and_works()
    result = await go(tmp_path / "run", Models(model, model, judging(0.9)), stop_hopeless=True, max_steps=200)
    done, *others = sorted(result.rollouts, key=lambda rollout: rollout.status)
    assert (done.status, {rollout.status for rollout in others}) == ("done", {"stopped"})
    assert all("nothing changed in 4 steps" in rollout.reason and rollout.steps < 200 for rollout in others)
    assert result.winner is not None


async def test_rollouts_without_hope_go_on_unless_told(tmp_path: Path) -> None:
    model = idles_and_works()
    result = await go(tmp_path / "run", Models(model, model, judging(0.9)), max_steps=8)
    assert sorted(rollout.status for rollout in result.rollouts) == ["done", *["step_limit"] * 3]


async def test_nobody_is_stopped_before_another_one_is_done(tmp_path: Path) -> None:
    idle = worker(replies=[Reply(text=NOTE, times=0)])
    result = await go(tmp_path / "run", Models(idle, idle, judging(None)), stop_hopeless=True, max_steps=6)
    assert {rollout.status for rollout in result.rollouts} == {"step_limit"}


async def test_the_report_shows_added_rollouts_their_models_and_why_they_were_added(tmp_path: Path) -> None:
    other = worker("scripted:other")
    await go(tmp_path / "run", Models(worker(), worker(), judging(0.3, 0.9), (other,)), max_n=5)
    page = render(load(RunPaths(tmp_path / "run")))
    assert "Rollout 4" in page
    assert "best of 5" in page
    assert "Before more rollouts were added" in page
    assert "scripted:other" in page
