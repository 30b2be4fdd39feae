"""How fast a provider's machines are: `measure` takes every figure from running desktops."""

from benchmarks.pool_speed.measure import Plan, measure

__all__ = ["Plan", "measure"]
