"""Screens that are drawn, with text where a test puts it."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vm_pool.types import Frame

Said = tuple[int, int, str]
"""Left and top in pixels, and the text."""


def screen(
    said: Iterable[Said],
    *,
    width: int = 640,
    height: int = 400,
    size: int = 16,
    ink: str = "black",
    paper: str = "white",
) -> Frame:
    """A screen with texts in a plain font of `size` pixels."""
    image = Image.new("RGB", (width, height), paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for x, y, text in said:
        draw.text((x, y), text, font=font, fill=ink)
    return Frame(np.asarray(image), 0.0)
