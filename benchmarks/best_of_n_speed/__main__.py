"""The command line of the comparison; prints one JSON object on standard output."""

import argparse
import asyncio
import json
import sys

from benchmarks.best_of_n_speed.measure import Plan, measure
from benchmarks.best_of_n_speed.stopping import measure_stopping
from vm_pool.errors import VMPoolError
from vm_pool.providers import make_provider


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.best_of_n_speed", description=__doc__)
    parser.add_argument("-n", type=int, action="append", metavar="N", help="rollouts; repeatable. Default: 1 2 4 8 10")
    parser.add_argument("--provider", default="sandbox", metavar="NAME")
    parser.add_argument("--image", default="slim")
    parser.add_argument("--steps", type=int, default=Plan().steps, help="actions of a rollout, at least 3")
    parser.add_argument("--latency", type=float, default=Plan().latency_s, metavar="SECONDS", help="of each answer")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each N")
    parser.add_argument("--stopping", action="store_true", help="instead: what --stop-hopeless saves")
    given = parser.parse_args()
    ns: list[int] = given.n or list(Plan().ns)
    if given.steps < 3 or given.repeats < 1 or given.latency < 0 or any(not 1 <= n <= 32 for n in ns):
        parser.error("-n takes 1 to 32, --steps at least 3, --repeats at least 1, --latency at least 0")
    plan = Plan(tuple(ns), given.steps, given.latency, given.repeats)
    try:
        provider = make_provider(given.provider)
        if given.stopping:
            report = asyncio.run(measure_stopping(provider, given.image, latency_s=given.latency))
        else:
            report = asyncio.run(measure(provider, given.image, plan=plan, on_note=_note))
    except VMPoolError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(report, indent=2))  # noqa: T201
    return 0


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
