"""The providers' own tools for operating a screen: how they are offered, called and answered on the wire.

What an action means is not known here: it is passed on in the provider's words.

Source: OpenAI's tool `computer` and its forerunner, https://developers.openai.com/api/docs/guides/tools-computer-use;
Anthropic's `computer_toolset_20260801` and, for models before Claude 5, `computer_20251124`,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/computer-use-tool; and the types of both official SDKs.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llm.chat import ComputerDialect, ComputerTool, Json, Message, SafetyCheck, ScreenCall, ScreenResult

_OPENAI = re.compile(r"^gpt-(5\.([4-9]|\d\d)|[6-9])")
_OPENAI_PREVIEW = re.compile(r"^computer-use-preview")
_CLAUDE = re.compile(r"^claude-([a-z]+)-(\d+)(?:-(\d{1,2}))?(?:-\d{8})?$")
_TOOLSET = "computer_toolset_20260801"
_FAMILY = "computer"
WITHHELD = ("cursor_position", "hold_key", "left_mouse_down", "left_mouse_up")
"""Members of the toolset that are not offered: they leave something pressed beyond their step, or do nothing."""


def openai_dialect(model: str) -> ComputerDialect | None:
    """Whether a model of the Responses API has the tool."""
    return "openai" if _OPENAI.match(model) or _OPENAI_PREVIEW.match(model) else None


def anthropic_dialect(model: str) -> ComputerDialect | None:
    """Whether a model of the Messages API has a form of the tool."""
    version = _claude(model)
    has_tool = version >= (4, 6) or (version == (4, 5) and model.startswith("claude-opus"))
    return "anthropic" if has_tool else None


# --- OpenAI ---------------------------------------------------------------------------------------------------------


def openai_tool(model: str, tool: ComputerTool) -> dict[str, Any]:
    """The entry of `tools`."""
    if not _OPENAI_PREVIEW.match(model):
        return {"type": "computer"}
    size = {"display_width": tool.width, "display_height": tool.height}
    return {"type": "computer_use_preview", "environment": "linux", **size}


def openai_body(model: str) -> dict[str, Any]:
    """What else of a request the tool needs: calls are sent back with the reasoning they came with, and nothing is
    kept at the provider."""
    needs: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
    return {**needs, "truncation": "auto"} if _OPENAI_PREVIEW.match(model) else needs


def openai_calls(output: Iterable[Mapping[str, Any]]) -> Iterator[ScreenCall]:
    """The calls among the output items of a response, each with the reasoning items before it."""
    before: list[Json] = []
    for item in output:
        if item.get("type") == "reasoning":
            before.append(item)
        elif item.get("type") == "computer_call":
            single: Sequence[Json] = [item["action"]] if isinstance(item.get("action"), Mapping) else ()
            batch: Sequence[Json] = item.get("actions") or single
            yield ScreenCall(
                id=str(item.get("call_id", "")),
                dialect="openai",
                actions=tuple(batch),
                checks=tuple(_check(check) for check in item.get("pending_safety_checks") or ()),
                echo=(*before, item),
            )
            before = []


def _check(check: Mapping[str, Any]) -> SafetyCheck:
    return SafetyCheck(str(check.get("id", "")), str(check.get("code") or ""), str(check.get("message") or ""))


def openai_result(part: ScreenResult) -> Iterator[dict[str, Any]]:
    """The input items that answer a call; the tool takes a picture only, so words follow as a message."""
    output: dict[str, Any] = {
        "type": "computer_call_output",
        "call_id": part.call_id,
        "output": {"type": "computer_screenshot", "image_url": _data_url(part)},
    }
    if part.acknowledged:
        checks = [{"id": c.id, "code": c.code, "message": c.message} for c in part.acknowledged]
        output["acknowledged_safety_checks"] = checks
    yield output
    if part.text:
        yield {"role": "user", "content": [{"type": "input_text", "text": part.text}]}


# --- Anthropic ------------------------------------------------------------------------------------------------------


def anthropic_tool(model: str, tool: ComputerTool) -> dict[str, Any]:
    """The entry of `tools`."""
    if _claude(model) >= (5, 0):
        return {"type": _TOOLSET, "configs": {name: {"enabled": False} for name in WITHHELD}}
    size = {"display_width_px": tool.width, "display_height_px": tool.height}
    return {"type": "computer_20251124", "name": _FAMILY, "enable_zoom": True, **size}


def anthropic_headers(model: str) -> dict[str, str]:
    """Beta headers that the form of the tool needs; empty where it needs none."""
    return {} if _claude(model) >= (5, 0) else {"anthropic-beta": "computer-use-2025-11-24"}


def anthropic_call(block: Mapping[str, Any]) -> ScreenCall | None:
    """The call in a block of a reply's content; None when it is none."""
    member = block.get("toolset_name") == _FAMILY
    if block.get("type") != "tool_use" or not (member or block.get("name") == _FAMILY):
        return None
    arguments: Json = block.get("input") or {}
    action: Json = {**arguments, "action": block.get("name")} if member else arguments
    echo: dict[str, Any] = {key: block[key] for key in ("type", "id", "name", "input", "toolset_name") if key in block}
    return ScreenCall(id=str(block.get("id", "")), dialect="anthropic", actions=(action,), echo=(echo,))


def anthropic_result(part: ScreenResult, *, member: bool) -> dict[str, Any]:
    """The block that answers a call. `member`: of a toolset, whose name is said again."""
    data = base64.b64encode(part.image.data).decode("ascii")
    image = {"type": "image", "source": {"type": "base64", "media_type": part.image.media_type, "data": data}}
    text = [{"type": "text", "text": part.text}] if part.text.strip() else []
    family = {"toolset_name": _FAMILY} if member else {}
    return {"type": "tool_result", "tool_use_id": part.call_id, "content": [*text, image], **family}


def member_calls(messages: Iterable[Message]) -> set[str]:
    """Ids of the calls that were made to a member of a toolset."""
    calls = (part for message in messages for part in message.parts if isinstance(part, ScreenCall))
    return {call.id for call in calls if any("toolset_name" in item for item in call.echo)}


def _claude(model: str) -> tuple[int, int]:
    match = _CLAUDE.match(model)
    return (int(match[2]), int(match[3] or 0)) if match else (0, 0)


def _data_url(part: ScreenResult) -> str:
    return f"data:{part.image.media_type};base64,{base64.b64encode(part.image.data).decode('ascii')}"
