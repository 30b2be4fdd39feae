"""The whole certificate of each provider that this machine can run."""

import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from vm_pool.contract.certify import Certificate, certify
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.machine_checks import MACHINE_CHECKS
from vm_pool.contract.provider_checks import PROVIDER_CHECKS
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_state import Places


@pytest.fixture
def sandbox() -> Generator[SandboxProvider]:
    """One with a state of its own, which must be empty at the end; the machines' uid may pass there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as state:
        Path(state).chmod(0o711)
        places = Places(Path(state), Path("/dev/shm") / Path(state).name)
        yield SandboxProvider(places=places)
        assert list(places.machines.iterdir()) == []
        assert list(places.snapshots.iterdir()) == []
        places.runtime.rmdir()


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
    certificate = await certify(sandbox, Spec(image="slim", width=1280, height=800))
    assert failures(certificate) == []
    assert missing(certificate) == {
        ("clones have the clipboard of the original", "memory"),
        ("clones have the unsaved text of the original", "memory"),
        ("clones have host names of their own", "hostname"),
        ("clones have hardware addresses of their own", "network"),
    }
