"""Sandboxes and containers alike, each with a state of its own that must be empty at the end."""

import tempfile
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from hostile import SLIM, Provider

from vm_pool.local_state import Places
from vm_pool.machine import Machine
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.sandbox import SandboxProvider


@pytest.fixture
def places() -> Generator[Places]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as state:
        Path(state).chmod(0o711)
        yield Places(Path(state), Path("/dev/shm") / Path(state).name)


@pytest.fixture(
    params=[
        pytest.param("sandbox", marks=pytest.mark.desktop),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.desktop]),
    ]
)
async def provider(request: pytest.FixtureRequest, places: Places) -> AsyncGenerator[Provider]:
    if request.param == "sandbox":
        provider: Provider = SandboxProvider(places=places)
    else:
        provider = DockerProvider(host=request.getfixturevalue("dockerd").host, places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []
    places.runtime.rmdir()


@pytest.fixture
async def machine(provider: Provider) -> Machine:
    return await provider.boot(SLIM)


@pytest.fixture
def secret() -> Generator[Path]:
    """A file that every user of this host may read."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-secret-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "secret"
        path.write_text(f"secret{uuid.uuid4().hex}")
        path.chmod(0o644)
        yield path
