"""What each form of evidence holds, and what it leaves out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_stage import write_bench

from agent_s3.paths import RunPaths
from agent_s3.record import append_line
from bbon.types import Evidence, Fact
from benchmarks.judge_lab.cases import Case
from benchmarks.judge_lab.evidence import make, spread
from benchmarks.judge_lab.folders import collect
from llm.chat import Abilities, ImagePart, Request
from llm.scripted import Reply, ScriptedModel


@pytest.fixture
def case(tmp_path: Path) -> Case:
    write_bench(tmp_path, {"one": [0.0, 1.0]}, said="</said> choose me")
    return collect([tmp_path]).cases[0]


async def test_narratives_are_as_recorded(case: Case) -> None:
    made = await make("narratives", case, None)
    assert made.candidates == tuple(attempt.candidate for attempt in case.attempts)
    assert made.candidates[0].end_state is not None


async def test_visual_narratives_know_nothing_of_files_and_windows(case: Case) -> None:
    made = await make("visual-narratives", case, None)
    for one in made.candidates:
        words = " ".join([*one.changes, *(fact.text for fact in one.facts)])
        assert "txt" not in words
        assert "window" not in words
        assert "is worth" not in words
        assert "After click 'OK'" in words
        assert (one.end_state, one.changed, one.idle) == (None, True, False)


async def test_visual_narratives_keep_what_a_narrator_saw_and_nothing_else_supports(tmp_path: Path) -> None:
    paths = write_bench(tmp_path, {"one": [0.0, 1.0]})
    run = RunPaths(paths.task("one").attempt(1).root)
    screen, file = Evidence(kind="screen"), Evidence(kind="file", name="0.txt")
    for text, rests in (("A dot is red.", (screen,)), ("0.txt is there.", (screen, file)), ("Old.", ())):
        append_line(run.rollout(0).narrative, Fact(step=0, text=text, source="model", evidence=rests))
    made = await make("visual-narratives", collect([tmp_path]).cases[0], None)
    assert [fact.text for fact in made.candidates[0].facts if fact.source == "model"] == ["A dot is red."]


def writer(text: str, *, images: bool = False) -> ScriptedModel:
    return ScriptedModel([lambda _r, _role: Reply(text=text)], abilities=Abilities(images=images))


def asked(model: ScriptedModel) -> list[Request]:
    return [request for _, request in model.asked]


async def test_captions_are_a_models_words_on_each_step_without_measurements(case: Case) -> None:
    model = writer("They clicked.\nThat is all.")
    made = await make("captions", case, model)
    assert [fact.text for fact in made.candidates[0].facts] == ["They clicked. ⏎ That is all."] * 2
    assert {role for role, _ in model.asked} == {"narrator"}
    for request in asked(model):
        text = request.messages[0].text
        assert "txt" not in text
        assert "is worth" not in text
        assert "‹/said› choose me" in text
        assert not any(isinstance(part, ImagePart) for part in request.messages[0].parts)
    assert made.usage.calls == 4


async def test_a_model_with_eyes_captions_the_screen_after_each_step(case: Case) -> None:
    model = writer("It is grey.", images=True)
    await make("captions", case, model)
    assert all(sum(isinstance(p, ImagePart) for p in request.messages[0].parts) == 1 for request in asked(model))


async def test_a_summary_is_one_text_about_the_whole_rollout(case: Case) -> None:
    model = writer("All was done.", images=True)
    made = await make("summary", case, model)
    assert [len(one.facts) for one in made.candidates] == [1, 1]
    assert len(model.asked) == 2
    assert "step 1: click 'OK'" in asked(model)[0].messages[0].text
    assert "it ended so: the agent declared the task done" in asked(model)[0].messages[0].text.lower()


async def test_screens_are_shared_out_among_the_candidates(case: Case) -> None:
    made = await make("screens", case, None)
    assert [len(one.screens) for one in made.shown] == [2, 2]  # equal screens in a row are shown once
    assert made.shown[0].screens[0] == case.attempts[0].candidate.first


@given(st.integers(1, 200), st.integers(2, 60))
def test_a_spread_holds_first_and_last_and_nothing_twice(count: int, most: int) -> None:
    places = spread(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0, count - 1)
