"""Steps and frames that the tests of this room share."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from agent_s3.actions import ACTION
from agent_s3.types import Step
from vm_pool.types import Frame


def make_frame(shade: int = 240, *, width: int = 640, height: int = 480) -> Frame:
    return Frame(np.full((height, width, 3), shade, np.uint8), 0.0)


def make_step(index: int = 0, action: dict[str, Any] | None = None, **fields: Any) -> Step:
    chosen = None if action is None else ACTION.validate_python(action)
    return Step(index=index, started_at=datetime(2026, 1, 1, tzinfo=UTC), action=chosen, **fields)
