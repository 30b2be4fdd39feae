"""Load is held and what became of it is counted: refusals and losses by reason, and what is left on this host."""

import pytest

from benchmarks.pool_speed import Plan, stress
from vm_pool.errors import HostBusy, MachineLost, NotSupported
from vm_pool.events import InputEvent
from vm_pool.machine import Machine
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers import make_provider
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_faults import Death

TWO = Plan(crowd=2, width=64, height=64)
SHORT = 0.01
"""Minutes."""


async def test_load_that_nothing_disturbs_is_sound():
    told: list[str] = []
    provider = FakeProvider()
    report = await stress(provider, "slim", minutes=SHORT, plan=TWO, seed=3, on_note=told.append)
    assert report["sound"]
    assert report["stress"] == {"minutes": SHORT, "seed": 3, "n": 2}
    assert {"boots", "forks", "steps", "snapshots", "drops", "stops"} == set(report["done"])
    assert report["done"]["boots"] + report["done"]["forks"] == report["done"]["stops"] + 1
    assert (report["refused"], report["lost"], report["wrong"], report["unexplained"]) == ({}, {}, {}, {})
    assert report["census"]["strays"]["most"] >= 1
    assert {counts["after"] for counts in report["census"].values()} == {0}
    assert report["metrics"]["start_ms"]["n"] == report["done"]["boots"] + report["done"]["forks"]
    assert provider.snapshots == {}
    assert told


async def test_lost_machines_are_counted_by_their_reason_without_their_names():
    script = Script()
    script.inject(Death(), method="screenshot", after=1, times=None)
    report = await stress(FakeProvider(script=script), "slim", minutes=SHORT, plan=TWO)
    assert report["sound"]
    assert list(report["lost"]) == ["a machine: its control server has ended"]


async def test_refused_starts_are_counted_by_their_reason():
    class Full(FakeProvider):
        async def boot(self, spec: Spec) -> FakeMachine:
            if len(self.machines) >= 2:
                raise HostBusy("a machine takes 64 MiB and 3 MiB are left")
            return await super().boot(spec)

        async def fork(self, snapshot: Snapshot, **_: object) -> FakeMachine:
            raise HostBusy("a machine takes 64 MiB and 3 MiB are left")

    report = await stress(Full(), "slim", minutes=SHORT, plan=TWO)
    assert list(report["refused"]) == ["a machine takes 64 MiB and 3 MiB are left"]
    assert report["refused"].popitem()[1] >= 2
    assert report["sound"]


async def test_a_failure_that_nothing_explains_is_not_sound():
    def stumble(desktop: FakeDesktop, event: InputEvent) -> None:
        raise ZeroDivisionError("0/0")

    report = await stress(FakeProvider(script=Script(on_event=stumble)), "slim", minutes=SHORT, plan=TWO)
    assert list(report["unexplained"]) == ["ZeroDivisionError: 0/0"]
    assert not report["sound"]


async def test_a_fork_that_holds_anothers_file_is_not_sound():
    class Mixed(FakeProvider):
        async def fork(self, snapshot: Snapshot, **_: object) -> FakeMachine:
            machine = await super().fork(snapshot)
            await machine.write("/home/user/stress-mark", b"another's")
            return machine

    report = await stress(Mixed(), "slim", minutes=SHORT, plan=TWO)
    assert list(report["wrong"]) == ["its file is not the one that it should hold"]
    assert not report["sound"]


async def test_a_machine_that_stays_is_named_and_not_sound():
    class Leaky(FakeProvider):
        async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
            if machine.info.machine_id != "fake-1":
                await super().stop(machine)

    report = await stress(Leaky(), "slim", minutes=SHORT, plan=TWO, gone_s=0.0)
    assert report["leaked"] == {"strays": ["fake machine fake-1"]}
    assert report["census"]["strays"]["after"] == 1
    assert not report["sound"]


async def test_a_provider_that_saves_nothing_is_stressed_with_boots():
    class Unsaved(FakeProvider):
        async def snapshot(self, machine: Machine) -> Snapshot:
            raise NotSupported("snapshot", "this provider cannot take snapshots")

    report = await stress(Unsaved(), "slim", minutes=SHORT, plan=TWO)
    assert report["sound"]
    assert set(report["done"]) == {"boots", "steps", "stops"}


@pytest.mark.desktop
async def test_real_desktops_under_load_leave_nothing_and_their_processes_were_seen():
    provider = make_provider("sandbox")
    report = await stress(provider, "slim", minutes=0.1, plan=Plan(crowd=3, width=800, height=600), seed=1)
    assert report["unexplained"] == {}
    assert report["lost"] == {}
    assert report["sound"]
    most = {kind: counts["most"] for kind, counts in report["census"].items()}
    assert most["strays"] >= 2
    assert most["processes"] >= 5
    assert most["files"] >= 2
    assert {counts["after"] for counts in report["census"].values()} == {0}


async def test_a_first_machine_that_cannot_be_started_ends_it():
    script = Script()
    script.fail_next("boot", MachineLost("it ended while it started"))
    script.fail_next("boot", MachineLost("it ended while it started"))
    with pytest.raises(MachineLost):
        await stress(FakeProvider(script=script), "slim", minutes=SHORT, plan=TWO)
