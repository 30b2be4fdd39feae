"""Running machines are stopped once, together and whatever happens, and starts that fail leave what they should."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vm_pool.errors import MachineLost
from vm_pool.local_state import DiskState, read_state, state_of_new, write_state
from vm_pool.provider import Spec
from vm_pool.providers import keeping
from vm_pool.providers.fake import FakeMachine, fake_info
from vm_pool.providers.machines import Machines


@dataclass
class One:
    state: DiskState
    ends: bool = True
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class Deeds:
    """What was done to machines, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.machines = Machines[One](keep=self.keep, halt=self.halt, clear=self.clear, delete=self.delete)

    def add(self, name: str, *, ends: bool = True) -> One:
        one = One(state_of_new(name, Spec(), "image"), ends)
        self.machines.add(one)
        return one

    async def keep(self, one: One) -> None:
        self.done.append(f"keep {one.state.id}")

    async def halt(self, one: One) -> None:
        await asyncio.sleep(0)
        if not one.ends:
            raise TimeoutError(f"{one.state.id} did not end")
        self.done.append(f"halt {one.state.id}")

    async def clear(self, machine_id: str) -> None:
        self.done.append(f"clear {machine_id}")

    async def delete(self, machine_id: str) -> None:
        self.done.append(f"delete {machine_id}")


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


async def test_a_machine_that_is_stopped_twice_at_once_is_ended_once(deeds: Deeds) -> None:
    deeds.add("a")
    assert await asyncio.gather(deeds.machines.stop("a"), deeds.machines.stop("a")) == [True, True]
    assert deeds.done == ["halt a", "delete a"]
    assert not await deeds.machines.stop("a")


async def test_what_is_kept_is_noted_before_the_end_and_not_deleted(deeds: Deeds) -> None:
    deeds.add("a")
    await deeds.machines.stop("a", keep_disk=True)
    assert deeds.done == ["keep a", "halt a"]


async def test_one_that_does_not_end_keeps_no_other_and_is_still_known(deeds: Deeds) -> None:
    stuck, _ = deeds.add("a", ends=False), deeds.add("b")
    with pytest.raises(TimeoutError, match="a did not end"):
        async with deeds.machines.ended_after():
            deeds.done.append("work")
    assert deeds.done == ["work", "halt b", "delete b"]
    assert deeds.machines.get("a") is stuck
    assert deeds.machines.get("b") is None


@pytest.mark.parametrize("held", [True, False])
async def test_of_a_new_machine_that_fails_nothing_is_left(deeds: Deeds, held: bool) -> None:
    async def start() -> None:
        async with deeds.machines.making("a"):
            if held:
                deeds.add("a")
            raise MachineLost("a ended")

    with pytest.raises(MachineLost):
        await start()
    assert deeds.done == ["halt a" if held else "clear a", "delete a"]


async def test_of_a_kept_machine_that_fails_again_the_disk_is_left(deeds: Deeds, tmp_path: Path) -> None:
    kept = deeds.add("a").state.model_copy(update={"owner": None})
    write_state(tmp_path, kept)

    async def start() -> None:
        with keeping.ours_if_it_starts(tmp_path, kept) as ours:
            assert ours.owner is not None
            assert read_state(tmp_path) == ours
            async with deeds.machines.restarting("a"):
                raise MachineLost("a ended")

    with pytest.raises(MachineLost):
        await start()
    assert deeds.done == ["halt a"]
    assert read_state(tmp_path) == kept


async def test_machines_of_others_are_not_among_them(deeds: Deeds) -> None:
    with pytest.raises(MachineLost, match="fake-7 is not a running machine of this process"):
        deeds.machines.of(FakeMachine(fake_info("fake-7")))
