"""The speed report has one shape, every figure in it was measured, and what could not be measured says why."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.pool_speed import Plan, build_plan, measure, quick
from benchmarks.pool_speed.desk import one_machine
from benchmarks.pool_speed.plan import GROWTH_MEMORY_MIB, GROWTH_N
from benchmarks.pool_speed.probes import cpu_seconds
from benchmarks.pool_speed.samples import Findings, pss_mib, summarise
from vm_pool.errors import ConfigError, GuestError, HostBusy, ImageError, MachineLost, NotSupported
from vm_pool.events import InputEvent, Text
from vm_pool.machine import Machine
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers import make_provider
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.types import Box, Settled, Window

FEW = Plan(
    single=1,
    crowd=2,
    crowds=1,
    forks=2,
    branches=1,
    resets=1,
    frames=3,
    inputs=2,
    settles=1,
    keys=2,
    steps=3,
    idle_s=0.1,
    window_s=0.05,
    reaction_s=2.0,
)
ALWAYS = {
    "ready_ms_n1": 1,
    "cold_boot_ms": 1,
    "ready_ms_n2_slowest": 1,
    "fork_ms_n1": 2,
    "fork_warm_ms": 1,
    "fork_ms_n2_all": 1,
    "fork_ms_n2": 2,
    "clones_per_s_n2": 1,
    "fork_editor_ms_n1": 1,
    "first_frame_ms": 2,
    "first_pixel_ms": 2,
    "frame_client_ms": 3,
    "click_ms": 2,
    "type100_ms": 2,
    "settle_ms": 1,
    "key_to_pixel_ms": 2,
    "step_ms": 3,
    "branch_ms": 1,
    "upstream_reset_ms": 1,
    "reset_ms": 1,
}
OF_THIS_HOST = {
    "frame_grab_ms": 3,
    "screendump_ms": 3,
    "pss_mib_n1": 1,
    "pss_mib_n2": 2,
    "idle_cpu_percent_n2": 2,
    "pss_mib_birth": 1,
    "pss_mib_3_steps": 1,
    "disk_kib_birth": 1,
    "disk_kib_3_steps": 1,
    "branch_pause_ms": 1,
}
RATIOS = {"cold_boot_over_fork", "cold_boot_over_warm_fork", "upstream_reset_over_reset"}


def with_window(machine: FakeMachine) -> None:
    machine.desktop.windows = (
        Window(id="1", title="editor", app="mousepad", pid=7, box=Box(x=0, y=0, width=99, height=99)),
    )


def draw(desktop: FakeDesktop, event: InputEvent) -> None:
    if isinstance(event, Text):
        shade = len(desktop.typed) % 200
        desktop.paint(Box(x=0, y=0, width=20, height=20), (shade, shade, shade))


def lively() -> FakeProvider:
    """Its machines have a window, and a key changes their screens."""
    return FakeProvider(prepare=with_window, script=Script(on_event=draw))


def counts(report: Mapping[str, Any]) -> dict[str, int]:
    return {name: summary["n"] for name, summary in report["metrics"].items()}


def test_a_summary_has_the_middle_and_the_ends():
    assert summarise([3.0, 1.0, 2.0004]) == {"min": 1.0, "p50": 2.0, "max": 3.0, "n": 3}
    with pytest.raises(ValueError, match="at least one sample"):
        summarise([])


def test_memory_and_processor_time_count_living_processes_only():
    assert pss_mib([os.getpid()]) > 1
    assert cpu_seconds(os.getpid()) > 0
    assert pss_mib([2**22 + 1]) == 0
    assert cpu_seconds(2**22 + 1) == 0


def test_what_was_measured_is_not_absent_and_the_first_reason_stays():
    findings = Findings()
    findings.add("click_ms", 1.0)
    with findings.unless_it_cannot("click_ms", "settle_ms"):
        raise GuestError("its\nkeyboard is broken")
    findings.lack("later", "settle_ms")
    assert findings.absent == {"settle_ms": "its keyboard is broken"}
    with findings.unless_it_cannot("fork_warm_ms"):
        raise ExceptionGroup("starts", [HostBusy("no room")])
    assert findings.absent["fork_warm_ms"] == "no room"
    with pytest.raises(MachineLost), findings.unless_it_cannot("settle_ms"):
        raise MachineLost("it is gone")
    with pytest.raises(ExceptionGroup), findings.unless_it_cannot("settle_ms"):
        raise ExceptionGroup("starts", [HostBusy("no room"), MachineLost("it is gone")])


def test_a_ratio_needs_both_its_metrics():
    findings = Findings()
    findings.add("cold_boot_ms", 100.0, 300.0, 200.0)
    findings.ratio("over_fork", "cold_boot_ms", "fork_ms_n1")
    findings.add("fork_ms_n1", 50.0)
    findings.ratio("over_other", "cold_boot_ms", "fork_ms_n1")
    assert findings.ratios == {"over_other": 4.0}
    assert findings.absent == {"over_fork": "it needs fork_ms_n1"}


def test_a_plan_is_what_the_command_line_asks_for():
    asked = build_plan(n=32, quickly=False, grow=False, size=(1280, 720), memory_mib=512)
    assert asked == Plan(crowd=32, width=1280, height=720, memory_mib=512)
    grown = build_plan(n=32, quickly=False, grow=True, size=(1280, 720), memory_mib=512)
    assert grown == asked._replace(growth_n=GROWTH_N, growth_memory_mib=GROWTH_MEMORY_MIB)
    few = build_plan(n=32, quickly=True, grow=False, size=(1280, 720), memory_mib=512)
    assert few == quick(asked)
    assert (few.crowd, few.width) == (32, 1280)
    assert few.forks < asked.forks
    assert few.frames < asked.frames


async def test_every_metric_of_a_machine_in_memory_is_there_or_says_why_not():
    report = await measure(lively(), "slim", plan=FEW)
    assert counts(report) == ALWAYS
    assert set(report["ratios"]) == RATIOS
    assert set(report["absent"]) == set(OF_THIS_HOST)
    assert "no processes on this host" in report["absent"]["pss_mib_n2"]
    assert report["machine"] == {"width": 1920, "height": 1080, "memory_mib": 2048}
    assert report["host"]["cpus"] >= 1
    assert "growth" not in report


async def test_a_desktop_that_shows_nothing_has_no_latency_of_keys():
    report = await measure(FakeProvider(), "slim", plan=FEW._replace(reaction_s=0.05))
    assert {"key_to_pixel_ms", "first_pixel_ms", "fork_editor_ms_n1"} <= set(report["absent"])
    assert "mousepad showed no window" in report["absent"]["fork_editor_ms_n1"]
    assert report["metrics"]["fork_ms_n1"]["n"] == 2


async def test_where_nothing_can_be_saved_what_needs_forks_is_absent_with_that_reason():
    class Unsaved(FakeProvider):
        async def snapshot(self, machine: Machine) -> Snapshot:
            raise NotSupported("snapshot", "this provider cannot take snapshots")

    report = await measure(Unsaved(prepare=with_window, script=Script(on_event=draw)), "slim", plan=FEW)
    by_fork = {"fork_ms_n1", "fork_warm_ms", "fork_ms_n2_all", "fork_ms_n2", "clones_per_s_n2", "fork_editor_ms_n1"}
    by_fork |= {"branch_ms", "branch_pause_ms", "reset_ms"}
    assert {report["absent"][name] for name in by_fork} == {"this provider cannot take snapshots"}
    assert set(ALWAYS) - set(counts(report)) == {*by_fork - {"branch_pause_ms"}, "first_pixel_ms"}
    assert report["absent"]["cold_boot_over_fork"] == "it needs fork_ms_n1"


async def test_a_crowd_for_which_there_is_no_room_is_absent_and_the_rest_is_measured():
    class Small(FakeProvider):
        async def boot(self, spec: Spec) -> FakeMachine:
            if sum(not machine.lost for machine in self.machines) >= 1:
                raise HostBusy("a machine takes 450 MiB and 3 MiB are left")
            return await super().boot(spec)

    provider = Small(prepare=with_window, script=Script(on_event=draw))
    report = await measure(provider, "slim", plan=FEW)
    assert report["absent"]["ready_ms_n2_slowest"] == "a machine takes 450 MiB and 3 MiB are left"
    assert set(ALWAYS) - set(counts(report)) == {"ready_ms_n2_slowest"}
    assert all(machine.lost for machine in provider.machines)


async def test_a_provider_with_room_for_one_machine_is_measured_with_one():
    class One(FakeProvider):
        async def boot(self, spec: Spec) -> FakeMachine:
            self.take()
            return await super().boot(spec)

        async def fork(self, snapshot: Snapshot, **_: object) -> FakeMachine:
            self.take()
            return await super().fork(snapshot)

        def take(self) -> None:
            if not all(machine.lost for machine in self.machines):
                raise ConfigError("all 1 guests are lent")

    provider = One(prepare=with_window, script=Script(on_event=draw))
    report = await measure(provider, "slim", plan=FEW)
    crowds = {"ready_ms_n2_slowest", "fork_ms_n2_all", "fork_ms_n2", "clones_per_s_n2"}
    assert set(ALWAYS) - set(counts(report)) == crowds
    assert {report["absent"][name] for name in crowds} == {"all 1 guests are lent"}


async def test_the_first_start_that_fails_ends_the_benchmark():
    class Imageless(FakeProvider):
        async def boot(self, spec: object) -> FakeMachine:
            raise ImageError("image 'slim' is not built")

    with pytest.raises(ImageError):
        await measure(Imageless(), "slim", plan=FEW)


async def test_where_a_boot_is_slow_crowds_are_forked_only():
    report = await measure(lively(), "slim", plan=FEW._replace(slow_s=0.0, slow_single=1))
    assert set(ALWAYS) - set(counts(report)) == {"ready_ms_n2_slowest"}
    assert "see fork_ms_n2_all" in report["absent"]["ready_ms_n2_slowest"]


async def test_pauses_are_taken_from_a_provider_that_notes_them():
    class Noting(FakeProvider):
        def __init__(self) -> None:
            super().__init__(prepare=with_window, script=Script(on_event=draw))
            self.pauses_ms: dict[str, float] = {}

        async def snapshot(self, machine: Machine) -> Any:
            saved = await super().snapshot(machine)
            self.pauses_ms[saved.snapshot_id] = 123.0
            return saved

    report = await measure(Noting(), "slim", plan=FEW)
    assert report["metrics"]["branch_pause_ms"]["p50"] == 123.0


async def test_growth_has_a_row_for_each_number_of_forks():
    report = await measure(lively(), "slim", plan=FEW._replace(growth_n=(1, 3), growth_memory_mib=(512,)))
    assert [row["n"] for row in report["growth"]["n"]] == [1, 3]
    assert all(row["all_ms"] >= row["median_ms"] for row in report["growth"]["n"])
    assert "only a limit" in report["absent"]["growth memory_mib"]


async def test_growth_with_memory_is_measured_where_machines_have_their_own():
    class Weighty(FakeProvider):
        birth_mib = 1

    provider = Weighty(prepare=with_window, script=Script(on_event=draw))
    report = await measure(provider, "slim", plan=FEW._replace(growth_memory_mib=(512, 1024)))
    rows = report["growth"]["memory_mib"]
    assert [row["memory_mib"] for row in rows] == [512, 1024]
    assert all({"fork_ms", "branch_ms"} <= set(row) for row in rows)


async def test_nothing_is_left_of_a_benchmark():
    provider = lively()
    await measure(provider, "slim", plan=FEW)
    assert provider.snapshots == {}
    assert all(machine.lost for machine in provider.machines)


@pytest.mark.desktop
async def test_a_short_plan_measures_every_metric_of_real_desktops():
    notes: list[str] = []
    plan = FEW._replace(window_s=30, reaction_s=10, growth_n=(1, 2))
    report = await measure(make_provider("sandbox"), "slim", plan=plan, on_note=notes.append)
    assert (report["provider"], report["image"]) == ("sandbox", "slim")
    assert counts(report) == ALWAYS | OF_THIS_HOST
    zero_is_fine = {"idle_cpu_percent_n2"}
    positive = {name: figures for name, figures in report["metrics"].items() if name not in zero_is_fine}
    assert all(0 < figures["min"] <= figures["p50"] <= figures["max"] for figures in positive.values())
    assert report["absent"] == {}
    assert {"pss_mib_each", "idle_cpu_percent_all"} <= set(report["growth"]["n"][0])
    assert notes


async def test_a_screen_that_never_rests_has_no_time_to_settle():
    class Restless(FakeMachine):
        async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:
            return Settled(quiet=False, seconds=timeout_ms / 1000, reason=f"moved within {quiet_ms} ms")

    machine = Restless(script=Script(on_event=draw))
    with_window(machine)
    findings = Findings()
    await one_machine(machine, FEW, findings)
    assert "did not come to rest within 0.05 s: moved within 150 ms" in findings.absent["settle_ms"]
