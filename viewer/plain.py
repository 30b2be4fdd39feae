"""Text and numbers as people read them on a screen. Pure.

What models and guests say is hostile: `plain` takes everything out of it by which text could steer a terminal.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line starts without pydantic
    from llm.chat import Usage

_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move cursors, turn the direction of writing, or do not show: dropped."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian, Indic scripts and emoji need."""


def plain(text: str, limit: int = 0) -> str:
    """One line without control characters; white space is squeezed; cut to `limit` characters with `…` (0: whole)."""
    line = " ".join(_without_controls(text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def plain_lines(text: str) -> str:
    """As `plain`, but line breaks and tabs stay."""
    return "\n".join(_without_controls(line).rstrip() for line in text.split("\n"))


def _without_controls(text: str) -> str:
    kept = (" " if char in "\t\n\r" else char for char in text)
    return "".join(c for c in kept if c in _JOINERS or unicodedata.category(c) not in _STEERING)


def amount(number: int) -> str:
    """`950`, `12.3k`, `4.5M`."""
    if number < 1000:
        return str(number)
    return f"{number / 1000:.1f}k" if number < 999_950 else f"{number / 1e6:.1f}M"


def size(number: int) -> str:
    """Bytes as `512 B`, `1.5 KiB`, `20.0 MiB`, `3.1 GiB`."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def money(usd: float | None) -> str:
    """`$0.0123`, `$4.20`, `free` for 0; `?` when the price is unknown (None)."""
    if usd is None:
        return "?"
    if usd == 0:
        return "free"
    return f"${usd:.4f}" if usd < 1 else f"${usd:.2f}"


def duration(seconds: float) -> str:
    """`340 ms`, `12.3 s`, `4:05 min`, `2:04:05 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def tokens(usage: "Usage") -> int:
    """Input and output together."""
    return usage.input_tokens + usage.output_tokens
