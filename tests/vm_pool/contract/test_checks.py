"""What a check reports, and that broken machines and clones are found out."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vm_pool.contract import CHECKS, MACHINE_CHECKS, ContractBroken, NotApplicable, run_check
from vm_pool.contract.certify import certify
from vm_pool.contract.check import Check
from vm_pool.contract.clones import clones_of_a_running_desktop
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.provider_checks import PROVIDER_CHECKS, Source
from vm_pool.errors import GuestError, NotSupported
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers.fake import FakeMachine, FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_faults import Hang
from vm_pool.providers.fake_shell import Reply
from vm_pool.types import Box, Settled, Window

SPEC = Spec(width=160, height=120)
ALL = (*MACHINE_CHECKS, *PROVIDER_CHECKS, *FIDELITY_CHECKS)


def test_the_documentation_says_how_many_checks_there_are():
    page = Path(__file__).parents[3] / "docs" / "images-and-pool.md"
    assert f"runs {len(ALL)} checks" in page.read_text(encoding="utf-8")


def test_there_are_enough_checks_and_each_is_a_sentence_of_its_own():
    assert len(MACHINE_CHECKS) >= 60
    assert len({check.name for check in ALL}) == len(ALL)
    assert all(re.fullmatch(r"[a-z]+( [A-Za-z0-9]+){2,}", check.sentence) for check in ALL)


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "missing"),
    [
        (None, "passed", "", None),
        (ContractBroken("a frame\nis whole"), "failed", "a frame is whole", None),
        (NotApplicable("tree", "no tree here"), "not_applicable", "no tree here", "tree"),
        (NotSupported("fork", "no forks here"), "not_applicable", "no forks here", "fork"),
        (GuestError("refused"), "failed", "GuestError: refused", None),
        (ZeroDivisionError("of ours"), "failed", "ZeroDivisionError: of ours", None),
    ],
)
async def test_whatever_a_check_raises_becomes_its_result(error, outcome, reason, missing):
    async def something_is_so(_: object) -> None:
        if error:
            raise error

    result = await run_check(Check("something_is_so", "group", something_is_so, 5.0), None)
    assert (result.check, result.outcome) == ("something is so", outcome)
    assert (result.reason, result.missing) == (reason, missing)


async def test_a_check_that_hangs_has_failed_when_its_time_is_over():
    async def it_answers(_: object) -> None:
        await asyncio.Event().wait()

    result = await run_check(Check("it_answers", "group", it_answers, 0.05), None)
    assert (result.outcome, result.reason) == ("failed", "it was not over after 0.05 s")


async def test_a_machine_that_forgets_request_ids_breaks_the_contract():
    class Forgetful(FakeMachine):
        async def perform(self, events, *, request_id=None):
            return await super().perform(events)

    with pytest.raises(ContractBroken, match="repeat"):
        await CHECKS["a_request_id_is_executed_once"](Forgetful())


async def test_a_machine_without_a_token_and_one_that_takes_any_are_told_apart():
    class Open(FakeMachine):
        def another_client(self, *, token=None):
            return super().another_client()

    check = CHECKS["a_wrong_token_is_refused_everywhere"]
    assert (await run_check(check, FakeMachine())).outcome == "passed"
    assert (await run_check(check, Open())).outcome == "failed"
    free = FakeMachine()
    free._info = free.info.model_copy(update={"capabilities": frozenset()})
    assert (await run_check(check, free)).missing == "token"


async def test_a_machine_that_says_it_settled_when_it_could_not_have_is_found_out():
    class Hasty(FakeMachine):
        async def settle(self, *, quiet_ms=150, timeout_ms=3000):
            return Settled(quiet=True, seconds=0.2, reason="quiet")

    check = CHECKS["waiting_for_quiet_longer_than_the_time_allowed_ends_in_time"]
    assert (await run_check(check, Hasty())).outcome == "failed"


class Shared(FakeProvider):
    """A provider whose forks are all one machine."""

    async def fork(self, snapshot: Snapshot, *, labels=None) -> FakeMachine:
        if self.machines[-1].info.machine_id.startswith("shared"):
            return self.machines[-1]
        machine = await super().fork(snapshot, labels=labels)
        machine._info = machine.info.model_copy(update={"machine_id": "shared-0"})
        return machine


async def test_clones_that_are_one_machine_are_found_out():
    certificate = await certify(Shared(), SPEC, clones=2)
    failed = {result.check for result in certificate.results if result.outcome == "failed"}
    assert not certificate.holds
    assert {"clones have ids of their own", "files of one clone are not seen by another"} <= failed
    assert {"input to one clone does not move another", "clones have clipboards of their own"} <= failed


class Forgetting(FakeProvider):
    """A provider whose snapshots hold less than they say."""

    async def snapshot(self, machine):
        snapshot = await super().snapshot(machine)
        self.snapshots[snapshot.snapshot_id].clipboard = None
        self.snapshots[snapshot.snapshot_id].files.clear()
        self.snapshots[snapshot.snapshot_id].pixels[:] = 7
        return snapshot


async def test_clones_that_are_not_like_their_original_are_found_out():
    certificate = await certify(Forgetting(), SPEC, clones=2)
    failed = {result.check for result in certificate.results if result.outcome == "failed"}
    assert {"clones show the same screen", "clones have the files of the original"} <= failed
    assert "clones have the clipboard of the original" in failed


async def test_when_one_clone_does_not_start_every_check_of_clones_fails_and_nothing_is_left():
    provider = FakeProvider()
    provider.script.inject(Hang(seconds=0), method="fork", after=6)
    certificate = await certify(provider, SPEC, clones=3)
    of_clones = [result for result in certificate.results if result.group in {"equal", "independent"}]
    assert {result.outcome for result in of_clones} == {"failed"}
    assert "3 clones could not be made" in of_clones[0].reason
    assert await provider.strays() == []


def with_a_browser_and_a_network(desktop: FakeDesktop, argv: Sequence[str], _: bytes) -> Reply | None:
    """A page that opens as soon as it is asked for a browser, and an interface unless the machine forgot it."""
    if argv[0] == "sh":
        box = Box(x=0, y=0, width=1, height=1)
        desktop.windows = (Window(id="1", title="page of the contract 42 - Browser", app="Browser", pid=1, box=box),)
        return Reply("browser\n")
    if any("def reached" in word for word in argv):
        return Reply("[]")
    if any("def interfaces" in word for word in argv):
        interfaces = {"eth0": desktop.clipboard} if desktop.clipboard else {}
        known = {"machine_id": "", "hostname": "", "random": [], "processes": [], "files": "", "gateways": []}
        return Reply(json.dumps({**known, "interfaces": interfaces}))
    return None


class Windowless(Forgetting):
    """As `Forgetting`, and no window is in its snapshots either."""

    async def snapshot(self, machine):
        snapshot = await super().snapshot(machine)
        self.snapshots[snapshot.snapshot_id].windows = ()
        return snapshot


@pytest.mark.parametrize(("kind", "outcome"), [(FakeProvider, "passed"), (Windowless, "failed")])
@pytest.mark.parametrize("name", ["page_that_is_open", "network_policy"])
async def test_lost_pages_and_other_networks_are_found_out(kind, outcome, name):
    provider = kind(script=Script(on_command=with_a_browser_and_a_network))
    (check,) = (replace(one, limit_s=0.5) for one in FIDELITY_CHECKS if name in one.name)
    async with provider.session(), clones_of_a_running_desktop(Source(provider, SPEC), 2) as clones:
        assert (await run_check(check, clones)).outcome == outcome


class Forkless(FakeProvider):
    capabilities = FakeProvider.capabilities - {"snapshot", "fork"}

    async def snapshot(self, machine):
        raise NotSupported("snapshot", "no snapshots here")


async def test_what_a_provider_cannot_do_is_not_applicable_and_named():
    certificate = await certify(Forkless(), SPEC, clones=2)
    fidelity = [result for result in certificate.results if result.group in {"equal", "independent"}]
    assert [result for result in certificate.results if result.outcome == "failed"] == []
    assert len(fidelity) == len(FIDELITY_CHECKS)
    assert {(result.outcome, result.missing) for result in fidelity} == {("not_applicable", "snapshot")}


async def test_one_clone_cannot_be_compared():
    with pytest.raises(ValueError, match="at least 2"):
        await certify(FakeProvider(), SPEC, clones=1)
