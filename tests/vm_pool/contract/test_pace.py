"""Time limits that fit the machine under test."""

import asyncio

import pytest

from vm_pool.contract import run_check
from vm_pool.contract.check import Check
from vm_pool.contract.pace import MOST, at_pace, pace_of, stretched
from vm_pool.providers.fake import FakeMachine
from vm_pool.types import Completed


class Slow(FakeMachine):
    """A machine on which every program takes as long as it is told, in seconds."""

    said = "0.0"
    returncode = 0

    async def run(self, argv, **options):
        return Completed(returncode=self.returncode, stdout=self.said, stderr="", seconds=0.0, timed_out=False)


@pytest.mark.parametrize(
    ("said", "least", "most"), [("0.000001", 1, 1), ("1e9", MOST, MOST), ("nonsense", 1, 1), ("30", 1.5, MOST)]
)
async def test_the_pace_is_that_of_a_program_here_and_there(said, least, most):
    machine = Slow()
    machine.said = said
    assert least <= await pace_of(machine) <= most


async def test_a_machine_without_python_is_taken_to_be_as_fast_as_this_host():
    machine = Slow()
    machine.returncode = 127
    assert await pace_of(machine) == 1.0
    assert await pace_of(FakeMachine()) == 1.0


async def test_limits_are_longer_for_a_slow_machine_inside_a_check_too():
    seen: list[float] = []

    async def it_waits(_: object) -> None:
        seen.append(stretched(2))
        await asyncio.gather(_note(seen))
        await asyncio.sleep(0.05)

    one = Check("it_waits", "group", it_waits, 0.01)
    assert (await run_check(one, None)).reason == "it was not over after 0.01 s"
    assert (await run_check(one, None, pace=100)).outcome == "passed"
    assert seen[2:] == [200, 200]
    assert stretched(2) == 2


async def _note(seen: list[float]) -> None:
    seen.append(stretched(2))


def test_the_pace_ends_with_its_block():
    with at_pace(3):
        assert stretched(1) == 3
    assert stretched(1) == 1
