"""Whether a judge prefers a place: counts over its ballots. Pure."""

from collections.abc import Sequence

from bbon.types import Ballot
from benchmarks.judge_lab.intervals import uneven
from benchmarks.judge_lab.report import Positions

Asked = Sequence[Sequence[Ballot]]
"""The ballots of each question about one task; several questions are the same one in other orders."""


def positions(cell: str, tasks: Sequence[Asked]) -> Positions:
    """Counts of chosen places against chance, and how often the choice outlived another order."""
    ballots = [ballot for asked in tasks for each in asked for ballot in each if placed(ballot)]
    places = max((len(ballot.order) for ballot in ballots), default=0)
    picked = [sum(ballot.order.index(ballot.choice) == place for ballot in ballots) for place in range(places)]
    chance = [sum(1 / len(b.order) for b in ballots if len(b.order) > place) for place in range(places)]
    several = [ballots for asked in tasks if len(ballots := [b for each in asked for b in each]) > 1]
    alike = [len({ballot.choice for ballot in ballots}) == 1 for ballots in several]
    return Positions(
        cell=cell,
        questions=len(ballots),
        picked=tuple(picked),
        expected=tuple(round(count, 3) for count in chance),
        p=uneven(picked, chance),
        steady=sum(alike) / len(alike) if alike else None,
    )


def placed(ballot: Ballot) -> bool:
    """Whether the choice has a place: `none` has one only where it is an option like the others."""
    return len(ballot.order) > 1 and ballot.choice in ballot.order
