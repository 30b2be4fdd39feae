"""The whole certificate of each provider that this machine can run."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from loopback import in_front_of

from vm_pool.contract.certify import Certificate, certify
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.machine_checks import MACHINE_CHECKS
from vm_pool.contract.provider_checks import PROVIDER_CHECKS
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.remote import RemoteProvider
from vm_pool.providers.sandbox import SandboxProvider

SLIM = Spec(image="slim", width=1280, height=800)


@pytest.fixture
def sandbox(places: Places) -> Generator[SandboxProvider]:
    """One with a state of its own, which must be empty at the end."""
    yield SandboxProvider(places=places)
    assert [*places.machines.iterdir(), *places.snapshots.iterdir()] == []


def failures(certificate: Certificate) -> list[tuple[str, str]]:
    return [(result.check, result.reason) for result in certificate.results if result.outcome == "failed"]


def missing(certificate: Certificate) -> set[tuple[str, str | None]]:
    return {(result.check, result.missing) for result in certificate.results if result.outcome == "not_applicable"}


async def test_the_fake_keeps_all_that_needs_no_programs():
    certificate = await certify(FakeProvider(), Spec(width=320, height=200), clones=3)
    assert failures(certificate) == []
    assert {capability for _, capability in missing(certificate)} == {"programs", "image", "keep_disk"}
    assert len(certificate.results) == len(MACHINE_CHECKS) + len(PROVIDER_CHECKS) + len(FIDELITY_CHECKS)


@pytest.mark.desktop
@pytest.mark.timeout(420)
async def test_the_sandbox_keeps_everything_but_memory_and_names(sandbox):
    certificate = await certify(sandbox, SLIM)
    assert failures(certificate) == []
    assert missing(certificate) == {
        ("clones have the clipboard of the original", "memory"),
        ("clones have the unsaved text of the original", "memory"),
        ("clones have host names of their own", "hostname"),
        ("clones have hardware addresses of their own", "network"),
        ("a page that is open in a browser is open in every clone", "programs"),
    }


@pytest.mark.desktop
@pytest.mark.timeout(420)
async def test_a_guest_of_ours_behind_a_port_keeps_all_but_what_needs_hooks(sandbox, tmp_path, monkeypatch):
    async with sandbox.session(), _guest(sandbox) as guest, in_front_of(guest.socket) as url:
        monkeypatch.setenv("GUEST_TOKEN", guest.token)
        remote = RemoteProvider(urls=[url], token_env="GUEST_TOKEN", state=tmp_path / "remote")
        certificate = await certify(remote, SLIM)
    assert failures(certificate) == []
    assert {capability for _, capability in missing(certificate)} == {"size", "slots", "fresh", "image", "snapshot"}
    assert not {check.sentence for check in MACHINE_CHECKS} & {check for check, _ in missing(certificate)}


@pytest.mark.desktop
@pytest.mark.timeout(420)
async def test_a_guest_with_osworlds_routes_alone_keeps_all_but_what_they_lack(sandbox, tmp_path):
    async with (
        sandbox.session(),
        _guest(sandbox) as guest,
        in_front_of(guest.socket, token=guest.token, hide_v1=True) as url,
    ):
        certificate = await certify(RemoteProvider(urls=[url], state=tmp_path / "remote"), SLIM)
    assert failures(certificate) == []
    of_machine = {check.sentence for check in MACHINE_CHECKS}
    lacks = {capability for check, capability in missing(certificate) if check in of_machine}
    assert lacks == {"v1", "clipboard", "journal", "token"}


class Guest(NamedTuple):
    socket: Path
    token: str


@asynccontextmanager
async def _guest(sandbox: SandboxProvider) -> AsyncGenerator[Guest]:
    """A desktop's guest server, as what runs beside it on this host sees it."""
    machine = await sandbox.boot(SLIM)
    assert isinstance(machine, GuestMachine)
    place = machine._wire.place_and_token(None)
    yield Guest(place["socket"], place["token"])
    await sandbox.stop(machine)
