"""Why a machine did not become ready: what it said and showed last, gathered before its folder is deleted."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from vm_pool.errors import BootTimeout, MachineLost
from vm_pool.framebuffer import FRAMEBUFFER_NAME, BadFramebuffer, Framebuffer
from vm_pool.host_files import end_of
from vm_pool.local_state import MachineFolder, pool_folder, read_state
from vm_pool.provider import Evidence, Explains
from vm_pool.runtime_folder import read_token
from vm_pool.shield import shielded
from vm_pool.types import Frame, Frozen

TAIL_BYTES = 4000
"""Of each log."""
_MOST_SCREENS = 100


class BootReport(Frozen):
    """What is known of a start that failed."""

    machine_id: str
    provider: str
    reason: str
    elapsed_s: float
    """From the first attempt to the end of the last."""
    attempts: int = 1
    evidence: Evidence = Evidence()
    """Of the last attempt."""


@asynccontextmanager
async def explained(provider: Explains, machine_id: str) -> AsyncGenerator[None]:
    """Give the `BootTimeout` or `MachineLost` that ends the block a report, while the machine is still there."""
    begun = time.monotonic()
    try:
        yield
    except (BootTimeout, MachineLost) as error:
        evidence = await shielded(provider.evidence(machine_id))
        error.report = BootReport(
            machine_id=machine_id,
            provider=provider.name,
            reason=str(error),
            elapsed_s=round(time.monotonic() - begun, 3),
            evidence=evidence,
        )
        error.args = (f"{error}; see: agent-s3 pool logs {machine_id}",)
        raise


def summed_up(report: BootReport | None, *, attempts: int, elapsed_s: float) -> BootReport | None:
    """Of the last of several attempts, in the name of all; None when nobody could look."""
    return report and report.model_copy(update={"attempts": attempts, "elapsed_s": round(elapsed_s, 3)})


def tail_of(path: Path, *, without: str = "") -> str:
    """The last lines of a file that a machine writes, printable; "" when there is none. `without`: a secret."""
    return printable(end_of(path, TAIL_BYTES), without=without)


def printable(said: bytes, *, without: str = "") -> str:
    """Lines without control characters, at most `TAIL_BYTES` of them."""
    text = said[-TAIL_BYTES:].decode(errors="replace")
    text = text.replace(without, "***") if without else text
    lines = ("".join(char if char.isprintable() else " " for char in line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def evidence_in(folder: MachineFolder) -> Evidence:
    """Of a machine whose log and framebuffer lie in its folder. Its token does not get out."""
    state = read_state(folder.disk)
    return Evidence(
        log=tail_of(folder.log, without=read_token(folder) or ""),
        screen=state and save_screen(state.id, folder.frames / FRAMEBUFFER_NAME, state.spec.width, state.spec.height),
    )


def save_screen(machine_id: str, framebuffer: Path, width: int, height: int, *, start: int = 0) -> str | None:
    """What a machine's display server has in a file, as a PNG among the reports; None when there is no picture.

    `start`: where in the file the picture begins, in bytes.
    """
    with suppress(OSError, BadFramebuffer, ValueError):
        screen = Framebuffer(framebuffer, width, height, start=start)
        try:
            frame = Frame(screen.grab(), time.time())
        finally:
            screen.close()
        return keep_screen(machine_id, frame.png())
    return None


def keep_screen(machine_id: str, png: bytes) -> str:
    """Among the reports, of which the newest are kept. Returns its path."""
    folder = pool_folder() / "screens"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"{machine_id}.png"
    target.write_bytes(png)
    for old in sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime)[:-_MOST_SCREENS]:
        old.unlink(missing_ok=True)
    return str(target)
