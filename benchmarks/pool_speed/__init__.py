"""How fast a provider's machines are: `measure` takes every figure from running desktops, `stress` holds load."""

from benchmarks.pool_speed.measure import measure
from benchmarks.pool_speed.plan import Plan, build_plan, quick
from benchmarks.pool_speed.stress import stress

__all__ = ["Plan", "build_plan", "measure", "quick", "stress"]
