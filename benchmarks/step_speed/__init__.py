"""What a step of a rollout costs besides the model's thinking and the screen's settling."""

from benchmarks.step_speed.measure import Plan, measure

__all__ = ["Plan", "measure"]
