"""Opening and switching: actions whose effect is a window."""

import asyncio
import time
from collections.abc import Sequence

from pydantic import Field

from agent_s3.guest_script import run_script
from agent_s3.types import Frozen
from vm_pool.errors import GuestError
from vm_pool.machine import Machine
from vm_pool.types import Window

_POLL_S = 0.05
_IN_FRONT_S = 2.0
"""A program that has what was asked for in front already may do nothing at all; so long it may do something."""


class Opener(Frozen):
    """What opens an application or a file."""

    argv: tuple[str, ...] = Field(min_length=1)
    what: str
    """In words: `application NAME`, `program NAME`, `file PATH`."""

    def fits(self, window: Window) -> bool:
        """Whether a window seems to be that of the application or file."""
        name = self.what.partition(" ")[2].rpartition("/")[2].casefold()
        return bool(name) and (name in window.title.casefold() or name == window.app.casefold())


async def open_it(machine: Machine, name: str, *, timeout_s: float, request_id: str) -> str:
    """Open an application or a file and wait for its window; returns what was opened, in words.

    Raises: `GuestError` when there is no such thing, or when no window came in time.
    """
    found = await run_script(machine, "find_app", {"name": name}, Opener, request_id=request_id)
    before = await machine.windows()
    await machine.launch(found.argv)
    in_front = any(w.active and found.fits(w) for w in before)
    came = await _a_window_comes(machine, before, timeout_s=min(timeout_s, _IN_FRONT_S) if in_front else timeout_s)
    if not came and not in_front:
        raise GuestError(f"{found.what} was started, but no window came within {timeout_s:g} s")
    return found.what


async def _a_window_comes(machine: Machine, before: Sequence[Window], *, timeout_s: float) -> bool:
    """A new window, or another one that became active or got a new title: single-instance programs reuse theirs."""
    deadline = time.monotonic() + timeout_s
    known = {(w.id, w.title, w.active) for w in before if w.active}
    ids = {w.id for w in before}
    while True:
        now = await machine.windows()
        if any(w.id not in ids or (w.active and (w.id, w.title, True) not in known) for w in now):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)


async def switch_to(machine: Machine, wanted: str, *, request_id: str) -> None:
    """Bring a window to the front and wait until it is there, or for a moment: a dialog of it may stand before it.

    Raises: `GuestError` that lists the open windows when none fits.
    """
    window = pick_window(await machine.windows(), wanted)
    done = await machine.run(["wmctrl", "-i", "-a", window.id], timeout_s=10, request_id=request_id)
    if done.returncode != 0:
        raise GuestError(f"the window manager did not switch: {done.stderr.strip()[-200:]}")
    deadline = time.monotonic() + _IN_FRONT_S
    while not await _is_active(machine, window.id):
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_S)


async def _is_active(machine: Machine, window_id: str) -> bool:
    return any(window.active for window in await machine.windows() if window.id == window_id)


def pick_window(windows: Sequence[Window], wanted: str) -> Window:
    """The window that a name means: exact title or application first, then part of either.

    Of equal ones the topmost that is not active yet. Raises: `GuestError`.
    """
    asked = wanted.casefold().strip()
    exact = [w for w in windows if asked in (w.title.casefold(), w.app.casefold())]
    fits = exact or [w for w in windows if asked in w.title.casefold() or asked in w.app.casefold()]
    fits = fits or [w for w in windows if w.app and w.app.casefold() in asked]
    if not fits:
        titles = ", ".join(f"{w.title!r} ({w.app})" for w in windows)
        raise GuestError(f"no window fits {wanted!r}; open windows: {titles or 'none'}")
    return next((w for w in reversed(fits) if not w.active), fits[-1])
