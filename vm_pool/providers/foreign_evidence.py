"""What a machine from somebody else's disk said and showed last."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vm_pool.boot_report import keep_screen, tail_of
from vm_pool.errors import MachineLost
from vm_pool.provider import Evidence
from vm_pool.providers.foreign_machine import pixels_of_ppm
from vm_pool.providers.remote_evidence import evidence_at
from vm_pool.providers.vm_places import VmFolder
from vm_pool.types import Frame

Draw = Callable[[Path], None]


async def evidence_of(folder: VmFolder, machine_id: str, *, url: str | None, draw: Draw | None) -> Evidence:
    """Its console, what its guest server at `url` answers, and its screen: by the server, else by its graphics card.

    None for `url` or `draw`: it does not run, or not in this process.
    """
    console = await asyncio.to_thread(tail_of, folder.console)
    said = await evidence_at(url, token="", machine_id=machine_id) if url else Evidence()
    screen = said.screen
    if screen is None and draw is not None:
        screen = await asyncio.to_thread(_drawn, folder, machine_id, draw)
    return Evidence(console=console, log=said.log, screen=screen)


def _drawn(folder: VmFolder, machine_id: str, draw: Draw) -> str | None:
    with suppress(MachineLost, OSError, ValueError):
        draw(folder.screen)
        return keep_screen(machine_id, Frame(pixels_of_ppm(folder.screen.read_bytes()), time.time()).png())
    return None
