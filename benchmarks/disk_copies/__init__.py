"""What copying a desktop's disk costs on the file system that holds the desktops, as each snapshot and fork does."""

from benchmarks.disk_copies.measure import measure

__all__ = ["measure"]
