"""How much of the past fits into a model's context, and what is left out first. Pure.

Left out first are older pictures, then older steps (each is told in a line instead), then the oldest of those lines.
Never the task, the rules or the newest state. What is left out moves in hops, several steps at a time: between two hops
every question begins with the whole of the one before, which is what providers' caches need.
"""

import math
from collections.abc import Sequence

from llm.chat import (
    ImagePart,
    Message,
    Part,
    ScreenCall,
    ScreenResult,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCall,
    ToolResult,
)
from llm.wire import dumps

_ASCII_PER_TOKEN = 3.2
"""On the safe side for English and code."""
_PER_PART = 8
"""Tokens of what a wire puts around a part or a message."""
_PIXELS_PER_TOKEN = 750
"""Source: https://platform.claude.com/docs/en/build-with-claude/vision (OpenAI's counts of screenshots are lower)."""
_PICTURES_SHARE = 0.5
"""Most of the context that pictures may take."""
_LINES_SHARE = 0.1
"""Most of it that lines about earlier steps may take."""
_AFTER_HOP = 0.6
"""Of the room for steps, what a hop leaves taken."""
_STATE_GRAIN = 16
"""The state's size is rounded up to this part of the context, or every change of it would move the past."""


def text_tokens(text: str) -> int:
    """An estimate that is rather too high than too low; a character beyond ASCII may take a token and more."""
    plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return math.ceil(plain / _ASCII_PER_TOKEN + (len(text) - plain) * 1.2)


def picture_tokens(width: int, height: int) -> int:
    """Of a screenshot, in pixels."""
    return math.ceil(width * height / _PIXELS_PER_TOKEN)


def tool_tokens(tools: Sequence[Tool]) -> int:
    return sum(text_tokens(t.name + t.description + dumps(t.parameters)) + _PER_PART for t in tools)


def message_tokens(messages: Sequence[Message]) -> int:
    """Of texts and calls; pictures are counted apart, by `picture_tokens`."""
    return sum(_PER_PART + sum(part_tokens(part) for part in message.parts) for message in messages)


def part_tokens(part: Part) -> int:
    match part:
        case TextPart() | ToolResult() | ScreenResult():
            return _PER_PART + text_tokens(part.text)
        case ToolCall():
            return _PER_PART + text_tokens(part.name + dumps(part.arguments))
        case ThinkingPart():
            return _PER_PART + text_tokens(dumps(part.data))
        case ScreenCall():
            return _PER_PART + text_tokens(dumps([*part.echo, *part.actions]))
        case ImagePart():
            return 0


def first_pictured(turns: int, keep: int) -> int:
    """Index of the oldest turn whose picture is shown: at most the newest `keep` of `turns`, and more than half."""
    hop = max(1, keep // 2)
    return 0 if turns <= keep else math.ceil((turns - keep) / hop) * hop


def pictures_that_fit(keep: int, *, each: int, context: int) -> int:
    """How many pictures of `each` tokens are kept of `keep`; the newest always is."""
    return max(1, min(keep, int(context * _PICTURES_SHARE) // each)) if each else keep


def room_for_steps(context: int, *, fixed: int, state: int, pictures: int) -> int:
    """Tokens that the past may take beside what is never left out; 0 or less: none."""
    grain = max(1, context // _STATE_GRAIN)
    lines = int(context * _LINES_SHARE)
    return context - fixed - math.ceil(state / grain) * grain - pictures - lines


def first_told(costs: Sequence[int], room: int) -> int:
    """Index of the oldest step that is told in full, for the tokens that each step takes."""
    start = taken = 0
    for index, cost in enumerate(costs):
        taken += cost
        if taken > room:
            while start <= index and taken > room * _AFTER_HOP:
                taken -= costs[start]
                start += 1
    return start


def lines_that_fit(lines: Sequence[str], context: int) -> list[str]:
    """The newest lines about earlier steps, headed by a count of those that are left out."""
    room, kept = int(context * _LINES_SHARE), list[str]()
    for line in reversed(lines):
        room -= text_tokens(line) + 1
        if room < 0:
            break
        kept.insert(0, line)
    left_out = len(lines) - len(kept)
    return [*([f"({left_out} more before that)"] if left_out else []), *kept]
