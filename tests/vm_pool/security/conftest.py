"""Sandboxes and containers alike, each with a state of its own that must be empty at the end."""

import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest
from hostile import SLIM, Provider

from vm_pool.machine import Machine


@pytest.fixture
def provider(contained: Provider) -> Provider:
    return contained


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
