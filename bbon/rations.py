"""How much evidence and how many pictures of N candidates fit into one question to the judge. Pure.

A candidate's share is never more than another's of the same need. Where a model takes fewer pictures than there are
end screens, several of them go onto one sheet, so that each candidate is still seen.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from agent_s3.settings import answer_tokens
from llm.chat import Abilities

CHARS_PER_TOKEN = 3
"""Bytes, in fact: text in other scripts takes about one token per three bytes as well."""
PICTURE_TOKENS = 1_600
"""What a screen in high detail takes at the providers that say it (`llm/pricing.toml`)."""
MOST_CHARS = 200_000
SHEETS = (1, 2, 4, 9)
"""How many end screens may share a picture; with more no text could be read."""
_PROMPT_TOKENS, _ATTEMPT_TOKENS = 900, 40
_TASK_CHARS = 8_000
_SHEET_WIDTH = 1_920
_GAP, _LETTER = 6, 40


class Ration(NamedTuple):
    """What one question holds."""

    chars: int
    """Bytes of text about all candidates together."""
    per_sheet: int
    """End screens on one picture; 0: no end screen is shown."""
    start: bool
    """Whether the start, where it is common to all, is shown as well."""


def task_chars(abilities: Abilities) -> int:
    """Most characters of the task that are shown."""
    return min(_TASK_CHARS, abilities.context_tokens)


def ration(abilities: Abilities, n: int, *, task: int = 0, start: bool = True) -> Ration:
    """What fits for `n` candidates beside a task of `task` characters; `start`: they have one to show."""
    fixed = _PROMPT_TOKENS + n * _ATTEMPT_TOKENS + answer_tokens(abilities) + task // CHARS_PER_TOKEN
    left = max(0, abilities.context_tokens - fixed)
    per_sheet, with_start = _pictures(_most_pictures(abilities, left // 2), n, start=start)
    shown = (math.ceil(n / per_sheet) if per_sheet else 0) + with_start
    chars = (left - shown * PICTURE_TOKENS) * CHARS_PER_TOKEN
    return Ration(min(MOST_CHARS, max(200 * n, chars)), per_sheet, with_start)


def _most_pictures(abilities: Abilities, tokens: int) -> int:
    if not abilities.images:
        return 0
    by_room = tokens // PICTURE_TOKENS
    return min(by_room, abilities.max_images) if abilities.max_images else by_room


def _pictures(most: int, n: int, *, start: bool) -> tuple[int, bool]:
    """Ends matter more than the start, and the start more than a larger picture of each end than half a screen."""
    for per_sheet in SHEETS:
        sheets = math.ceil(n / per_sheet)
        if sheets <= most:
            return per_sheet, start and sheets < most
    return 0, False


def sheet(screens: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Screens side by side and row by row on one picture of `_SHEET_WIDTH` px, each with its letter."""
    columns = math.ceil(math.sqrt(len(screens)))
    width = (_SHEET_WIDTH - _GAP * (columns - 1)) // columns
    cells = [_cell(letter, screen, width) for letter, screen in screens]
    height = max(cell.height for cell in cells)
    rows = math.ceil(len(cells) / columns)
    made = Image.new("RGB", (_SHEET_WIDTH, rows * height + _GAP * (rows - 1)), "black")
    for place, cell in enumerate(cells):
        row, column = divmod(place, columns)
        made.paste(cell, (column * (width + _GAP), row * (height + _GAP)))
    return made


def _cell(letter: str, screen: Image.Image, width: int) -> Image.Image:
    """The letter stands above the screen, so that it hides nothing and nothing on a screen can pose as it."""
    small = screen.resize((width, max(1, screen.height * width // screen.width)), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (width, small.height + _LETTER), "white")
    cell.paste(small, (0, _LETTER))
    ImageDraw.Draw(cell).text((10, 4), f"Attempt {letter}", fill="black", font=ImageFont.load_default(28))
    return cell
