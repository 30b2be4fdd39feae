"""A machine whose screen is read off its graphics card, from outside the guest."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vm_pool.errors import GuestError
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.types import Frame, MachineInfo

_LONGEST_HEAD = 64


class CardMachine(OSWorldMachine):
    """As `OSWorldMachine`, but for frames: `draw` has QEMU write one to the file `picture`, each time anew."""

    def __init__(self, info: MachineInfo, *, url: str, draw: Callable[[Path], None], picture: Path):
        super().__init__(info, url=url)
        self._draw = draw
        self._picture = picture
        self._drawing = asyncio.Lock()

    async def screenshot(self) -> Frame:
        async with self._drawing:
            pixels = await asyncio.to_thread(self._drawn)
        if pixels.shape[:2] != (self.info.height, self.info.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise GuestError(
                f"{self.info.machine_id}: its graphics card shows {size} px, its guest server"
                f' {self.info.width}x{self.info.height}; the desktop is elsewhere: say screen = "server"'
            )
        return Frame(pixels, time.time())

    def _drawn(self) -> NDArray[np.uint8]:
        try:
            self._draw(self._picture)
            return pixels_of_ppm(self._picture.read_bytes())
        except (OSError, ValueError) as error:
            raise GuestError(f"{self.info.machine_id}: its graphics card shows no picture: {error}") from error


def pixels_of_ppm(data: bytes) -> NDArray[np.uint8]:
    """Height x width x 3 of a binary PPM as QEMU writes it: no comments, 8 bits a channel. Raises: `ValueError`."""
    words = data[:_LONGEST_HEAD].split(maxsplit=4)
    if len(words) < 4 or words[0] != b"P6" or words[3] != b"255" or not (words[1] + words[2]).isdigit():
        raise ValueError("it is no PPM with 8 bits a channel")
    width, height = int(words[1]), int(words[2])
    start = len(b" ".join(words[:4])) + 1
    if len(data) - start != width * height * 3:
        raise ValueError(f"it is no picture of {width}x{height} px")
    return np.frombuffer(data, np.uint8, offset=start).reshape(height, width, 3)
