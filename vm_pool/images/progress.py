"""What a build says while it runs."""

from collections.abc import Callable
from typing import Literal

from vm_pool.types import Frozen

Stage = Literal["cached", "index", "download", "install", "customise", "done"]


class BuildProgress(Frozen):
    """One step forward of a build."""

    stage: Stage
    message: str
    percent: float | None = None
    """0 to 100 within the stage; None when the stage cannot tell."""


OnProgress = Callable[[BuildProgress], None]


def silent(_: BuildProgress) -> None:
    """Nobody watches."""
