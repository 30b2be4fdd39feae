"""Text that a local engine would read as control tokens, made harmless. Pure.

The engine tokenises the filled-in chat template as a whole, so that `<|im_end|>` in a file's content or on the screen
would end the user's message and could begin another one, in the system's name. Hosted models do this on their side.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from llm.chat import Message, Part, Request, ScreenResult, TextPart, ToolCall, ToolResult

_BREAK = "\u200b"
"""A zero-width space: what is shown stays the same, and no token of any vocabulary holds one after `<`."""
_OPENERS = re.compile(r"<(?=\||/?s>|(?:start|end)_of_turn>|[be]os>)")
"""Beginnings of control tokens: ChatML, Llama 3 and Phi write `<|...|>`; Llama 2, Mistral and Gemma the others."""


def defused(request: Request) -> Request:
    """The same question with every control token in its texts broken."""
    return replace(request, messages=tuple(_message(message) for message in request.messages))


def _message(message: Message) -> Message:
    return replace(message, parts=tuple(_part(part) for part in message.parts))


def _part(part: Part) -> Part:
    match part:
        case TextPart() | ToolResult() | ScreenResult():
            return replace(part, text=_text(part.text))
        case ToolCall():
            return replace(part, arguments=_value(part.arguments))
        case _:
            return part


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): _value(inner) for key, inner in cast("Mapping[object, Any]", value).items()}
    if isinstance(value, list):
        return [_value(inner) for inner in cast("list[Any]", value)]
    return value


def _text(text: str) -> str:
    return _OPENERS.sub(f"<{_BREAK}", text)
