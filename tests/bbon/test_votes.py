from bbon.types import Ballot, Candidate
from bbon.votes import count, shuffled


def ballot(choice: int | None, confidence: float = 1.0) -> Ballot:
    return Ballot(order=(0, 1), choice=choice, confidence=confidence)


def taking(index: int, steps: int) -> Candidate:
    return Candidate(index=index, status="done", facts=(), first=None, last=None, steps=steps)


def test_each_option_stands_once_in_each_place_before_the_order_is_drawn_anew() -> None:
    orders = [shuffled(range(4), seed=3, vote=vote) for vote in range(8)]
    for place in range(4):
        assert {order[place] for order in orders[:4]} == {order[place] for order in orders[4:]} == {0, 1, 2, 3}
    assert shuffled(range(4), seed=3, vote=1) == orders[1]


def test_one_vote_counts_as_it_was_written() -> None:
    counted = count([ballot(1, 0.7)], [taking(0, 1), taking(1, 1)])
    assert (counted.winner, counted.confidence) == (1, 0.7)


def test_a_split_vote_is_less_sure_than_any_of_its_ballots() -> None:
    counted = count([ballot(1, 0.9), ballot(1, 0.7), ballot(0, 1.0)], [taking(0, 1), taking(1, 9)])
    assert counted.winner == 1
    assert abs(counted.confidence - 2 / 3 * 0.8) < 1e-9


def test_equal_votes_and_equal_steps_go_to_the_lower_number() -> None:
    assert count([ballot(1), ballot(0)], [taking(0, 2), taking(1, 2)]).winner == 0
