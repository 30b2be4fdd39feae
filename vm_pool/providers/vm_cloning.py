"""The ways in which copies of virtual machines can be made, and which of them this host's QEMU has.

fork: memory becomes a file that copies map for themselves, so that they start at once and cost what they change.
restore: each copy reads all of the memory for itself. boot: the disk alone is saved, and copies start cold on it.
"""

import json
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

EMULATOR = "qemu-system-x86_64"
Way = Literal["fork", "restore", "boot"]
WAYS: tuple[Way, ...] = ("fork", "restore", "boot")
_SHARING, _MOVING = "x-ignore-shared", "events"
"""What QEMU calls saving devices without shared memory; and what every QEMU that saves at all knows."""
_PROBE_S = 10.0


class Cloning(NamedTuple):
    """How copies are made, and why that way."""

    way: Way
    reason: str


def cloning_by(capabilities: Iterable[str]) -> Cloning:
    """The best way that a QEMU with these migration capabilities has."""
    known = set(capabilities)
    if _SHARING in known:
        return Cloning("fork", "QEMU saves devices apart from memory")
    if _MOVING in known:
        return Cloning("restore", f"this QEMU has no {_SHARING}, so each copy reads all of the memory")
    return Cloning("boot", "this QEMU saves no running machines, so copies start cold")


def cloning_of(emulator: Path) -> Cloning:
    """Ask a QEMU without a machine. Blocks, for about 0.1 s."""
    command = [str(emulator), "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    asked = "".join(
        json.dumps({"execute": name}) for name in ("qmp_capabilities", "query-migrate-capabilities", "quit")
    )
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=_PROBE_S)
    except (subprocess.TimeoutExpired, OSError) as error:
        return Cloning("boot", f"QEMU cannot be asked what it saves: {error}")
    return cloning_by(_capabilities_in(done.stdout))


def _capabilities_in(answers: bytes) -> list[str]:
    for line in answers.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            found = [one["capability"] for one in json.loads(line)["return"]]
            if found:
                return found
    return []
