"""The certificate of containers, in a daemon of the tests' own."""

from collections.abc import Generator

import pytest

from vm_pool.contract.certify import Certificate, certify
from vm_pool.contract.check import run_check
from vm_pool.contract.clones import clones_of_a_running_desktop
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.provider_checks import Source
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.docker_daemon import Daemon

pytestmark = [pytest.mark.docker, pytest.mark.desktop, pytest.mark.timeout(420)]

SLIM = Spec(image="slim", width=1280, height=800)
OF_NETWORKS = (
    "clones_have_hardware_addresses_of_their_own",
    "no_clone_reaches_another_by_network_sockets_or_shared_memory",
    "no_clone_reaches_the_host",
    "clones_keep_the_network_policy_of_their_original",
)


@pytest.fixture
def docker(places: Places, dockerd_emptied: Daemon) -> Generator[DockerProvider]:
    yield DockerProvider(host=dockerd_emptied.host, places=places)
    assert [*places.machines.iterdir(), *places.snapshots.iterdir()] == []


async def test_containers_keep_everything_but_memory_and_names(docker: DockerProvider) -> None:
    certificate = await certify(docker, SLIM, clones=2)
    assert outcomes(certificate, "failed") == {}
    assert outcomes(certificate, "not_applicable") == {
        "clones have the clipboard of the original": "memory",
        "clones have the unsaved text of the original": "memory",
        "clones have host names of their own": "hostname",
        "clones have hardware addresses of their own": "network",
        "a page that is open in a browser is open in every clone": "programs",
    }


def outcomes(certificate: Certificate, outcome: str) -> dict[str, str | None]:
    """Of the checks with that outcome: what was missing, or why they failed."""
    found = (result for result in certificate.results if result.outcome == outcome)
    return {result.check: result.missing or result.reason for result in found}


async def test_clones_on_a_network_have_addresses_of_their_own_and_keep_their_policy(docker: DockerProvider) -> None:
    async with docker.session():
        source = Source(docker, SLIM.model_copy(update={"network": "internal"}))
        async with clones_of_a_running_desktop(source, 2) as clones:
            results = [await run_check(one, clones) for one in FIDELITY_CHECKS if one.name in OF_NETWORKS]
    assert {result.check: result.outcome for result in results} == dict.fromkeys(
        (name.replace("_", " ") for name in OF_NETWORKS), "passed"
    )
