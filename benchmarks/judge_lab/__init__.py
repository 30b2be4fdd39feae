"""Which judge is right: recorded rollouts judged again, by any judge, on any evidence, without a machine.

`run` is what `agent-s3 judge` calls. `folders` reads what was recorded, `evidence` makes what a judge gets to read,
`judges` decide, `figures` says how often they were right, `pack` makes a set of recorded rollouts small enough to ship.
"""

from benchmarks.judge_lab.lab import Asked, asked, run

__all__ = ["Asked", "asked", "run"]
