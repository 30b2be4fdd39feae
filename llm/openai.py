"""OpenAI's Responses API, and the opening of all `openai...` specs.

Nothing is kept at the provider (`store=False`). Stop sequences and seeds do not exist in this API: the former are
applied here to the text, the latter are not sent.
Source: https://platform.openai.com/docs/api-reference/responses
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from openai import AsyncOpenAI
from pydantic import Field

from llm.chat import (
    Abilities,
    ChatModel,
    ImagePart,
    Message,
    Request,
    ScreenCall,
    ScreenResult,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolResult,
)
from llm.client import Answer, Create, Endpoint, HttpModel, WireReply, read_body
from llm.computer import openai_body, openai_calls, openai_dialect, openai_result, openai_tool
from llm.errors import ProviderError, RateLimited, Refused, Unavailable
from llm.http_client import http_client
from llm.settings import Settings
from llm.wire import dumps, is_strict

BASE_URL = "https://api.openai.com/v1"
_REASONING = re.compile(r"^(gpt-[5-9]|o\d)")
_CHAT_TUNED = re.compile(r"-chat(-latest)?$")

_FAILURES: dict[str, type[ProviderError]] = {
    "rate_limit_exceeded": RateLimited,
    "server_error": Unavailable,
    "cancelled": Unavailable,
}
"""Failures that another try may mend; all others name something in the request."""


class _TopLogprob(WireReply):
    token: str
    logprob: float


class _Logprob(_TopLogprob):
    top_logprobs: tuple[_TopLogprob, ...] = ()


class _Content(WireReply):
    type: str
    text: str = ""
    refusal: str = ""
    logprobs: tuple[_Logprob, ...] | None = None


class _Item(WireReply):
    type: str
    content: tuple[_Content, ...] | None = ()
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    id: str | None = None
    summary: tuple[dict[str, Any], ...] | None = None
    encrypted_content: str | None = None

    @property
    def thought(self) -> ThinkingPart | None:
        """What is to be sent back unchanged; None: it is no reasoning, or can be read at the provider only."""
        if self.type != "reasoning" or not self.encrypted_content:
            return None
        item = {"type": self.type, "id": self.id, "summary": list(self.summary or ())}
        return ThinkingPart("openai", {**item, "encrypted_content": self.encrypted_content})


class _InputDetails(WireReply):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class _Usage(WireReply):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails = Field(default_factory=_InputDetails)


class _Incomplete(WireReply):
    reason: str | None = None


class _Error(WireReply):
    code: str = ""
    message: str = ""


class _Response(WireReply):
    model: str = ""
    status: str = "completed"
    error: _Error | None = None
    """Why it failed, with the status `failed`; the HTTP status is 200 all the same."""
    incomplete_details: _Incomplete | None = None
    output: tuple[_Item, ...]
    usage: _Usage | None = None


class ResponsesWire:
    """The Responses API through the official SDK, whose own retries are off."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self._model = model
        self._sdk = make_sdk(endpoint)
        self._create: Create = self._sdk.responses.with_raw_response.create

    async def send(self, request: Request) -> Answer:
        raw = await self._create(**request_body(self._model, request))
        return read_answer(raw.text)

    async def aclose(self) -> None:
        await self._sdk.close()


def make_sdk(endpoint: Endpoint) -> AsyncOpenAI:
    """The official client for an endpoint; it retries nothing by itself."""
    credentials = None if endpoint.base_url == BASE_URL else {"authorization": f"Bearer {endpoint.key}"}
    return AsyncOpenAI(
        api_key=endpoint.key,
        base_url=endpoint.base_url,
        max_retries=0,
        http_client=http_client(endpoint.base_url, endpoint.timeout_s, credentials=credentials),
    )


def open_openai(model: str, *, name: str, base_url: str | None, key: str, settings: Settings) -> ChatModel:
    """The Responses API of OpenAI itself, or chat completions at a base URL."""
    from llm.openai_chat import ChatWire

    endpoint = Endpoint(base_url or BASE_URL, key, settings.timeout_s)
    provider = "openai" if base_url is None else f"openai+{base_url}"
    return HttpModel(
        ResponsesWire(model, endpoint) if base_url is None else ChatWire(model, endpoint),
        name=name,
        provider=provider,
        abilities=_abilities(model)
        if base_url is None
        else Abilities(images=True, tools=True, schema=True, logprobs=True),
        settings=settings,
        price=settings.prices.find(provider, model),
        secret=key,
    )


def _abilities(model: str) -> Abilities:
    thinks = reasons(model)
    context = 272_000 if thinks else 1_000_000 if model.startswith("gpt-4.1") else 128_000
    return Abilities(
        images=True,
        tools=True,
        schema=True,
        logprobs=not thinks,
        context_tokens=context,
        max_images=500,
        computer=openai_dialect(model),
    )


def request_body(model: str, request: Request) -> dict[str, Any]:
    """The arguments of `responses.create` for a request."""
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in request.messages for item in _items(message)],
        "max_output_tokens": request.max_tokens,
        "store": False,
    }
    tools = [_tool(t) for t in request.tools]
    if request.computer is not None:
        tools.append(openai_tool(model, request.computer))
        body |= openai_body(model)
    if tools:
        body |= {"tools": tools, "tool_choice": request.tool_choice}
        body |= {"parallel_tool_calls": False} if request.one_call else {}
    if request.schema is not None:
        schema = dict(request.schema)
        body["text"] = {
            "format": {"type": "json_schema", "name": "reply", "schema": schema, "strict": is_strict(schema)}
        }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    included = [*body.get("include", ()), *(["reasoning.encrypted_content"] if reasons(model) else [])]
    if request.top_logprobs:
        body["top_logprobs"] = request.top_logprobs
        included.append("message.output_text.logprobs")
    return body | ({"include": [*dict.fromkeys(included)]} if included else {})


def reasons(model: str) -> bool:
    """Whether OpenAI's model of that name thinks before it replies."""
    return bool(_REASONING.match(model)) and not _CHAT_TUNED.search(model)


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = dict(tool.parameters)
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
        "strict": is_strict(parameters),
    }


def _items(message: Message) -> Iterator[dict[str, Any]]:
    """A message as input items: its texts and pictures together, each call and result on its own, in their order."""
    content: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart():
                kind = "output_text" if message.role == "assistant" else "input_text"
                content.append({"type": kind, "text": part.text})
            case ImagePart():
                content.append({"type": "input_image", "image_url": data_url(part), "detail": part.detail})
            case ThinkingPart():
                yield from _flush(message.role, content)
                if part.provider == "openai":
                    yield dict(part.data)
            case ToolCall() | ToolResult():
                yield from _flush(message.role, content)
                yield _call_item(part)
            case ScreenCall():
                yield from _flush(message.role, content)
                yield from (dict(item) for item in part.echo)
            case ScreenResult():
                yield from _flush(message.role, content)
                yield from openai_result(part)
    yield from _flush(message.role, content)


def _flush(role: str, content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if content:
        yield {"role": role, "content": content.copy()}
        content.clear()


def _call_item(part: ToolCall | ToolResult) -> dict[str, Any]:
    if isinstance(part, ToolResult):
        return {"type": "function_call_output", "call_id": part.call_id, "output": part.text}
    return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": dumps(part.arguments)}


def data_url(image: ImagePart) -> str:
    """A picture as a `data:` URL."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def read_answer(body: str) -> Answer:
    """The answer in a response body.

    Raises: BadReply; ProviderError if the model failed.
    """
    response = read_body(body, _Response)
    if response.status in ("failed", "cancelled"):
        raise _failure(response)
    usage = response.usage or _Usage()
    contents = [c for item in response.output if item.type == "message" for c in item.content or ()]
    calls = tuple((i.call_id, i.name, i.arguments) for i in response.output if i.type == "function_call")
    screen_calls = _screen_calls(body, response)
    refusal = "".join(c.refusal for c in contents)
    probed = [p for c in contents if c.logprobs for p in c.logprobs]
    return Answer(
        text="".join(c.text for c in contents) or refusal,
        model=response.model,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.input_tokens_details.cached_tokens,
        written_tokens=usage.input_tokens_details.cache_write_tokens,
        output_tokens=usage.output_tokens,
        stop_reason=_stop_reason(response, refused=bool(refusal), called=bool(calls or screen_calls)),
        calls=calls,
        screen_calls=screen_calls,
        logprobs=tuple(_logprob(p) for p in probed) or None,
        thinking=tuple(thought for item in response.output if (thought := item.thought)),
    )


def _screen_calls(body: str, response: _Response) -> tuple[ScreenCall, ...]:
    """Calls of the computer tool, with all that is to be sent back as it came."""
    if all(item.type != "computer_call" for item in response.output):
        return ()
    return tuple(openai_calls(json.loads(body)["output"]))


def _failure(response: _Response) -> ProviderError:
    error = response.error or _Error(code=response.status)
    kind = _FAILURES.get(error.code, Refused)
    return kind(f"the model failed: {error.code}: {error.message}")


def _stop_reason(response: _Response, *, refused: bool, called: bool) -> StopReason:
    why = response.incomplete_details.reason if response.incomplete_details else None
    if refused or why == "content_filter":
        return "refused"
    if why is not None or response.status == "incomplete":
        return "length"
    called_or_end: Literal["tool", "end"] = "tool" if called else "end"
    return called_or_end


def _logprob(p: _Logprob) -> TokenLogprob:
    return TokenLogprob(p.token, p.logprob, {t.token: t.logprob for t in p.top_logprobs})
