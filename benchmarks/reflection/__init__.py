"""What the policies of reflection cost and what they are good for, on simulated desktops with traps."""

from benchmarks.reflection.measure import compare, measure
from benchmarks.reflection.situations import SITUATIONS, chosen

__all__ = ["SITUATIONS", "chosen", "compare", "measure"]
