"""Opening and switching: actions whose effect is a window."""

import asyncio
import difflib
import re
import time
from collections.abc import Callable, Sequence

from pydantic import Field

from agent_s3.guest_script import run_script
from agent_s3.types import Frozen
from vm_pool.errors import GuestError
from vm_pool.machine import Machine
from vm_pool.types import Window

_POLL_S = 0.05
_LIKE = 0.8
"""How much of a name must be right, as `difflib` counts it."""
_IN_FRONT_S = 2.0
"""A program that has what was asked for in front already may do nothing at all; so long it may do something."""


class Opener(Frozen):
    """What opens an application or a file."""

    argv: tuple[str, ...] = Field(min_length=1)
    what: str
    """In words: `application NAME`, `program NAME`, `file PATH`."""
    window: str = ""
    """Class of the application's windows; empty: not known."""

    def fits(self, window: Window) -> bool:
        """Whether a window seems to be that of the application or file."""
        name = self.what.partition(" ")[2].rpartition("/")[2].casefold()
        app = window.app.casefold()
        return bool(name) and (name in window.title.casefold() or app in {name, self.window.casefold()} - {""})


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

    Raises: `GuestError` that lists the open windows when none fits, or those that fit when several do.
    """
    windows = await machine.windows()
    window = pick_window(windows, wanted) or await _of_application(machine, windows, wanted)
    if window is None:
        raise GuestError(f"no window fits {wanted!r}; open windows: {_listed(windows) or 'none'}")
    done = await machine.run(["wmctrl", "-i", "-a", window.id], timeout_s=10, request_id=request_id)
    if done.returncode != 0:
        raise GuestError(f"the window manager did not switch: {done.stderr.strip()[-200:]}")
    deadline = time.monotonic() + _IN_FRONT_S
    while not await _is_active(machine, window.id):
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_S)


async def _of_application(machine: Machine, windows: Sequence[Window], wanted: str) -> Window | None:
    """The window of the application that would be opened by that name, such as `text editor`; None: there is none."""
    try:
        found = await run_script(machine, "find_app", {"name": wanted}, Opener)
    except GuestError:
        return None
    return _one_of([window for window in windows if found.fits(window)], wanted)


async def _is_active(machine: Machine, window_id: str) -> bool:
    return any(window.active for window in await machine.windows() if window.id == window_id)


def pick_window(windows: Sequence[Window], wanted: str) -> Window | None:
    """The window that a name means; None when none fits. Pure.

    Exact title or application first, then a part of either, then the application as a part of what is asked, then its
    words in any order, then a slip of the pen. Of two that fit equally the one that is not active is meant.
    Raises: `GuestError` when several fit equally.
    """
    asked = _folded(wanted)
    for fits in _TIERS:
        found = [window for window in windows if fits(asked, _folded(window.title), _folded(window.app))]
        if found:
            return _one_of(found, wanted)
    return None


def _one_of(found: Sequence[Window], wanted: str) -> Window | None:
    """Raises: `GuestError` when more than one is left that the model could tell apart."""
    left = [window for window in found if not window.active] or found
    if len({(window.title, window.app) for window in left}) > 1:
        raise GuestError(f"several windows fit {wanted!r}: {_listed(left)}; name one by its title")
    return left[-1] if left else None


def _listed(windows: Sequence[Window]) -> str:
    return ", ".join(f"{window.title!r} ({window.app})" for window in windows)


def _folded(name: str) -> str:
    """Lower case, one space for all that is neither letter nor digit."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _is_like(asked: str, title: str, app: str) -> bool:
    """Also where only the name of the document or of the program in the title is meant."""
    names = (title, app, *title.split())
    return bool(difflib.get_close_matches(asked.replace(" ", ""), [name.replace(" ", "") for name in names], 1, _LIKE))


_TIERS: tuple[Callable[[str, str, str], bool], ...] = (
    lambda asked, title, app: asked in (title, app),
    lambda asked, title, app: bool(asked) and (asked in title or asked in app),
    lambda asked, _, app: bool(app) and app in asked,
    lambda asked, title, app: bool(asked) and set(asked.split()) <= {*title.split(), *app.split()},
    _is_like,
)
"""How well a window fits, best first; names are folded."""
