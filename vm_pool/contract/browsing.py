"""An open page of a browser, as a witness of clones: a script in it sets its title, so a page that shows it runs."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from vm_pool.contract.check import Check, ContractBroken, NotApplicable, check, checks_in
from vm_pool.contract.clones import Clones
from vm_pool.contract.pace import stretched
from vm_pool.errors import GuestError
from vm_pool.machine import Machine

_BROWSERS = ("google-chrome", "chromium", "chromium-browser", "firefox-esr", "firefox")
_TITLE = "page of the contract"
_PAGE = f"""<!doctype html><meta charset="utf-8"><title>not yet</title><h1>é 한 日本</h1>
<script>document.title = {_TITLE!r} + " " + (40 + 2);</script>
"""
_SHOWN = f"{_TITLE} 42"
_SHOWN_S = 60.0
_CLONES = 2


@check("equal", limit_s=300.0)
async def a_page_that_is_open_in_a_browser_is_open_in_every_clone(clones: Clones) -> None:
    """By memory where snapshots hold it, else because the browser is started again with the page."""
    source, original = clones.source, clones.original
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_open_page(original))
        snapshot = await stack.enter_async_context(source.snapshot(original))
        for _ in range(_CLONES):
            await _shows_page(await stack.enter_async_context(source.fork(snapshot)))


BROWSING_CHECKS: tuple[Check[Clones], ...] = checks_in(globals())


@asynccontextmanager
async def _open_page(machine: Machine) -> AsyncGenerator[None]:
    """Raises: `NotApplicable` when the machine has no browser."""
    browser = await _browser_of(machine)
    path = f"{machine.info.home}/Documents/page.html"
    await machine.write(path, _PAGE.encode())
    await machine.launch([browser, f"file://{path}"])
    await _shows_page(machine)
    try:
        yield
    finally:
        await machine.run(["sh", "-c", 'wmctrl -c "$1"', "sh", _SHOWN])


async def _browser_of(machine: Machine) -> str:
    look = 'for name; do command -v "$name" >/dev/null && echo "$name" && exit; done'
    try:
        found = (await machine.run(["sh", "-c", look, "sh", *_BROWSERS])).stdout.split()
    except GuestError as error:
        raise NotApplicable("programs", f"the machine runs no shell: {error}") from error
    if not found:
        raise NotApplicable("programs", f"the image has no browser: none of {', '.join(_BROWSERS)}")
    return found[0]


async def _shows_page(machine: Machine) -> None:
    deadline = time.monotonic() + stretched(_SHOWN_S)
    while True:
        titles = [window.title for window in await machine.windows()]
        if any(_SHOWN in title for title in titles):
            return
        if time.monotonic() >= deadline:
            raise ContractBroken(f"{machine.info.machine_id} does not show {_SHOWN!r}; its windows are {titles}")
        await asyncio.sleep(0.1)
