"""Trees on disk: measured, deleted, and rid of what only running programs need.

Programs in machines made these trees: ten thousand folders inside each other, locked ones, whiteouts, sockets. The
tools of the system cope with all of that; they follow no link and need no path from the top to what they work on.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_BROWSER_LEFTOVERS = ("SingletonLock", "SingletonCookie", "SingletonSocket")
"""Links by which Chromium knows a running browser; in a fork they name a process that is not there."""


def tree_bytes(root: Path) -> int:
    """Bytes that a tree takes on disk, hard links counted once; what cannot be read counts nothing."""
    measured = _run(["du", "--summarize", "--block-size=1", "--", str(root)])
    return int(measured.stdout.split()[0]) if measured.stdout else 0


def delete_tree(folder: Path) -> None:
    """Delete a tree by way of a hidden name, so that a half-deleted one is never taken for whole; idempotent.

    Raises: `OSError` when something of it stays.
    """
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.deleting")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    remove = ["rm", "--recursive", "--force", "--one-file-system", "--", str(doomed)]
    if _run(remove).returncode == 0:
        return
    # Modes may lock even the owner out (overlay's `work/work` is 000).
    _run(["chmod", "--recursive", "u+rwX", "--", str(doomed)])
    removed = _run(remove)
    if removed.returncode != 0:
        raise OSError(f"deleting {folder} failed: {removed.stderr.splitlines()[0]}")


def drop_live_traces(upper: Path) -> None:
    """Remove from a machine's disk what only running programs need: sockets, display and browser locks."""
    of_browsers = [word for name in _BROWSER_LEFTOVERS for word in ("-o", "-name", name)]
    traces = ["-type", "s", *of_browsers, "-o", "-path", "./tmp/.X*-lock"]
    _run(["find", ".", "!", "-type", "d", "(", *traces, ")", "-delete"], cwd=upper)


def _run(command: Sequence[str], *, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, cwd=cwd)
