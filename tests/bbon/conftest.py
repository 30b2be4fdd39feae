"""Folders that the tests of this room share."""

from pathlib import Path

import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "run")


@pytest.fixture
def frames(paths: RunPaths) -> FrameStore:
    return FrameStore(paths.frames)
