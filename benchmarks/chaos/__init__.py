"""Kills what machines are made of, at random and under load, and counts what is left afterwards.

python -m benchmarks.chaos --minutes 10 --provider sandbox --provider docker --seed 1
"""

from benchmarks.chaos.chaos import Chaos, Plan, run

__all__ = ["Chaos", "Plan", "run"]
