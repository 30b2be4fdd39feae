"""Who is asked before what, and what becomes of an action that nobody allowed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rollout_stage import BLIND, Stage, act, editor_tree, node, says

from agent_s3.actions import Wait
from agent_s3.approval import Answer, Approver, Askers, Question, ScriptedAsker
from agent_s3.ask_files import FileAsker, NoSuchQuestion, answer, open_questions
from agent_s3.record import read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import ApprovalPolicy, RolloutResult, SafetyNotice, Step
from llm.scripted import ScriptedModel
from vm_pool.events import Click, InputEvent
from vm_pool.providers.fake_desktop import FakeDesktop
from vm_pool.providers.fake_shell import Reply as ShellReply

DELETE, SAVE = act("click", element_description="Delete"), act("click", element_description="Save")
DONE = act("done")
ODD = SafetyNotice(id="c1", code="malicious_instructions", message="the page gives orders")


def ready(stage: Stage, policy: ApprovalPolicy, **settings: Any) -> None:
    stage.machine.desktop.tree = editor_tree(node("e/delete", "push-button", "Delete", (150, 10, 60, 20)))
    stage.settings = AgentSettings(approve=policy, **settings)


async def play(stage: Stage, asker: ScriptedAsker | None, *replies: Any) -> tuple[RolloutResult, ScriptedModel]:
    model = ScriptedModel(replies, abilities=BLIND)
    return await stage.play(model, asker=asker), model


def steps_of(stage: Stage) -> list[Step]:
    return read_lines(stage.paths.rollout(0).trajectory, Step)


def told(model: ScriptedModel) -> str:
    return model.asked[-1][1].messages[-1].text


async def test_nobody_is_asked_unless_it_is_wished_and_the_risk_is_recorded(stage: Stage) -> None:
    ready(stage, "auto")
    await play(stage, None, DELETE, DONE)
    step = steps_of(stage)[0]
    assert ([r.rule for r in step.risks], step.approval, step.error) == (["delete-button"], None, None)
    assert len(stage.machine.desktop.events) == 1


async def test_a_question_to_the_user_needs_no_leave(stage: Stage) -> None:
    ready(stage, "ask", ask=True, ask_timeout_s=0.01)
    asker = ScriptedAsker()
    await play(stage, asker, act("ask_user", question="Which year?"), DONE)
    assert (asker.asked, steps_of(stage)[0].error) == ([], None)


async def test_on_risk_only_what_is_risky_is_asked(stage: Stage) -> None:
    ready(stage, "ask-on-risk")
    asker = ScriptedAsker([True])
    await play(stage, asker, SAVE, DELETE, DONE)
    assert [(q.step, q.what, [r.kind for r in q.risks]) for q in asker.asked] == [
        (1, "click 'Delete' (push-button Delete)", ["delete"])
    ]
    approval = steps_of(stage)[1].approval
    assert approval is not None
    assert (approval.allowed, approval.by) == (True, "user")
    assert len(stage.machine.desktop.events) == 2


async def test_everything_that_reaches_the_machine_is_asked_and_nothing_else(stage: Stage) -> None:
    ready(stage, "ask")
    asker = ScriptedAsker([True] * 3)
    await play(stage, asker, SAVE, act("wait", time=0.01), SAVE, DONE)
    assert [q.step for q in asker.asked] == [0, 2]


async def test_a_refusal_is_the_outcome_of_the_step_and_the_rollout_goes_on(stage: Stage) -> None:
    ready(stage, "ask")
    no = Answer(allowed=False, reason="keep the notes")
    result, model = await play(stage, ScriptedAsker([no]), DELETE, DONE)
    assert result.status == "done"
    assert stage.machine.desktop.events == []
    step = steps_of(stage)[0]
    assert step.error is not None
    assert (step.error.kind, step.events) == ("refused", ())
    assert "keep the notes" in told(model)
    assert "Nothing was done" in told(model)


async def test_what_a_user_says_with_a_yes_reaches_the_worker(stage: Stage) -> None:
    ready(stage, "ask")
    _, model = await play(stage, ScriptedAsker([Answer(allowed=True, reason="but only this one")]), DELETE, DONE)
    assert "but only this one" in told(model)


async def test_no_answer_in_time_is_a_refusal(stage: Stage) -> None:
    ready(stage, "ask", approve_timeout_s=0.05)
    _, model = await play(stage, ScriptedAsker(), DELETE, DONE)
    approval = steps_of(stage)[0].approval
    assert approval is not None
    assert (approval.allowed, approval.by, stage.machine.desktop.events) == (False, "nobody", [])
    assert "did not answer in time" in told(model)


async def test_where_nobody_can_be_asked_it_is_refused(stage: Stage) -> None:
    ready(stage, "ask")
    _, model = await play(stage, None, DELETE, DONE)
    assert stage.machine.desktop.events == []
    assert "nobody can be asked" in told(model)


async def test_an_action_that_waits_for_its_answer_does_not_count_as_begun(stage: Stage) -> None:
    """A run that is killed meanwhile must not tell the model that it may have happened."""
    ready(stage, "ask")
    asked = asyncio.Event()
    folder = stage.paths.questions
    asker = FileAsker(folder, lambda _question: asked.set())
    playing = asyncio.create_task(stage.play(ScriptedModel([DELETE], abilities=BLIND), asker=asker))
    await asyncio.wait_for(asked.wait(), 20)
    playing.cancel()
    await asyncio.wait([playing])
    assert not stage.paths.rollout(0).pending.exists()


async def test_a_dry_run_sends_nothing_and_says_what_it_would_do(stage: Stage) -> None:
    ready(stage, "dry-run")
    replies = [SAVE, act("open", app_or_filename="editor"), act("call_code_agent"), act("type", text="x"), DONE]
    commands = len(stage.machine.desktop.commands)
    result, model = await play(stage, ScriptedAsker(), *replies)
    assert (result.status, result.steps, stage.machine.desktop.events) == ("done", 5, [])
    ran = stage.machine.desktop.commands[commands:]
    assert all(command[0] in ("true", "which") for command in ran)  # what asks what the machine can do
    assert "code" not in {role for role, _ in model.asked}
    assert all(step.error is not None and step.error.kind == "dry_run" for step in steps_of(stage)[:4])
    assert "it would type 'x'" in told(model)
    assert "failed" not in told(model)


async def test_each_snippet_of_the_coding_agent_is_asked_for_and_a_refused_one_is_not_run(stage: Stage) -> None:
    ran: list[str] = []

    def shell(_desktop: FakeDesktop, argv: Any, _stdin: bytes) -> ShellReply | None:
        if argv[0] == "bash":
            ran.append(argv[2])
        return ShellReply("")

    ready(stage, "ask-on-risk")
    stage.machine.script.on_command = shell
    asker = ScriptedAsker([Answer(allowed=False, reason="keep them")])
    blocks = [says("code", f"```bash\n{code}\n```") for code in ("ls", "rm notes.txt")]
    _, model = await play(stage, asker, act("call_code_agent"), *blocks, says("code", "FAIL"), DONE)
    assert ran == ["ls"]
    assert [q.code for q in asker.asked] == ["rm notes.txt"]
    report = steps_of(stage)[0].code
    assert report is not None
    refused = report.turns[1]
    assert ([r.kind for r in refused.risks], refused.returncode) == (["delete"], 126)
    assert refused.approval is not None
    assert not refused.approval.allowed
    assert "keep them" in [r for role, r in model.asked if role == "code"][-1].messages[-1].text


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("policy", ["ask", "ask-on-risk"])
async def test_what_a_provider_doubts_is_put_to_the_user_under_a_policy_that_asks(
    policy: ApprovalPolicy, says: bool
) -> None:
    asker = ScriptedAsker([says])
    assert await Approver(policy, asker=asker).acknowledges([ODD], [Wait(time=1)], step=3) is says
    assert (asker.asked[0].step, [risk.evidence for risk in asker.asked[0].risks]) == (3, ["the page gives orders"])


@pytest.mark.parametrize("policy", ["auto", "dry-run"])
async def test_what_a_provider_doubts_is_not_acknowledged_where_nobody_is_asked(policy: ApprovalPolicy) -> None:
    assert not await Approver(policy, asker=ScriptedAsker([True])).acknowledges([ODD], [Wait(time=1)], step=0)


async def test_of_several_ways_to_the_user_the_first_answer_counts() -> None:
    silent, quick = ScriptedAsker(), ScriptedAsker([Answer(allowed=True, reason="fine")])
    question = Question(id="0-1-x", rollout=0, step=1, what="click", timeout_s=1)
    assert (await Askers([silent, quick]).ask(question)).reason == "fine"
    assert silent.asked == [question]


async def over_files(folder: Path, said: Answer) -> Answer:
    question = Question(id="0-1-ab", rollout=0, step=1, what="click 'Delete'", timeout_s=1)
    asked = asyncio.Event()
    asking = asyncio.create_task(FileAsker(folder, lambda _question: asked.set()).ask(question))
    await asyncio.wait_for(asked.wait(), 20)
    assert open_questions(folder) == [question]
    answer(folder, question.id, said)
    return await asking


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_question_can_be_answered_over_files_of_the_run_folder(tmp_path: Path, allowed: bool) -> None:
    said = Answer(allowed=allowed, reason="so")
    assert await over_files(tmp_path / "questions", said) == said
    assert list((tmp_path / "questions").iterdir()) == []


async def test_an_answer_left_by_a_killed_session_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "0-1-ab.answer.json").write_text('{"allowed": true}')
    assert (await over_files(tmp_path, Answer(allowed=False))).allowed is False


async def test_another_action_at_the_same_step_is_another_question() -> None:
    asker = ScriptedAsker([True, True])
    approver = Approver("ask", asker=asker)
    for code in ("touch a", "rm a"):
        await approver.code(code, step=0)
    assert len({question.id for question in asker.asked}) == 2


@pytest.mark.parametrize("name", ["0-1-none", "../config", ""])
def test_only_open_questions_can_be_answered(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NoSuchQuestion):
        answer(tmp_path / "questions", name, Answer(allowed=True))


async def test_a_click_by_number_is_judged_by_what_lies_there(stage: Stage) -> None:
    clicked: list[InputEvent] = []
    ready(stage, "ask-on-risk")
    stage.machine.script.on_event = lambda _desktop, event: clicked.append(event)
    number = 5  # the fifth element of the list
    _, model = await play(stage, ScriptedAsker([False]), act("click", element_description=f"#{number}"), DONE)
    assert '#5 push-button "Delete"' in model.asked[0][1].messages[-1].text
    assert not any(isinstance(event, Click) for event in clicked)
