"""Faults that are injected into fake machines come where they were planned, and are the same each time."""

import asyncio

import pytest

from vm_pool.errors import BootTimeout, GuestError, GuestFileNotFound, GuestTimeout, MachineError, MachineLost
from vm_pool.events import Move
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_faults import (
    Death,
    DiskFull,
    Fault,
    Hang,
    LostSocket,
    Method,
    Nonsense,
    Slow,
    TornFrame,
    WrongAnswer,
)
from vm_pool.types import Box


def broken(fault: Fault, method: Method | None = None, *, after: int = 0, times: int | None = 1) -> FakeMachine:
    script = Script(on_event=lambda desktop, _: desktop.paint(Box(x=0, y=0, width=320, height=200), (1, 2, 3)))
    script.inject(fault, method=method, after=after, times=times)
    return FakeMachine(script=script)


async def test_a_hang_without_end_waits_until_it_is_cancelled():
    machine = broken(Hang(), "windows")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await machine.windows()
    assert await machine.windows() == ()


async def test_a_hang_is_a_timeout_and_the_work_may_have_been_done_all_the_same():
    machine = broken(Hang(seconds=0.01, done=True), "write")
    with pytest.raises(GuestTimeout, match=r"no answer within 0.01 s"):
        await machine.write("~/x", b"x")
    assert await machine.read("~/x") == b"x"
    machine = broken(Hang(seconds=0), "write")
    with pytest.raises(GuestTimeout):
        await machine.write("~/x", b"x")
    with pytest.raises(GuestFileNotFound):
        await machine.read("~/x")


async def test_a_slow_call_gives_the_right_answer():
    assert (await broken(Slow(seconds=0.01), "run").run(["echo", "x"])).stdout == "x\n"


async def test_a_torn_frame_is_new_above_and_old_below():
    machine = broken(TornFrame(share=0.25), "screenshot", after=1)
    old = await machine.screenshot()
    await machine.perform([Move(x=1, y=1)])
    torn = await machine.screenshot()
    assert tuple(torn.pixels[149, 0]) == (1, 2, 3)
    assert (torn.pixels[150:] == old.pixels[150:]).all()
    assert ((await machine.screenshot()).pixels == (1, 2, 3)).all()
    first = await broken(TornFrame(), "look").look(frozenset({"frame"}))
    assert first.frame is not None
    assert not first.frame.pixels[100:].any()


async def test_a_lost_socket_is_one_call_and_death_is_all_of_them():
    machine = broken(LostSocket(done=True), "write")
    with pytest.raises(MachineLost, match="disconnected"):
        await machine.write("~/x", b"x")
    assert await machine.read("~/x") == b"x"
    machine = broken(Death(), "read")
    await machine.write("~/x", b"x")
    for _ in range(2):
        with pytest.raises(MachineLost, match="has ended"):
            await machine.read("~/x")
    with pytest.raises(MachineLost):
        await machine.screenshot()


async def test_a_full_disk_takes_no_file():
    machine = broken(DiskFull(), "write", times=None)
    for _ in range(3):
        with pytest.raises(GuestError, match="No space left on device"):
            await machine.write("~/x", b"x")
    assert machine.desktop.files == {}


async def test_nonsense_is_an_error_and_a_wrong_answer_is_not():
    with pytest.raises(GuestError, match="malformed"):
        await broken(Nonsense(), "tree").tree()
    machine = broken(WrongAnswer(answer=b"lies"), "read")
    await machine.write("~/x", b"truth")
    assert await machine.read("~/x") == b"lies"
    assert await machine.read("~/x") == b"truth"


async def test_faults_come_at_the_planned_call_of_the_planned_machine():
    script = Script()
    script.inject(Nonsense(), method="windows", machine=1, after=2, times=2)
    provider = FakeProvider(script=script)
    machines = [await provider.boot(Spec()) for _ in range(2)]
    assert [await _fails(machines[0]) for _ in range(5)] == [False] * 5
    assert [await _fails(machines[1]) for _ in range(5)] == [False, False, True, True, False]


async def test_without_a_method_all_calls_count():
    machine = broken(Nonsense(), after=1)
    await machine.tree()
    assert await _fails(machine)
    assert not await _fails(machine)


async def test_starts_break_too():
    script = Script()
    script.inject(Hang(seconds=0), method="fork")
    script.inject(Death(), method="boot", after=1)
    provider = FakeProvider(script=script)
    snapshot = await provider.snapshot(await provider.boot(Spec()))
    with pytest.raises(BootTimeout):
        await provider.fork(snapshot)
    with pytest.raises(MachineLost):
        await provider.boot(Spec())
    await provider.boot(Spec())
    assert len(provider.machines) == 2


async def test_a_reaction_still_sees_the_desktop():
    seen: list[FakeDesktop] = []
    script = Script(on_event=lambda desktop, _: seen.append(desktop))
    script.inject(Slow(seconds=0), method="perform")
    machine = FakeMachine(script=script)
    await machine.perform([Move(x=1, y=1)])
    assert seen == [machine.desktop]


async def _fails(machine: FakeMachine) -> bool:
    try:
        await machine.windows()
    except MachineError:
        return True
    return False
