"""Chat completions, as OpenAI-compatible servers speak it: llama.cpp, vLLM, Ollama and many gateways.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Iterator
from typing import Any, Literal

from openai import BadRequestError
from pydantic import Field

from llm.chat import ImagePart, Message, Request, StopReason, TextPart, TokenLogprob, Tool, ToolCall, ToolResult
from llm.client import Answer, Create, Endpoint, WireReply, read_body
from llm.openai import data_url, make_sdk
from llm.wire import dumps, is_strict

Limit = Literal["max_tokens", "max_completion_tokens"]
NEWER_LIMIT: Limit = "max_completion_tokens"
"""What OpenAI's reasoning models, e.g. at Azure, want instead of `max_tokens`, which is all that many servers know."""
_STOP_REASONS: dict[str, StopReason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool",
    "function_call": "tool",
    "content_filter": "refused",
}


class _Function(WireReply):
    name: str
    arguments: str = ""


class _Call(WireReply):
    id: str = ""
    function: _Function


class _Message(WireReply):
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _TopLogprob(WireReply):
    token: str
    logprob: float


class _Logprob(_TopLogprob):
    top_logprobs: tuple[_TopLogprob, ...] = ()


class _Logprobs(WireReply):
    content: tuple[_Logprob, ...] | None = None


class _Choice(WireReply):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(WireReply):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(WireReply):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Body(WireReply):
    model: str = ""
    choices: tuple[_Choice, ...] = Field(min_length=1)
    usage: _Usage | None = None


class ChatWire:
    """Chat completions through the official SDK, whose own retries are off."""

    def __init__(self, model: str, endpoint: Endpoint, *, extra: dict[str, Any] | None = None) -> None:
        self._model = model
        self._sdk = make_sdk(endpoint)
        self._create: Create = self._sdk.chat.completions.with_raw_response.create
        self._extra = extra
        """Members of the body that only this server knows."""
        self._limit: Limit = "max_tokens"

    async def send(self, request: Request) -> Answer:
        limit = self._limit
        try:
            return await self._send(request, limit)
        except BadRequestError as error:
            if limit == NEWER_LIMIT or NEWER_LIMIT not in str(error):
                raise
        self._limit = NEWER_LIMIT
        return await self._send(request, NEWER_LIMIT)

    async def _send(self, request: Request, limit: Limit) -> Answer:
        raw = await self._create(**request_body(self._model, request, limit), extra_body=self._extra)
        return read_answer(raw.text)

    async def aclose(self) -> None:
        await self._sdk.close()


def request_body(model: str, request: Request, limit: Limit) -> dict[str, Any]:
    """The arguments of `chat.completions.create` for a request."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [item for message in request.messages for item in _messages(message)],
        limit: request.max_tokens,
    }
    if request.tools:
        body |= {"tools": [_tool(t) for t in request.tools], "tool_choice": request.tool_choice}
        body |= {"parallel_tool_calls": False} if request.one_call else {}
    if request.schema is not None:
        schema = dict(request.schema)
        spec = {"name": "reply", "schema": schema, "strict": is_strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": spec}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.seed is not None:
        body["seed"] = request.seed
    return body


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    """A message as chat messages: tool results come first, each as one of its own."""
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": part.text}
    calls = [_call(p) for p in message.parts if isinstance(p, ToolCall)]
    shown = [p for p in message.parts if isinstance(p, (TextPart, ImagePart))]
    if shown or calls:
        body: dict[str, Any] = {"role": message.role, "content": _content(shown)}
        yield body | ({"tool_calls": calls} if calls else {})


def _content(parts: list[TextPart | ImagePart]) -> str | list[dict[str, Any]]:
    """Plain text where there is no picture, which every server understands."""
    texts = [p.text for p in parts if isinstance(p, TextPart)]
    if len(texts) == len(parts):
        return "\n".join(texts)
    return [_shown(p) for p in parts]


def _shown(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": data_url(part), "detail": part.detail}}


def _call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": dumps(part.arguments)}
    return {"id": part.id, "type": "function", "function": function}


def read_answer(body: str) -> Answer:
    """The answer in a response body.

    Raises: BadReply.
    """
    reply = read_body(body, _Body)
    choice, usage = reply.choices[0], reply.usage or _Usage()
    details = usage.prompt_tokens_details or _PromptDetails()
    message = choice.message
    calls = tuple((c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ())
    return Answer(
        text=message.content or message.refusal or "",
        model=reply.model,
        input_tokens=usage.prompt_tokens,
        cached_tokens=details.cached_tokens or 0,
        written_tokens=details.cache_write_tokens or 0,
        output_tokens=usage.completion_tokens,
        stop_reason=_stop_reason(choice, called=bool(calls)),
        calls=calls,
        logprobs=_logprobs(choice),
    )


def _stop_reason(choice: _Choice, *, called: bool) -> StopReason:
    if choice.message.refusal:
        return "refused"
    return "tool" if called else _STOP_REASONS.get(choice.finish_reason or "stop", "end")


def _logprobs(choice: _Choice) -> tuple[TokenLogprob, ...] | None:
    if choice.logprobs is None or choice.logprobs.content is None:
        return None
    return tuple(
        TokenLogprob(p.token, p.logprob, {t.token: t.logprob for t in p.top_logprobs}) for p in choice.logprobs.content
    )
