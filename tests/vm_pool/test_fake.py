"""The fake machine keeps the contract of all machines, and breaks when it is told to."""

import time

import pytest

from vm_pool.contract import CHECKS, run_check
from vm_pool.errors import BootTimeout, GuestTimeout, MachineLost
from vm_pool.events import Click, InputEvent, KeyDown, Text
from vm_pool.machine import Machine
from vm_pool.provider import Provider, Spec
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_shell import Reply
from vm_pool.types import Box


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_the_fake_machine_keeps_the_contract(check):
    machine: Machine = FakeMachine()
    result = await run_check(check, machine)
    assert result.outcome != "failed", result.reason
    assert result.missing in (None, "programs")


async def test_input_reaches_the_script_and_the_screen():
    def draw(desktop: FakeDesktop, event: InputEvent) -> None:
        if event.type == "click":
            desktop.paint(Box(x=event.x, y=event.y, width=2, height=2), (255, 0, 0))

    machine = FakeMachine(script=Script(on_event=draw))
    await machine.perform([Click(x=3, y=4), Text(text="hi"), KeyDown(key="ctrl")])
    frame = await machine.screenshot()
    assert tuple(frame.pixels[5, 4]) == (255, 0, 0)
    assert machine.desktop.typed == "hi"
    assert machine.desktop.held == ["ctrl"]


async def test_commands_of_the_script_come_before_the_built_in_ones():
    def shout(desktop: FakeDesktop, argv, stdin) -> Reply | None:
        return Reply(stdout="ECHO\n") if argv[0] == "echo" else None

    machine = FakeMachine(script=Script(on_command=shout))
    assert (await machine.run(["echo", "x"])).stdout == "ECHO\n"
    assert (await machine.run(["seq", "1", "2"])).stdout == "1\n2\n"
    assert machine.desktop.commands == [("echo", "x"), ("seq", "1", "2")]


async def test_a_lost_machine_answers_nothing_any_more():
    machine = FakeMachine(script=Script(lose_after_calls=1))
    await machine.screenshot()
    with pytest.raises(MachineLost):
        await machine.screenshot()
    with pytest.raises(MachineLost):
        await machine.read("/etc/passwd")


async def test_an_injected_fault_comes_once():
    machine = FakeMachine()
    machine.script.fail_next("settle", GuestTimeout("slow"))
    with pytest.raises(GuestTimeout):
        await machine.settle()
    assert await machine.settle()


async def test_a_slow_machine_takes_its_time():
    machine = FakeMachine(script=Script(delay_s=0.05))
    started = time.monotonic()
    await machine.windows()
    assert time.monotonic() - started >= 0.05


async def test_forks_start_alike_and_part_ways():
    provider: Provider = FakeProvider(files={"/home/user/a.txt": b"a"})
    template = await provider.boot(Spec(width=64, height=48))
    await template.write("~/b.txt", b"b")
    snapshot = await provider.snapshot(template)
    left, right = await provider.fork(snapshot), await provider.fork(snapshot)
    await left.write("~/a.txt", b"changed")
    assert await right.read("/home/user/a.txt") == b"a"
    assert await right.read("/home/user/b.txt") == b"b"
    assert left.info.machine_id != right.info.machine_id
    assert (left.info.width, left.info.height) == (64, 48)


async def test_a_stopped_machine_is_lost_and_no_stray():
    provider = FakeProvider()
    machine = await provider.boot(Spec())
    assert len(await provider.strays()) == 1
    await provider.stop(machine)
    assert await provider.strays() == []
    with pytest.raises(MachineLost):
        await provider.revive(machine.info.machine_id)


async def test_a_boot_that_fails_is_a_boot_timeout():
    provider = FakeProvider()
    provider.script.fail_next("boot", BootTimeout("it waited for the window manager"))
    with pytest.raises(BootTimeout):
        await provider.boot(Spec())
    assert await provider.boot(Spec())
