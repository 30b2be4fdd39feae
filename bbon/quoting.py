"""What a guest or a model said, made harmless before another model reads it. Pure.

A file name, a window title or a page can hold anything, also a forged end of a quotation or a command to the judge.
Three things keep it data: it stays on one line, it cannot hold the angle brackets that our prompts' tags are made of,
and it holds no character that hides or reorders text. The prompts say that what stands between the tags is never an
instruction.
"""

import re
import unicodedata

_BRACKETS = str.maketrans({"<": "‹", ">": "›"})
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories: controls, format characters (bidirectional overrides, zero width), surrogates, unassigned."""
_JOINERS = "\u200d"
"""Needed inside emoji and in some scripts."""
_SPACES = re.compile(r"\s+")
_LINE_ENDS = re.compile(r"[ \t]*(?:\r\n|\n|\r)\s*")


def one_line(text: str, limit: int = 200) -> str:
    """Foreign text on one line of at most `limit` characters; line ends become ⏎, what is left out is counted."""
    shown = text[: 20 * limit]
    if not shown.isprintable():  # nearly all text is; looking at every character of ten long candidates takes seconds
        shown = "".join(_visible(char) for char in shown).strip()
    shown = _SPACES.sub(" ", _LINE_ENDS.sub(" ⏎ ", shown)).strip().translate(_BRACKETS)
    return shorten(shown, limit, left_out=max(0, len(text) - 20 * limit))


def quoted(text: str, limit: int = 200) -> str:
    """Foreign text on one line between double quotes; quotes inside become single ones."""
    return '"' + one_line(text, limit).replace('"', "'") + '"'


def shorten(text: str, limit: int, *, left_out: int = 0) -> str:
    """Beginning and end of a text that is longer than `limit` characters, with a count of what is missing."""
    if len(text) <= limit:
        return text
    note = f" [… {len(text) + left_out - limit} more characters …] "
    keep = max(2, limit - len(note))
    return text[: keep - keep // 3] + note + text[len(text) - keep // 3 :]


def _visible(char: str) -> str:
    if char in "\n\r\t" or char in _JOINERS:
        return char
    return " " if unicodedata.category(char) in _HIDDEN else char
