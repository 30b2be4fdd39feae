"""What was measured, in the one shape in which speeds are reported; and what could not be, with the reason."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from vm_pool.errors import ConfigError, GuestError, GuestTimeout, HostBusy

CANNOT = (ConfigError, GuestError, GuestTimeout, HostBusy)
"""Errors that mean: this cannot be measured here. All others, such as a lost machine, end the benchmark."""
_REASON_LIMIT = 300


class Summary(TypedDict):
    """What is reported of one metric; its unit is in the metric's name."""

    min: float
    p50: float
    max: float
    n: int


@dataclass
class Findings:
    """Collects what a benchmark finds."""

    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    ratios: dict[str, float] = field(default_factory=dict[str, float])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Metric or ratio -> why it is not there."""
    growth: dict[str, list[dict[str, float]]] = field(default_factory=dict[str, list[dict[str, float]]])
    """What is varied -> one row for each value."""

    def add(self, name: str, *values: float) -> None:
        self.samples.setdefault(name, []).extend(values)

    def lack(self, reason: str, *names: str) -> None:
        """Note why metrics are missing; what was measured all the same stays, and the first reason does."""
        line = " ".join(reason.split())[:_REASON_LIMIT]
        for name in names:
            if name not in self.samples and name not in self.ratios:
                self.absent.setdefault(name, line)

    @contextmanager
    def unless_it_cannot(self, *names: str) -> Generator[None]:
        """What cannot be measured is noted as the reason for which these are missing."""
        try:
            yield
        except CANNOT as error:
            self.lack(str(error), *names)
        except ExceptionGroup as group:
            cannot, others = group.split(CANNOT)
            if others is not None or cannot is None:
                raise
            self.lack(str(cannot.exceptions[0]), *names)

    def ratio(self, name: str, over: str, under: str) -> None:
        """Of the middle values of two metrics."""
        missing = [metric for metric in (over, under) if not self.samples.get(metric)]
        if missing:
            self.lack(f"it needs {' and '.join(missing)}", name)
        else:
            self.ratios[name] = round(median(self.samples[over]) / median(self.samples[under]), 3)

    def report(self, provider: str, image: str) -> dict[str, Any]:
        """`as_report`, and with it the ratios, what is absent, and how things grow where that was measured."""
        whole = as_report(provider, image, self.samples) | {"ratios": self.ratios, "absent": self.absent}
        return whole | ({"growth": self.growth} if self.growth else {})


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
