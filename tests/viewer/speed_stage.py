"""A report of `pool bench`, with hostile text where guests and this host speak."""

from typing import Any

HOSTILE = "<script>document.title='owned'</script> {{ 7*7 }} \x1b[31mred"


def figures(middle: float) -> dict[str, float]:
    return {"min": middle / 2, "p50": middle, "max": middle * 3, "n": 9}


REPORT: dict[str, Any] = {
    "provider": "libvirt",
    "image": "slim",
    "metrics": {
        "cold_boot_ms": figures(34512.0),
        "fork_ms_n1": figures(256.0),
        "click_ms": figures(1.5),
        "pss_mib_n16": figures(78.0),
        "idle_cpu_percent_n16": figures(0.0),
        "clones_per_s_n16": figures(3.4),
        "disk_kib_birth": figures(400.0),
        "something_new": figures(4.0),
    },
    "ratios": {"cold_boot_over_fork": 134.8},
    "absent": {"screendump_ms": HOSTILE},
    "growth": {
        "n": [
            {"n": 1.0, "all_ms": 300.0, "median_ms": 300.0, "clones_per_s": 3.3},
            {"n": 2.0, "all_ms": 500.0, "median_ms": 400.0, "clones_per_s": 4.0},
        ],
        "memory_mib": [{"memory_mib": 512.0, "fork_ms": 250.0}, {"memory_mib": 1024.0, "fork_ms": 260.0}],
    },
    "machine": {"width": 1280, "height": 720, "memory_mib": 512},
    "host": {
        "cpus": 2,
        "processor": HOSTILE,
        "memory_mib": 24105,
        "kernel": "6.18",
        "when": "2026-11-26T04:16:57+00:00",
        "load_before": 0.4,
        "load_after": 2.1,
        "ways": ["runs by tcg: the processor has no virtualisation"],
    },
}
