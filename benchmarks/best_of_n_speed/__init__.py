"""What N rollouts side by side cost in wall time, against one: whole runs on real desktops, models are slow scripts."""

from benchmarks.best_of_n_speed.measure import Plan, measure
from benchmarks.best_of_n_speed.stopping import measure_stopping

__all__ = ["Plan", "measure", "measure_stopping"]
