"""The board follows the events of a run."""

from datetime import UTC, datetime

from agent_s3.actions import Click
from agent_s3.types import RolloutResult, Step, StepError
from bbon.types import Fact, FactsFound, PhaseBegan, RolloutBegan, RolloutOver, RunEvent, StepTaken
from llm.chat import Usage
from viewer.board import Board, advance, new_board, step_words

SPENT = Usage(calls=1, input_tokens=100, output_tokens=20, usd=0.01)


def step(index: int, error: StepError | None = None) -> Step:
    return Step(
        index=index,
        started_at=datetime(2026, 11, 23, tzinfo=UTC),
        action=Click(element_description="Save"),
        usage={"worker": SPENT},
        error=error,
    )


def after(*events: RunEvent, n: int = 2) -> Board:
    board = new_board(n, 0.0)
    for moment, event in enumerate(events):
        board = advance(board, event, float(moment))
    return board


def test_a_step_shows_its_action_and_adds_up_its_cost() -> None:
    row = after(StepTaken(rollout=1, step=step(0)), StepTaken(rollout=1, step=step(1))).rows[1]

    assert (row.state, row.steps, row.action) == ("running", 2, "click 'Save'")
    assert row.usage == SPENT + SPENT


def test_facts_are_kept_for_the_verdict() -> None:
    fact = Fact(step=0, text="A file came.", source="delta")

    assert after(FactsFound(rollout=0, facts=(fact,)), FactsFound(rollout=0, facts=(fact,))).rows[0].facts == (
        fact,
        fact,
    )


def test_a_new_attempt_starts_the_row_afresh_and_a_resume_does_not() -> None:
    lost = after(StepTaken(rollout=0, step=step(4)), RolloutBegan(rollout=0, machine_id="m2", attempt=2))
    resumed = after(StepTaken(rollout=0, step=step(4)), RolloutBegan(rollout=0, machine_id="m1", attempt=1))

    assert (lost.rows[0].steps, lost.rows[0].attempt) == (0, 2)
    assert resumed.rows[0].steps == 5


def test_the_end_of_a_rollout_brings_its_own_account() -> None:
    result = RolloutResult(
        index=1, status="fail", reason="it \x1b[31mcannot", steps=3, usage={"worker": SPENT}, seconds=4.0
    )

    row = after(StepTaken(rollout=1, step=step(0)), RolloutOver(result=result)).rows[1]

    assert (row.state, row.steps, row.reason, row.usage, row.over) == ("fail", 3, "it [31mcannot", SPENT, True)


def test_phases_remember_when_they_began() -> None:
    board = after(PhaseBegan(name="boot"), PhaseBegan(name="fork", detail="4 machines"))

    assert [(phase.name, phase.began) for phase in board.phases] == [("boot", 0.0), ("fork", 1.0)]


def test_an_event_of_an_unknown_rollout_changes_nothing() -> None:
    assert after(StepTaken(rollout=9, step=step(0))) == new_board(2, 0.0)


def test_a_rollout_that_was_added_gets_a_row_when_it_begins() -> None:
    rows = after(RolloutBegan(rollout=3, machine_id="m", attempt=1)).rows

    assert [(row.index, row.state) for row in rows] == [(0, "waiting"), (1, "waiting"), (2, "waiting"), (3, "running")]


def test_a_failed_step_says_why() -> None:
    error = StepError(kind="not_found", message="no such button")

    assert step_words(step(0, error)) == "click 'Save' (failed: no such button)"
