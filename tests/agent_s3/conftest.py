"""The stage on which rollouts of these tests play."""

from pathlib import Path

import pytest
from rollout_stage import Stage, new_stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return new_stage(tmp_path)
