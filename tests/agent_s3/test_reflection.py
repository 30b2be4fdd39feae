"""When a second call looks at the way so far, what it costs, and when the worker is told."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError
from rollout_stage import BLIND, Stage, act, says

from agent_s3.record import read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import Step
from llm.chat import Completion, Request, Usage
from llm.errors import Unavailable
from llm.scripted import ScriptedModel

ESC = act("hotkey", keys=["esc"])
TAB = act("hotkey", keys=["tab"])
"""Keys that change nothing on the stage."""
ADVICE = says("reflection", "the dialog is not the right one", times=0)


def steps_of(stage: Stage) -> list[Step]:
    return read_lines(stage.paths.rollout(0).trajectory, Step)


def roles(model: ScriptedModel) -> list[str]:
    return [role for role, _ in model.asked]


def last_words(model: ScriptedModel, role: str = "worker") -> list[str]:
    return [request.messages[-1].text for asked, request in model.asked if asked == role]


async def play(stage: Stage, policy: Any, *replies: Any, **settings: Any) -> ScriptedModel:
    stage.settings = AgentSettings(style="full", reflection=policy, **settings)
    model = ScriptedModel(replies)
    result = await stage.play(model)
    assert result.status == "done", result.reason
    return model


async def test_on_evidence_costs_nothing_while_the_work_goes_on(stage: Stage):
    model = await play(stage, "on-evidence", ESC, act("done"))
    assert roles(model) == ["worker", "worker"]


async def test_on_evidence_asks_before_the_decision_that_is_in_question(stage: Stage):
    model = await play(stage, "on-evidence", ESC, TAB, ADVICE, act("done"))
    assert roles(model) == ["worker", "worker", "reflection", "worker"]
    assert "changed nothing" in last_words(model, "reflection")[0]
    assert "changed nothing" in last_words(model)[-1]
    assert "not the right one" in last_words(model)[-1]
    assert "not the right one" in str(steps_of(stage)[-1].reflection)


async def test_after_a_paid_reflection_the_worker_gets_time_to_act_on_it(stage: Stage):
    keys = [act("hotkey", keys=[key]) for key in "abcde"]
    model = await play(stage, "on-evidence", *keys, ADVICE, act("done"))
    assert roles(model).count("reflection") == 2, "at step 3 and at step 6, not at 4 and 5"
    assert all("changed nothing" in words for words in last_words(model)[2:]), "the plain fact is told all the same"


async def test_never_asks_and_never_tells(stage: Stage):
    model = await play(stage, "never", ESC, ESC, ESC, act("done"))
    assert set(roles(model)) == {"worker"}
    assert not any("Reflection" in words for words in last_words(model))


async def test_always_asks_at_every_step_but_the_first(stage: Stage):
    model = await play(stage, "always", ESC, TAB, ADVICE, act("done"), reflection_beside=False)
    assert roles(model) == ["worker", "reflection", "worker", "reflection", "worker"]


async def test_beside_the_decision_both_questions_are_under_way_and_the_next_decision_is_told(stage: Stage):
    """The worker's second reply comes only when reflection has been asked, and the other way round."""
    asked = {"worker": asyncio.Event(), "reflection": asyncio.Event()}
    turns = iter([ESC, TAB, act("done")])

    class Both(ScriptedModel):
        async def complete(self, request: Request, *, role: str) -> Completion:
            self.asked.append((role, request))
            if role == "reflection" or roles(self).count("worker") > 1:
                asked[role].set()
                async with asyncio.timeout(10):
                    await asyncio.gather(*(event.wait() for event in asked.values()))
            return Completion(ADVICE.text if role == "reflection" else json.dumps(next(turns).data), "m", Usage())

    stage.settings = AgentSettings(style="full", reflection="always")
    model = Both([])
    assert (await stage.play(model)).status == "done"
    told = last_words(model)
    assert ["not the right one" in words for words in told] == [False, False, True]
    assert [step.reflected for step in steps_of(stage)] == [None, ADVICE.text, ADVICE.text]


async def test_what_was_found_out_beside_a_decision_is_told_after_a_resume(stage: Stage):
    beside: dict[str, Any] = {"reflection_beside": True, "style": "full", "max_steps": 2}
    stage.settings = AgentSettings(reflection="always", **beside)
    await stage.play(ScriptedModel([ESC, TAB, ADVICE]))
    stage.settings = AgentSettings(reflection="always", style="full", reflection_beside=True)
    again = ScriptedModel([act("done"), says("reflection", "fine")])
    assert (await stage.play(again, resume=True)).status == "done"
    assert "not the right one" in last_words(again)[-1]


async def test_a_reflection_beside_that_fails_leaves_the_step_alone(stage: Stage):
    def fail(_request: Request, role: str) -> Any:
        if role == "reflection":
            raise Unavailable("503")

    model = await play(stage, "always", fail, ESC, act("done"))
    assert [step.reflected for step in steps_of(stage)] == [None, None]
    assert roles(model).count("reflection") == 1


async def test_a_small_model_is_told_the_plain_facts_and_asked_nothing(stage: Stage):
    stage.settings = AgentSettings(reflection="always")
    model = ScriptedModel([ESC, TAB, act("done")], abilities=BLIND)
    await stage.play(model)
    assert set(roles(model)) == {"worker"}
    assert "changed nothing" in last_words(model)[-1]


@pytest.mark.parametrize(("former", "now"), [("on", "always"), ("off", "never"), ("auto", "on-evidence")])
def test_settings_written_under_the_former_names_are_read(former: str, now: str):
    assert AgentSettings.model_validate({"reflection": former}).reflection == now
    with pytest.raises(ValidationError):
        AgentSettings.model_validate({"reflection": "sometimes"})
