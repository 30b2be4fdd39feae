"""What each judge does with the answers of its model."""

import math
from pathlib import Path

import pytest
from lab_stage import case_of, first, judge_of, right, wrong

from benchmarks.judge_lab.cases import Case
from benchmarks.judge_lab.evidence import Evidence, make
from benchmarks.judge_lab.judges import blind, majority, mcq, pairwise, rubric, tournament
from benchmarks.judge_lab.question import Question
from llm.chat import Abilities, ImagePart, Request
from llm.scripted import Reply, ScriptedModel

LOCAL = Abilities(logprobs=True, context_tokens=8192)


async def about(case: Case, model: ScriptedModel, **more: int) -> Question:
    made: Evidence = await make("narratives", case, None)
    return Question(case.instruction, "narratives", made.shown, case.frames, model, **more)


async def test_the_multiple_choice_is_that_of_a_run(tmp_path: Path) -> None:
    case = case_of("a", [0, 0, 1], tmp_path)
    decision = await mcq(await about(case, judge_of(right)))
    assert (decision.pick, decision.usage.calls, len(decision.asked)) == (2, 1, 1)


async def test_votes_put_every_candidate_in_every_place_once(tmp_path: Path) -> None:
    question = await about(case_of("a", [0, 0, 1, 0], tmp_path), judge_of(first), seed=3, votes=4)
    decision = await majority(question)
    [ballots] = decision.asked
    assert [set(place) for place in zip(*(b.order for b in ballots), strict=True)] == [{0, 1, 2, 3}] * 4
    assert [b.choice for b in ballots] == [b.order[0] for b in ballots]
    assert (decision.pick, decision.usage.calls) == (0, 4)  # one vote each, as many steps: the lowest number


async def test_the_majority_wins(tmp_path: Path) -> None:
    """Right unless the right one stands first: outvoted by the other orders."""

    def distracted(request: Request, options: list[tuple[str, float]]) -> str:
        return (wrong if options[0][1] == 1 else right)(request, options)

    question = await about(case_of("a", [0, 1, 0.5], tmp_path), judge_of(distracted), votes=3)
    assert (await majority(question)).pick == 1


async def test_pairwise_takes_the_winner_on(tmp_path: Path) -> None:
    decision = await pairwise(await about(case_of("a", [0, 1, 0, 0.5], tmp_path), judge_of(right)))
    assert (decision.pick, decision.usage.calls) == (1, 3)
    assert (await pairwise(await about(case_of("a", [0, 1, 0.5], tmp_path), judge_of(wrong)))).pick == 0
    none = judge_of(lambda _request, _options: "none")
    assert (await pairwise(await about(case_of("a", [0, 1, 0.5], tmp_path), none))).pick is None
    assert (await pairwise(await about(case_of("a", [1], tmp_path), judge_of(right)))).pick == 0


async def test_the_tournament_counts_wins_and_fewer_steps_break_a_tie(tmp_path: Path) -> None:
    decision = await tournament(await about(case_of("a", [0, 1, 0, 0.5], tmp_path), judge_of(right)))
    assert (decision.pick, decision.usage.calls) == (1, 6)
    circle = {frozenset({0.1, 0.2}): 0.1, frozenset({0.2, 0.3}): 0.2, frozenset({0.1, 0.3}): 0.3}

    def beats(_request: Request, options: list[tuple[str, float]]) -> str:
        winner = circle[frozenset(worth for _, worth in options)]
        return next(letter for letter, worth in options if worth == winner)

    case = case_of("a", [0.1, 0.2, 0.3], tmp_path, steps=[4, 2, 3])
    assert (await tournament(await about(case, judge_of(beats)))).pick == 1
    none = judge_of(lambda _request, _options: "none")
    assert (await tournament(await about(case, none))).pick is None


def graded(request: Request, _role: str) -> Reply:
    return Reply(json={"reasons": "so", "grade": 5 if "is worth 1" in request.messages[-1].text else 2})


async def test_the_rubric_grades_each_alone(tmp_path: Path) -> None:
    model = ScriptedModel([graded], abilities=Abilities(schema=True))
    decision = await rubric(await about(case_of("a", [0, 1, 0], tmp_path), model))
    assert (decision.pick, len(model.asked)) == (1, 3)
    tie = await rubric(await about(case_of("a", [0, 0, 0], tmp_path, steps=[3, 1, 2]), model))
    assert tie.pick == 1


async def test_a_grade_that_is_none_is_asked_for_again(tmp_path: Path) -> None:
    replies = ["five", Reply(json={"grade": 9}), Reply(json={"grade": 4})]
    model = ScriptedModel(replies, abilities=Abilities())
    assert (await rubric(await about(case_of("a", [0], tmp_path), model))).pick == 0
    assert "could not be used" in model.asked[2][1].messages[-1].text


async def test_a_model_with_log_probabilities_is_graded_by_the_expected_digit(tmp_path: Path) -> None:
    """Both give 4 as the likeliest digit; the second leans to 5, the first to 3."""

    def digits(request: Request, _role: str) -> Reply:
        lean = "5" if "is worth 1" in request.messages[-1].text else "3"
        return Reply(text="4", logprobs=({"4": math.log(0.6), lean: math.log(0.4)},))

    model = ScriptedModel([digits], abilities=LOCAL)
    assert (await rubric(await about(case_of("a", [0, 1], tmp_path, steps=[1, 9]), model))).pick == 1
    assert model.asked[0][1].max_tokens == 1


def test_judges_that_ask_nobody_answer_with_chances(tmp_path: Path) -> None:
    case = case_of("a", [0, 1, 1], tmp_path, steps=[5, 5, 2])
    assert blind("longest", case).chances == {0: 0.5, 1: 0.5}
    assert blind("shortest", case).chances == {2: 1.0}
    assert blind("random", case).chances == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    assert blind("oracle", case).chances == {1: 0.5, 2: 0.5}
    with pytest.raises(ValueError, match="needs scores"):
        blind("oracle", case_of("b", [None, 1], tmp_path))


async def test_screens_are_judged_by_pictures_alone(tmp_path: Path) -> None:
    from lab_stage import write_bench

    from benchmarks.judge_lab.folders import collect

    write_bench(tmp_path, {"one": [0.0, 1.0]})
    [case] = collect([tmp_path]).cases
    replies = [
        Reply(json={"choice": "Q", "reasons": "", "confidence": 1}),
        Reply(json={"choice": "A", "reasons": "r", "confidence": 1}),
    ]
    model = ScriptedModel(replies, abilities=Abilities(images=True))
    made = await make("screens", case, None)
    decision = await mcq(Question("Do one", "screens", made.shown, case.frames, model))
    parts = model.asked[1][1].messages[0].parts
    assert sum(isinstance(part, ImagePart) for part in parts) == 4
    assert "is worth" not in model.asked[1][1].messages[0].text
    assert decision.pick in (0, 1)
    assert decision.usage.calls == 2
    votes = ScriptedModel([lambda _r, _role: replies[1]], abilities=Abilities(images=True))
    counted = await majority(Question("Do one", "screens", made.shown, case.frames, votes, votes=2))
    assert {ballot.order for ballot in counted.asked[0]} == {(0, 1), (1, 0)}
