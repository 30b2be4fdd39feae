"""Servers on real loopback sockets that speak the three dialects and misbehave on request."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

Dialect = Literal["responses", "chat", "messages"]
DIALECTS: tuple[Dialect, ...] = ("responses", "chat", "messages")
PATHS: Mapping[Dialect, str] = {
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
}


@dataclass(frozen=True)
class Say:
    """A proper reply, to be put into the peer's dialect."""

    text: str = "hello"
    calls: tuple[tuple[str, str], ...] = ()
    """Name and arguments as JSON text."""
    logprobs: bool = False
    thinking: str = ""
    """A signature or an encrypted thought that is to come back; empty: nothing that could be sent back."""
    length: bool = False
    """Whether the reply was cut off at the token limit."""
    input_tokens: int = 1000
    cached_tokens: int = 400
    output_tokens: int = 50


@dataclass(frozen=True)
class Fault:
    """An HTTP status with a message."""

    status: int
    message: str = "something went wrong"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Body:
    """Status 200 with this text, whatever it is."""

    text: str


@dataclass(frozen=True)
class Slow:
    """A reply that comes late."""

    seconds: float
    then: Say = field(default_factory=Say)


@dataclass(frozen=True)
class Cut:
    """A proper reply of which only the first half arrives."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed without a word."""


@dataclass(frozen=True)
class Picky:
    """Refuses the first of the named features that a question asks for; replies when it asks for none of them."""

    features: tuple[str, ...]
    then: Say = field(default_factory=Say)
    crowd: int = 1
    """Answers nobody before so many questions have come, so that none can profit from another's refusal."""


Act = Say | Fault | Body | Slow | Cut | Drop
Deed = Act | Picky


@dataclass(frozen=True)
class Seen:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class Peer:
    """A server that does the planned deeds one after the other, and the last one for ever."""

    def __init__(self, dialect: Dialect, *deeds: Deed) -> None:
        self.dialect: Dialect = dialect
        self.deeds = list(deeds) or [Say()]
        self.seen: list[Seen] = []
        self.at_once = 0
        self.most_at_once = 0
        self.asked = asyncio.Event()
        """Set with the first question."""
        self.hung_up = asyncio.Event()
        """Set when a client closed its socket while its answer was awaited."""
        self._arrival = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        talks = dict(self._talks)
        for writer in talks.values():
            writer.transport.abort()
        await asyncio.gather(*talks)

    @property
    def root(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return self.root if self.dialect == "messages" else f"{self.root}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks[talk] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.close()
        del self._talks[talk]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await _read(reader)
        self.seen.append(seen)
        self.asked.set()
        async with self._arrival:
            self._arrival.notify_all()
        deed = self.deeds[min(len(self.seen), len(self.deeds)) - 1]
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            if isinstance(deed, Picky):
                deed = await self._picked(deed, seen.body)
            return await self._do(deed, reader, writer)
        finally:
            self.at_once -= 1

    async def _do(self, deed: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        match deed:
            case Slow():
                if await self._hangs_up(reader, deed.seconds):
                    return False
                return await self._do(deed.then, reader, writer)
            case Drop():
                return False
            case Cut():
                whole = _http(200, json.dumps(render(self.dialect, Say())))
                writer.write(whole[: len(whole) - 60])
                await writer.drain()
                return False
            case Fault():
                body = json.dumps({"type": "error", "error": {"type": "e", "message": deed.message}})
                writer.write(_http(deed.status, body, deed.headers))
            case Body():
                writer.write(_http(200, deed.text))
            case Say():
                writer.write(_http(200, json.dumps(render(self.dialect, deed))))
        await writer.drain()
        return True

    async def _picked(self, deed: Picky, body: Mapping[str, Any]) -> Say | Fault:
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.seen) >= deed.crowd)
        refused = next((feature for feature in deed.features if _asks_for(body, feature)), None)
        return deed.then if refused is None else Fault(400, f"`{refused}` is not supported by this model.")

    async def _hangs_up(self, reader: asyncio.StreamReader, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                gone = await reader.read(1) == b""
        except TimeoutError:
            return False
        if gone:
            self.hung_up.set()
        return gone


def _asks_for(body: Mapping[str, Any], feature: str) -> bool:
    if feature == "tool_choice":
        return body.get("tool_choice") in ("required", {"type": "any"})
    if feature == "parallel_tool_calls":
        return feature in body or "disable_parallel_tool_use" in body.get("tool_choice", {})
    return feature in body


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(first.split()[1], headers, json.loads(body or b"{}"))


def _http(status: int, body: str, headers: Mapping[str, str] | None = None) -> bytes:
    data = body.encode()
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(data)}"]
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def render(dialect: Dialect, say: Say) -> dict[str, Any]:
    """A reply as the JSON body of a dialect."""
    makers: Mapping[Dialect, Callable[[Say], dict[str, Any]]] = {
        "responses": _responses,
        "chat": _chat,
        "messages": _messages,
    }
    return makers[dialect](say)


def _probs(say: Say) -> list[dict[str, Any]]:
    top = [{"token": "A", "logprob": -0.1, "bytes": [65]}, {"token": "B", "logprob": -2.4, "bytes": [66]}]
    return [{"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": top}] if say.logprobs else []


def _responses(say: Say) -> dict[str, Any]:
    output: list[dict[str, Any]] = [{"type": "reasoning", "id": "rs_1", "summary": []}]
    if say.thinking:
        output[0]["encrypted_content"] = say.thinking
    if say.text:
        content = {"type": "output_text", "text": say.text, "annotations": [], "logprobs": _probs(say)}
        output.append({"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [content]})
    for i, (name, arguments) in enumerate(say.calls):
        output.append(
            {"type": "function_call", "id": f"fc{i}", "call_id": f"c{i}", "name": name, "arguments": arguments}
        )
    usage = {
        "input_tokens": say.input_tokens,
        "input_tokens_details": {"cached_tokens": say.cached_tokens},
        "output_tokens": say.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": say.input_tokens + say.output_tokens,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "peer-1",
        "status": "incomplete" if say.length else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if say.length else None,
        "output": output,
        "usage": usage,
    }


def _chat(say: Say) -> dict[str, Any]:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": n, "arguments": a}}
        for i, (n, a) in enumerate(say.calls)
    ]
    message = {"role": "assistant", "content": say.text or None} | ({"tool_calls": calls} if calls else {})
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "length" if say.length else "tool_calls" if calls else "stop",
        "logprobs": {"content": _probs(say)} if say.logprobs else None,
    }
    usage = {
        "prompt_tokens": say.input_tokens,
        "completion_tokens": say.output_tokens,
        "prompt_tokens_details": {"cached_tokens": say.cached_tokens},
    }
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "peer-1",
        "choices": [choice],
        "usage": usage,
    }


def _messages(say: Say) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "", "signature": say.thinking}]
    content += [{"type": "text", "text": say.text}] if say.text else []
    for i, (name, arguments) in enumerate(say.calls):
        content.append({"type": "tool_use", "id": f"c{i}", "name": name, "input": json.loads(arguments)})
    usage = {
        "input_tokens": say.input_tokens - say.cached_tokens,
        "cache_read_input_tokens": say.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": say.output_tokens,
    }
    reason = "max_tokens" if say.length else "tool_use" if say.calls else "end_turn"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "peer-1",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }
