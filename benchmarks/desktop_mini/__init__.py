"""A small benchmark of our own: desktop tasks in OSWorld's format on the default images, with oracles.

`run` is what `agent-s3 bench mini` calls; `suite` holds the tasks, `proof` shows that they are sound.
"""

from benchmarks.desktop_mini.mini import MiniResult, run

__all__ = ["MiniResult", "run"]
