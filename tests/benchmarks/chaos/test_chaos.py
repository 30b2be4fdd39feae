"""What is killed at random under load costs leases, never more: nothing of it is left after `pool gc`."""

import pytest

from benchmarks.chaos import Chaos, Plan, run
from benchmarks.chaos.load import Job
from benchmarks.chaos.victims import kind_of
from benchmarks.chaos.worker import Worker
from vm_pool.provider import Spec


def test_processes_are_known_by_their_command_lines() -> None:
    assert kind_of("bwrap --bind /var/lib/agent-s3/sandbox/machines/m-1/merged / -- python3 /opt/agent-s3") == "sandbox"
    assert kind_of("python3 -I /opt/agent-s3/guest/main.py --socket /run/agent-s3/ctl/guest.sock") == "guest server"
    assert kind_of("Xvfb :99 -screen 0 640x480x24") == "Xvfb"
    assert kind_of("/usr/bin/qemu-system-x86_64 -name guest=m-1") == "qemu"
    assert kind_of("openbox") == "program"


def test_a_run_without_leases_or_with_remains_does_not_hold() -> None:
    good = Chaos(
        plan=Plan(),
        killed={},
        leases={"sandbox": {"given": 1}},
        reasons={},
        unreasoned=0,
        faults=(),
        collected=0,
        not_collected=(),
        left=(),
    )
    assert good.holds
    assert not good.model_copy(update={"leases": {"sandbox": {}}}).holds
    for wrong in ({"left": ("files: x",)}, {"faults": ("x",)}, {"unreasoned": 1}, {"not_collected": ("x",)}):
        assert not good.model_copy(update=wrong).holds


async def test_a_machine_with_other_files_than_it_was_given_and_a_lease_that_hangs_are_faults() -> None:
    job = Job(provider="fake", spec=Spec(image="fake"), seed=1, at_once=1)
    worker = Worker(job)
    for what in ("asked", "given", "wrong", "hung", "step"):
        worker.count({"what": what, "detail": "m-1: x"})
    assert worker.counts == {"asked": 1, "given": 1, "wrong": 1, "hung": 1, "step": 1}
    assert worker.faults == ["fake: wrong: m-1: x", "fake: hung: m-1: x"]


@pytest.mark.desktop("slim")
async def test_half_a_minute_of_kills_leaves_nothing_behind() -> None:
    chaos = await run(Plan(seconds=25, every_s=0.7, seed=11))
    assert chaos.leases["sandbox"]["given"] >= 3
    assert chaos.leases["sandbox"]["step"] >= 10
    assert sum(chaos.killed.values()) >= 10
    assert (chaos.left, chaos.faults, chaos.not_collected, chaos.unreasoned) == ((), (), (), 0)


@pytest.mark.vm
@pytest.mark.vm_long
@pytest.mark.timeout(400)
async def test_kills_of_virtual_machines_and_in_them_leave_nothing_behind() -> None:
    chaos = await run(Plan(seconds=40, providers=("libvirt",), every_s=3.0, seed=2))
    counts = chaos.leases["libvirt"]
    assert counts["given"] >= 5
    assert counts["step"] >= 10
    assert chaos.killed["qemu"] >= 1
    assert chaos.holds, chaos.model_dump_json(indent=1)


@pytest.mark.chaos
@pytest.mark.desktop("slim")
@pytest.mark.docker
@pytest.mark.vm
@pytest.mark.timeout(1500)
async def test_ten_minutes_of_kills_of_everything_leave_nothing_behind() -> None:
    chaos = await run(Plan(seconds=600, providers=("sandbox", "docker", "libvirt"), every_s=2.0, seed=1))
    assert chaos.holds, chaos.model_dump_json(indent=1)
