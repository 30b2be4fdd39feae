"""Bringing back the programs that a machine ran: noted when its disk is saved, started again on a copy."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vm_pool.errors import BootTimeout
from vm_pool.guest_client import GuestMachine
from vm_pool.host_files import start_of
from vm_pool.types import Frozen

_ALL_S = 180.0
"""For all programs together: how many there are is what the guest says."""
_WINDOWS_S = 30.0
_UNSURE_S = 10.0
_ONE_WINDOW_S = 10.0
_POLL_S = 0.02
_QUIET_MS = 100
_SETTLE_MS = 3000
_LAUNCHED_LIMIT = 64 * 1024
_LAUNCHED = TypeAdapter(tuple[tuple[str, ...], ...])


class Programs(Frozen):
    """What ran on a desktop, as far as it can be started again."""

    launched: tuple[tuple[str, ...], ...] = ()
    """Command lines, oldest first."""
    windows: int | None = None
    """How many windows there were; None when the machine could not be asked any more."""
    with_windows: int | None = None
    """How many processes showed a window; None as above."""
    active_title: str | None = None
    """Title of the window that had the focus."""


async def programs_of(machine: GuestMachine) -> Programs:
    launched, windows = await asyncio.gather(machine.launched(), machine.windows())
    return Programs(
        launched=tuple(tuple(argv) for argv in launched),
        windows=len(windows),
        with_windows=len({window.pid for window in windows}),
        active_title=next((window.title for window in windows if window.active and window.title), None),
    )


def read_launched(path: Path) -> tuple[tuple[str, ...], ...] | None:
    """Command lines that the guest noted; None when there are none or it wrote something else."""
    with suppress(ValidationError):
        return _LAUNCHED.validate_json(start_of(path, _LAUNCHED_LIMIT)) or None
    return None


async def relaunch(
    machine: GuestMachine, programs: Programs, *, limit_s: float = _ALL_S, windows_s: float = _WINDOWS_S
) -> None:
    """Start the programs in their order, wait until those that had a window have one again, and for a quiet screen.

    Raises: `BootTimeout` when a window stays out for `windows_s`, or when all together take longer than `limit_s`.
    """
    if not programs.launched:
        return
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            await _start_again(machine, programs, windows_s)
    except TimeoutError as error:
        if not limit.expired():
            raise
        count = len(programs.launched)
        message = f"{machine.info.machine_id}: its {count} programs were not back within {limit_s:g} s"
        raise BootTimeout(message) from error


async def _start_again(machine: GuestMachine, programs: Programs, windows_s: float) -> None:
    for argv in programs.launched:
        before = {window.id for window in await machine.windows()}
        await machine.launch(argv)
        await _wait_for_a_window(machine, before, programs.windows)
    await _wait_for_windows(machine, programs, windows_s)
    if programs.active_title and programs.with_windows != 1:
        await machine.run(["wmctrl", "-a", programs.active_title], timeout_s=5)
    await machine.settle(quiet_ms=_QUIET_MS, timeout_ms=_SETTLE_MS)


async def _wait_for_a_window(machine: GuestMachine, before: set[str], all_there_were: int | None) -> None:
    """One program after the other, as they were started: two LibreOffices that start at once get in each other's way.

    Programs without a window of their own only cost time when others with one are still to come.
    """
    deadline = time.monotonic() + _ONE_WINDOW_S
    while time.monotonic() < deadline:
        windows = await machine.windows()
        if any(window.id not in before for window in windows):
            return
        if all_there_were is not None and len(windows) >= all_there_were:
            return
        await asyncio.sleep(_POLL_S)


async def _wait_for_windows(machine: GuestMachine, programs: Programs, windows_s: float) -> None:
    """Only as many as were launched: windows that a person opened by hand do not come back by themselves."""
    sure = programs.with_windows is not None
    wanted = len(programs.launched) if programs.with_windows is None else programs.with_windows
    wanted = min(wanted, len(programs.launched))
    deadline = time.monotonic() + (windows_s if sure else _UNSURE_S)
    while (found := await _programs_with_windows(machine)) < wanted:
        if time.monotonic() >= deadline:
            if sure:
                raise BootTimeout(f"{machine.info.machine_id}: {_missing(found, wanted, programs.launched, windows_s)}")
            return
        await asyncio.sleep(_POLL_S)


async def _programs_with_windows(machine: GuestMachine) -> int:
    return len({window.pid for window in await machine.windows()})


def _missing(found: int, wanted: int, launched: Sequence[Sequence[str]], windows_s: float) -> str:
    names = ", ".join(argv[0] for argv in launched)
    return (
        f"{found} of {wanted} programs showed a window within {windows_s:g} s after they were started again ({names})"
    )
