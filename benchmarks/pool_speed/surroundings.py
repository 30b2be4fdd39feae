"""What a figure depends on besides the code: this host and how busy it is."""

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from vm_pool.provider import HasWays, Provider, Spec


def host_facts(now: datetime) -> dict[str, Any]:
    """Memory in MiB; the load is the average of the last minute, before anything was started."""
    return {
        "cpus": os.cpu_count() or 1,
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory_mib": int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "kernel": platform.release(),
        "when": now.isoformat(timespec="seconds"),
        "load_before": load(),
    }


def load() -> float:
    """Processes that wanted to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


async def ways(provider: Provider, spec: Spec) -> list[str]:
    """How this host runs and copies the machines, and why; empty where there is one way only."""
    return list(await provider.ways(spec)) if isinstance(provider, HasWays) else []


def _field(file: str, name: str) -> str:
    """Of a file of `name: value` lines; empty when it does not say."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
