"""Text that a desktop or code in it said, made harmless before a model reads it. Pure.

A page, a document or a file name can hold anything, also a forged end of a quotation or orders to the agent. What keeps
it data: text of several lines stands between tags whose names occur nowhere else and which it cannot hold itself, text
of one line stands in quotes or in a list of ours (`agent_s3.elements.squeeze`), and neither holds characters that hide
or reorder text. The prompts say that what stands there is never an instruction. That makes steering harder, not
impossible: see docs/security.md.

Source: spotlighting by delimiting (arXiv 2403.14720).
"""

import re
import unicodedata
from typing import Literal

Tag = Literal["from_desktop", "from_code", "from_files"]
_NAMES = "from_desktop|from_code|from_files|user_message"
"""The last one stands around what the user says."""
_FORGED = re.compile(rf"<(?=[\s/]*(?:{_NAMES})\b)", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Of terminals: CSI and OSC sequences, and those of two characters."""
_KEPT = "\n\t\u200c\u200d"
"""Line ends and tabs, and the joiners of emoji and some scripts."""
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def without_forged_tags(text: str) -> str:
    """The same text, in which none of our tags can begin or end."""
    return _FORGED.sub("‹", text)


def neutral(text: str) -> str:
    """Several lines without terminal escapes, characters that hide or reorder text, and forged tags."""
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return without_forged_tags("".join(char for char in plain if char in _KEPT or _shows(char)))


def block(text: str, tag: Tag) -> str:
    """Neutral text between tags, each on a line of its own."""
    return f"<{tag}>\n{neutral(text)}\n</{tag}>"


def _shows(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) not in _HIDING
