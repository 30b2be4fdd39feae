"""One check of a host, and how it is made: by a harmless command that succeeds or complains."""

import os
import subprocess
import tempfile
from collections.abc import Callable

from vm_pool.errors import VMPoolError
from vm_pool.local_state import default_places, machine_uid
from vm_pool.types import Frozen

_PROBE_S = 10.0


class Check(Frozen):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found, in one line."""
    fix: str | None = None
    """The command that mends it; None when it is ok or nothing on this host can mend it."""
    required: bool = True
    """False: the sandbox works without it, with less."""


def looked_at(name: str, detail: str, fix: str | None, *, required: bool = True) -> Check:
    """Fine when there is nothing to mend."""
    return Check(name=name, ok=fix is None, detail=detail, fix=fix, required=required)


def refused(name: str, error: VMPoolError, *, prefix: str = "") -> Check:
    """One that is not required, by an error that says what is missing and mostly what mends it."""
    detail, _, fix = str(error).partition("; run: ")
    return Check(name=name, ok=False, detail=f"{prefix}{detail}", fix=fix or None, required=False)


def probe(argv: list[str], *, cwd: str | None = None, pass_fds: tuple[int, ...] = ()) -> str | None:
    """Run a harmless command; returns the last line of its complaint when it fails, else None."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PROBE_S, cwd=cwd, pass_fds=pass_fds, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not end within {_PROBE_S:g} s"
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (lines[-1] if lines else f"ended with code {done.returncode}")


def in_state_folder(attempt: Callable[[str], str | None]) -> str | None:
    """Run a probe in a folder next to the machines' that the uid they run as owns."""
    try:
        default_places().make()
        with tempfile.TemporaryDirectory(dir=default_places().machines.parent, prefix="doctor-") as folder:
            os.chown(folder, machine_uid(), -1)
            return attempt(folder)
    except (OSError, VMPoolError) as error:
        return str(error)


def sudo(command: str) -> str:
    """The command as whoever asks has to write it."""
    return command if os.geteuid() == 0 else f"sudo {command}"
