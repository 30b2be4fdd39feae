"""The comparison of policies: what it costs to reflect, and where it helps."""

import asyncio
import json

import pytest

import cli
from agent_s3.settings import ReflectionPolicy
from benchmarks.errors import BenchmarkError
from benchmarks.reflection import SITUATIONS, chosen, measure
from benchmarks.reflection.form import Form
from benchmarks.reflection.measure import Figures, Report
from llm.scripted import Reply, ScriptedModel
from vm_pool.events import Chord, Click, Text


@pytest.fixture(scope="module")
def report() -> Report:
    return asyncio.run(measure())


def figures(report: Report, policy: ReflectionPolicy) -> Figures:
    return next(row for row in report.figures if row.policy == policy)


def solved(report: Report, policy: ReflectionPolicy) -> set[str]:
    return {row.situation for row in report.rows if row.policy == policy and row.solved}


def test_on_evidence_stays_within_the_aim_of_calls_per_step_and_always_does_not(report: Report) -> None:
    assert figures(report, "never").calls_per_step == 1.0
    assert 1.0 < figures(report, "on-evidence").calls_per_step <= 1.3
    assert figures(report, "always").calls_per_step > 1.5


def test_where_all_goes_well_on_evidence_asks_nothing(report: Report) -> None:
    quiet = [row for row in report.rows if row.policy == "on-evidence" and row.situation.startswith("all goes well")]
    assert [(row.solved, row.reflections) for row in quiet] == [(True, 0)] * 3


def test_evidence_leads_out_of_every_trap_that_leaves_a_sign(report: Report) -> None:
    everything = {situation.name for situation in SITUATIONS}
    assert solved(report, "always") == everything
    assert solved(report, "on-evidence") == everything - {"a mistake that leaves no sign"}
    assert len(solved(report, "never")) == 4


async def test_a_model_that_is_named_gets_the_same_tasks() -> None:
    model = ScriptedModel([Reply(text=json.dumps({"thought": "", "action": "done"}), times=0)])
    report = await measure(model, situations=SITUATIONS[:1], policies=("never",))
    assert (report.model, report.rows[0].status, report.rows[0].solved) == ("scripted:inline", "done", False)


def test_situations_are_chosen_by_a_part_of_their_name() -> None:
    assert [one.name for one in chosen(["circle"])] == ["in a circle"]
    assert chosen([]) == SITUATIONS
    with pytest.raises(BenchmarkError, match="in a circle"):
        chosen(["circus"])


def test_the_simulated_form_takes_input_as_a_real_one_would() -> None:
    form = Form(dead=frozenset({"Save"}))
    rows = [name for _, name, _ in form.elements()]
    for event in (Click(x=9, y=20 * rows.index("City") + 3), Text(text="Rome"), Chord(keys=("ctrl", "a"))):
        form.take(event)
    form.take(Text(text="Paris"))
    form.take(Click(x=9, y=20 * rows.index("Save") + 3))
    assert form.saved is None, "this button is dead"
    form.take(Chord(keys=("ctrl", "s")))
    assert form.saved == {"Name": "", "City": "Paris", "Subscribe": "not subscribed"}


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "reflection", "--situation", "circle"]) == 0
    shown = capsys.readouterr().out
    assert "calls per step" in shown
    assert "in a circle" in shown
    assert cli.main(["bench", "reflection", "--situation", "circle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "simulated"


@pytest.mark.parametrize(("words", "line"), [(["--situation", "circus"], "in a circle"), (["--model", "gpt"], "gpt")])
def test_a_mistake_in_the_command_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "reflection", *words]) == 2
    assert line in capsys.readouterr().err
