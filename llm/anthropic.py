"""Anthropic's Messages API, with prompt caching at the parts that end a prefix.

Structured output goes by `output_config` at Anthropic itself, and by a forced tool at compatible servers, which do not
know it (llama.cpp ignores it and answers in prose).
Source: https://platform.claude.com/docs/en/api/messages
"""

import base64
import re
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any, Literal

from anthropic import AsyncAnthropic, transform_schema
from pydantic import Field

from llm.chat import (
    Abilities,
    ChatModel,
    ImagePart,
    Json,
    Message,
    Part,
    Request,
    ScreenCall,
    ScreenResult,
    StopReason,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCall,
    ToolResult,
)
from llm.client import Answer, Create, Endpoint, HttpModel, WireReply, read_body
from llm.computer import (
    anthropic_call,
    anthropic_dialect,
    anthropic_headers,
    anthropic_result,
    anthropic_tool,
    member_calls,
)
from llm.errors import Refused
from llm.http_client import http_client
from llm.settings import Settings
from llm.wire import dumps

BASE_URL = "https://api.anthropic.com"
REPLY_TOOL = "reply"
"""Name of the tool whose arguments are the structured reply, at servers without structured output."""
MOST_MARKS = 4
"""Cache marks that one request may carry."""
_VERSION = re.compile(r"^claude-[a-z]+-(\d+)(?:-(\d{1,2}))?(?:-\d{8})?$")
_STOP_REASONS: dict[str, StopReason] = {
    "end_turn": "end",
    "pause_turn": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop",
    "tool_use": "tool",
    "refusal": "refused",
}
SchemaBy = Literal["output_config", "tool"]


class _Block(WireReply):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    toolset_name: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    """Of thinking that may not be read."""

    @property
    def thought(self) -> ThinkingPart | None:
        """What is to be sent back unchanged; None: it is no thinking, or nobody vouches for it."""
        if self.type == "thinking" and self.signature:
            block = {"type": self.type, "thinking": self.thinking, "signature": self.signature}
            return ThinkingPart("anthropic", block)
        if self.type == "redacted_thinking" and self.data:
            return ThinkingPart("anthropic", {"type": self.type, "data": self.data})
        return None


class _Usage(WireReply):
    input_tokens: int | None = None
    """Without the cached and the written ones."""
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Body(WireReply):
    model: str = ""
    content: tuple[_Block, ...]
    stop_reason: str | None = None
    usage: _Usage = Field(default_factory=_Usage)


class MessagesWire:
    """The Messages API through the official SDK, whose own retries are off."""

    def __init__(self, model: str, endpoint: Endpoint, *, schema_by: SchemaBy) -> None:
        self._model = model
        self._schema_by: SchemaBy = schema_by
        credentials = None if endpoint.base_url == BASE_URL else {"x-api-key": endpoint.key}
        self._sdk = AsyncAnthropic(
            api_key=endpoint.key,
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=http_client(endpoint.base_url, endpoint.timeout_s, credentials=credentials),
        )
        self._create: Create = self._sdk.messages.with_raw_response.create

    async def send(self, request: Request) -> Answer:
        body = request_body(self._model, request, schema_by=self._schema_by)
        raw = await self._create(**body)
        return read_answer(await raw.text(), by_tool=request.schema is not None and self._schema_by == "tool")

    async def aclose(self) -> None:
        await self._sdk.close()


def open_anthropic(model: str, *, name: str, base_url: str | None, key: str, settings: Settings) -> ChatModel:
    """Anthropic's Messages API, or a compatible server at a base URL."""
    endpoint = Endpoint(base_url or BASE_URL, key, settings.timeout_s)
    provider = "anthropic" if base_url is None else f"anthropic+{base_url}"
    return HttpModel(
        MessagesWire(model, endpoint, schema_by="output_config" if base_url is None else "tool"),
        name=name,
        provider=provider,
        abilities=_abilities(model),
        settings=settings,
        price=settings.prices.find(provider, model),
        secret=key,
    )


def _abilities(model: str) -> Abilities:
    version = _VERSION.match(model)
    new = version is not None and (int(version[1]), int(version[2] or 0)) >= (4, 6)
    context = 1_000_000 if new and "haiku-4" not in model else 200_000
    computer = anthropic_dialect(model)
    return Abilities(images=True, tools=True, schema=True, context_tokens=context, max_images=100, computer=computer)


def request_body(model: str, request: Request, *, schema_by: SchemaBy) -> dict[str, Any]:
    """The arguments of `messages.create` for a request.

    Raises: Refused for a schema together with tools where the schema goes by a tool.
    """
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens,
        "messages": _turns([m for m in request.messages if m.role != "system"]),
    }
    system = [b for m in request.messages if m.role == "system" for b in _blocks(m.parts)]
    if system:
        body["system"] = system
    tools = [_tool(t) for t in request.tools]
    if request.computer is not None:
        tools.append(anthropic_tool(model, request.computer))
        body |= {"extra_headers": headers} if (headers := anthropic_headers(model)) else {}
    if tools:
        body |= {"tools": tools, "tool_choice": _tool_choice(request)}
    if request.schema is not None:
        body |= _structured(request, request.schema, schema_by)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.temperature is not None:
        body["extra_body"] = {"temperature": min(1.0, request.temperature)}  # no argument of its own since SDK 2
    _limit_marks([*system, *(block for turn in body["messages"] for block in turn["content"])])
    return body


def _tool_choice(request: Request) -> dict[str, Any]:
    choice = {"auto": "auto", "required": "any", "none": "none"}[request.tool_choice]
    alone = {"disable_parallel_tool_use": True} if request.one_call and choice != "none" else {}
    return {"type": choice, **alone}


def _structured(request: Request, schema: Json, schema_by: SchemaBy) -> dict[str, Any]:
    if schema_by == "output_config":
        return {"output_config": {"format": {"type": "json_schema", "schema": transform_schema(dict(schema))}}}
    if request.tools:
        raise Refused("this server cannot be asked for a schema and offered tools in one request")
    tool = Tool(REPLY_TOOL, "Give your reply through this tool.", schema)
    return {"tools": [_tool(tool)], "tool_choice": {"type": "tool", "name": REPLY_TOOL}}


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as turns that alternate: neighbours of one role are joined, and tool results stand first in theirs.

    Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls
    """
    turns: list[dict[str, Any]] = []
    members = frozenset(member_calls(messages))
    for message in messages:
        blocks = _blocks(message.parts, members)
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": message.role, "content": blocks})
    for turn in turns:
        turn["content"].sort(key=_is_no_result)
    return turns


def _is_no_result(block: dict[str, Any]) -> bool:
    return block["type"] != "tool_result"


def _blocks(parts: Sequence[Part], members: Container[str] = ()) -> list[dict[str, Any]]:
    """Parts as content blocks; empty texts, which the API refuses, and others' thinking are left out."""
    return [block for part in parts if not _is_left_out(part) for block in _block(part, members)]


def _is_left_out(part: Part) -> bool:
    if isinstance(part, ThinkingPart):
        return part.provider != "anthropic"
    return isinstance(part, TextPart) and not part.text.strip()


def _block(part: Part, members: Container[str]) -> list[dict[str, Any]]:
    match part:
        case ScreenCall():
            return [dict(item) for item in part.echo]
        case ScreenResult():
            return [anthropic_result(part, member=part.call_id in members)]
        case _:
            return [_plain_block(part)]


def _plain_block(part: TextPart | ImagePart | ToolCall | ToolResult | ThinkingPart) -> dict[str, Any]:
    markable = not isinstance(part, ToolCall | ThinkingPart)
    mark = {"cache_control": {"type": "ephemeral"}} if markable and part.cache else {}
    match part:
        case ThinkingPart():
            return dict(part.data)
        case TextPart():
            return {"type": "text", "text": part.text} | mark
        case ImagePart():
            data = base64.b64encode(part.data).decode("ascii")
            return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": data}} | mark
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": dict(part.arguments)}
        case ToolResult():
            return {"type": "tool_result", "tool_use_id": part.call_id, "content": part.text} | mark


def _limit_marks(blocks: list[dict[str, Any]]) -> None:
    """Keep the last marks: a longer cached prefix contains the shorter ones."""
    marked = [block for block in blocks if "cache_control" in block]
    for block in marked[:-MOST_MARKS]:
        del block["cache_control"]


def _screen_calls(reply: _Body, thinking: Sequence[ThinkingPart]) -> tuple[ScreenCall, ...]:
    """Calls of the computer tool; the first is sent back with the thinking that it came with."""
    found = [call for b in reply.content if (call := anthropic_call(b.model_dump(exclude_unset=True)))]
    if not found:
        return ()
    first = replace(found[0], echo=(*(part.data for part in thinking), *found[0].echo))
    return (first, *found[1:])


def read_answer(body: str, *, by_tool: bool) -> Answer:
    """The answer in a response body; `by_tool`: the arguments of the reply tool are the text.

    Raises: BadReply.
    """
    reply = read_body(body, _Body)
    cached = reply.usage.cache_read_input_tokens or 0
    written = reply.usage.cache_creation_input_tokens or 0
    thinking = tuple(thought for block in reply.content if (thought := block.thought))
    screen_calls = _screen_calls(reply, thinking)
    known = {call.id for call in screen_calls}
    calls = tuple((b.id, b.name, dumps(b.input)) for b in reply.content if b.type == "tool_use" and b.id not in known)
    text = "".join(b.text for b in reply.content if b.type == "text")
    stop_reason = _STOP_REASONS.get(reply.stop_reason or "end_turn", "end")
    if by_tool and calls:
        text, calls = calls[0][2], ()
        stop_reason = "end" if stop_reason == "tool" else stop_reason
    return Answer(
        text=text,
        model=reply.model,
        input_tokens=None if reply.usage.input_tokens is None else reply.usage.input_tokens + cached + written,
        cached_tokens=cached,
        written_tokens=written,
        output_tokens=reply.usage.output_tokens,
        stop_reason=stop_reason,
        calls=calls,
        screen_calls=screen_calls,
        thinking=thinking,
    )
