"""Ends all processes whose environment holds a mark; runs inside the machine, on its Python's standard library alone.

Called with the mark, e.g. `AGENT_S3_SNIPPET=ab12`. A program can leave its process group and its session, and can
ignore signals, but what it is started with it hands on to all that it starts, unless it takes pains not to. Prints how
many were killed, and how many are left.
"""

import contextlib
import os
import signal
import sys
import time

WAIT_S = 5.0


def marked(mark: bytes) -> list[int]:
    """Process ids; those of other users and those that are just ending cannot be read and are passed over."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/environ", "rb") as file:
            if mark in file.read().split(b"\0"):
                found.append(int(name))
    return found


def main() -> None:
    mark, deadline = sys.argv[1].encode(), time.monotonic() + WAIT_S
    killed: set[int] = set()
    # One that is killed may have started another in the meantime, so look until there is none.
    while (left := marked(mark)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        os.sched_yield()
    print(len(killed), len(left))


if __name__ == "__main__":
    main()
