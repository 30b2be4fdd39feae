"""The command line of the chaos run; its exit code is 0 if nothing was left and no fault of ours was seen."""

import argparse
import asyncio
import json
import sys

from benchmarks.chaos.chaos import Plan, run
from vm_pool.errors import VMPoolError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--provider", action="append", metavar="NAME", help="sandbox, docker, libvirt; repeatable")
    parser.add_argument("--image", default="slim")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="mean time between two kills")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="machines lent at once, of each provider")
    given = parser.parse_args()
    plan = Plan(
        seconds=60 * given.minutes,
        providers=tuple(given.provider or ["sandbox"]),
        image=given.image,
        seed=given.seed,
        every_s=given.every,
        at_once=given.at_once,
    )
    try:
        chaos = asyncio.run(run(plan, on_note=lambda note: print(note, file=sys.stderr, flush=True)))  # noqa: T201
    except VMPoolError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(chaos.model_dump(mode="json"), indent=2))  # noqa: T201
    return 0 if chaos.holds else 1


if __name__ == "__main__":
    sys.exit(main())
