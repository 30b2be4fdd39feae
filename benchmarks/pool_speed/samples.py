"""Summaries of measured values, and figures read from this host's and the guest's own counters."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TypedDict


class Summary(TypedDict):
    """What is reported of one metric; its unit is in the metric's name."""

    min: float
    p50: float
    max: float
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Raises: `ValueError` when nothing was measured: a metric without samples is not reported as 0."""
    if not values:
        raise ValueError("a metric needs at least one sample")
    return Summary(min=round(min(values), 3), p50=round(median(values), 3), max=round(max(values), 3), n=len(values))


def pss_mib(pids: Iterable[int], proc: Path = Path("/proc")) -> float:
    """Memory of processes in MiB, shared pages counted by their share; ended processes count nothing."""
    return sum(_pss_kib(proc / str(pid) / "smaps_rollup") for pid in pids) / 1024


def as_report(provider: str, image: str, samples: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """The one shape in which speeds are reported."""
    metrics = {name: summarise(values) for name, values in samples.items()}
    return {"provider": provider, "image": image, "metrics": metrics}


def _pss_kib(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


# Runs in the guest and times its own reader of the framebuffer.
GRAB_SCRIPT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from guest.screen import Screen
screen, times = Screen(Path(sys.argv[2])), []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter()
    screen.bgrx()
    times.append((time.perf_counter() - begin) * 1000)
print(json.dumps(times))
"""
