"""What all models behind HTTP share: limits, retries, errors, cost, and the check of what comes back."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from llm.budget import upper_estimate
from llm.chat import (
    Abilities,
    Completion,
    ImagePart,
    Message,
    Request,
    ScreenCall,
    ScreenResult,
    StopReason,
    ThinkingPart,
    TokenLogprob,
    ToolCall,
    Usage,
)
from llm.errors import BadReply, LLMError, ProviderError, ProviderTimeout, Refused
from llm.faults import of_exception, redact
from llm.pricing import Price
from llm.retry import retrying
from llm.settings import Settings
from llm.wire import check_schema, object_of

_log = logging.getLogger(__name__)


class Answer(BaseModel):
    """What came over the wire, in one form for all protocols."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    model: str
    input_tokens: int | None
    """Cached and written ones included; None: the server did not say."""
    cached_tokens: int = 0
    written_tokens: int = 0
    """Input written to the provider's cache."""
    output_tokens: int | None
    stop_reason: StopReason
    calls: tuple[tuple[str, str, str], ...] = ()
    """Id, name and arguments as JSON text of each tool call."""
    screen_calls: tuple[ScreenCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    thinking: tuple[ThinkingPart, ...] = ()


class Wire(Protocol):
    """One protocol to one server: puts a request on the wire and reads the answer."""

    async def send(self, request: Request) -> Answer:
        """Ask once. Raises: the SDK's own errors, or BadReply for a body that cannot be read."""
        ...

    async def aclose(self) -> None: ...


class WireReply(BaseModel):
    """Base of the bodies that we read: only what we use, anything more is let pass."""

    model_config = ConfigDict(frozen=True, extra="ignore")


R = TypeVar("R", bound=WireReply)


def read_body(body: str, kind: type[R]) -> R:
    """A response body as `kind`.

    Raises: BadReply for what is not JSON, or not of that form.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the body"
        raise BadReply(f"the server's answer cannot be read: {where}: {fault['msg']}", reply=body[:2000]) from error


Create = Callable[..., Awaitable[Any]]
"""An SDK's `with_raw_response...create`; its own type is overloads that a body made as a dict fits none of."""


class HttpModel:
    """A `ChatModel` over one wire."""

    def __init__(
        self,
        wire: Wire,
        *,
        name: str,
        provider: str,
        abilities: Abilities,
        settings: Settings,
        price: Price | None,
        secret: str = "",
    ) -> None:
        self._wire = wire
        self._name = name
        self._provider = provider
        self._abilities = abilities
        self._settings = settings
        self._price = price
        self._secrets = (secret,)
        self._refused: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return self._abilities

    def __repr__(self) -> str:
        return f"<model {self._name}>"

    async def complete(self, request: Request, *, role: str) -> Completion:
        """Ask, within the provider's concurrency limit, and again after passing faults.

        Raises: any of `llm.errors`.
        """
        if not self._abilities.images and any(isinstance(p, ImagePart) for m in request.messages for p in m.parts):
            raise Refused(f"{self._name} cannot see pictures: use a model that can, or the observation mode a11y")
        if self._abilities.computer is None and _uses_computer(request):
            raise Refused(f"{self._name} has no computer tool that we know: use --actions own, or another model")
        completion = await self._often(request)
        usage = completion.usage
        _log.debug("%s -> %s: %d in, %d out", role, self._name, usage.input_tokens, usage.output_tokens)
        return completion

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _often(self, request: Request) -> Completion:
        lost = 0

        async def ask() -> Completion:
            nonlocal lost
            try:
                return await self._once(request)
            except ProviderError as error:
                lost += error.unanswered
                raise
            except asyncio.CancelledError:  # by the deadline
                lost += 1
                raise

        try:
            return replace(await retrying(ask, self._settings.retry), lost=lost)
        except LLMError as error:
            error.lost = lost
            raise

    async def _once(self, request: Request) -> Completion:
        async with self._settings.limits.slot(self._provider):
            started = time.monotonic()
            answer = await self._conceding(request)
            return self._completion(answer, request, time.monotonic() - started)

    async def _conceding(self, request: Request) -> Answer:
        """Ask without what the model is known to refuse, and again without each feature that it refuses by name.

        What counts is what this question asked for: another one may have learnt of the refusal in the meantime.
        """
        while True:
            asked = concede(request, self._refused)
            try:
                return await self._send(asked)
            except Refused as error:
                refused = what_it_refused(str(error), asked)
                if not refused:
                    raise
                self._refused |= refused

    async def _send(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._wire.send(request)
        except TimeoutError as error:
            message = f"{self._name}: no answer in {self._settings.timeout_s:g} s"
            raise ProviderTimeout(message, unanswered=True) from error
        except Exception as error:
            ours = of_exception(error, name=self._name, secrets=self._secrets)
            if ours is None or ours is error:
                raise
            clean = redact(str(error), self._secrets) == str(error)
            raise ours from (error if clean else None)  # a cause with a key in it would show in a traceback

    def _completion(self, answer: Answer, request: Request, seconds: float) -> Completion:
        usage = self._usage(answer, request, seconds)
        calls = tuple(
            ToolCall(id_, name, object_of(args, what=f"the arguments of {name!r}", usage=usage))
            for id_, name, args in answer.calls
        )
        text, stopped = _stopped(answer.text, request.stop)
        _check(text, answer, calls, request, usage)
        return Completion(
            text=text,
            model=answer.model,
            usage=usage,
            stop_reason="stop" if stopped else answer.stop_reason,
            tool_calls=calls,
            screen_calls=answer.screen_calls,
            logprobs=answer.logprobs,
            thinking=answer.thinking,
        )

    def _usage(self, answer: Answer, request: Request, seconds: float) -> Usage:
        """What the answer took. Where the server does not say, it is the most that it can be: unknown is not 0."""
        most = upper_estimate(request, self._price)
        output_tokens = request.max_tokens if answer.output_tokens is None else answer.output_tokens
        input_tokens = most.tokens - request.max_tokens if answer.input_tokens is None else answer.input_tokens
        usd = None
        if self._price is not None:
            usd = self._price.usd(
                input_tokens=input_tokens,
                cached_tokens=answer.cached_tokens,
                output_tokens=output_tokens,
                written_tokens=answer.written_tokens,
            )
        return Usage(
            calls=1,
            input_tokens=input_tokens,
            cached_tokens=answer.cached_tokens,
            output_tokens=output_tokens,
            usd=usd,
            seconds=seconds,
        )


def _uses_computer(request: Request) -> bool:
    parts = (part for message in request.messages for part in message.parts)
    return request.computer is not None or any(isinstance(part, ScreenCall | ScreenResult) for part in parts)


def _stopped(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """`text` up to the first stop sequence, for servers that know none; and whether there was one."""
    ends = [end for end in (text.find(s) for s in stop) if end >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def _check(text: str, answer: Answer, calls: tuple[ToolCall, ...], request: Request, usage: Usage) -> None:
    if answer.stop_reason == "refused" or calls or answer.screen_calls:
        return
    if not text.strip() and not request.stop:
        why = ", all of max_tokens went elsewhere" if answer.stop_reason == "length" else ""
        raise BadReply(f"the reply is empty{why}", usage=usage)
    if request.tool_choice == "required" and request.tools:
        raise BadReply("the reply calls no tool, and one was required", reply=text, usage=usage)
    if request.schema is not None and answer.stop_reason == "length":
        raise BadReply(f"the reply was cut off at max_tokens={request.max_tokens}", reply=text, usage=usage)
    if request.schema is not None:
        check_schema(text, request.schema, usage=usage)


_CONCESSIONS: Mapping[str, dict[str, Any]] = {
    "temperature": {"temperature": None},
    "tool_choice": {"tool_choice": "auto"},
    "logprobs": {"top_logprobs": 0},
    "parallel_tool": {"one_call": False},
}
"""What newer models refuse with a 400 that names it, and what is asked instead; learnt once per model.

Source: https://platform.claude.com/docs/en/models/sonnet-5-5/migration-guide (sampling parameters, forced tool choice)
"""


def what_it_refused(message: str, request: Request) -> frozenset[str]:
    """Which of the request's own features a refusal names."""
    asked = {
        "temperature": request.temperature is not None,
        "tool_choice": request.tool_choice == "required",
        "logprobs": request.top_logprobs > 0,
        "parallel_tool": request.one_call,
        "thinking": _thinks(request),
        "reasoning": _thinks(request),
    }
    return frozenset(name for name, was_asked in asked.items() if was_asked and name in message)


def concede(request: Request, refused: frozenset[str]) -> Request:
    """The request without what the model refuses."""
    changes = {field: value for name in sorted(refused) for field, value in _CONCESSIONS.get(name, {}).items()}
    if refused & _THINKING:
        changes["messages"] = tuple(_without_thinking(message) for message in request.messages)
    return replace(request, **changes) if changes else request


_THINKING = frozenset({"thinking", "reasoning"})


def _thinks(request: Request) -> bool:
    return any(isinstance(part, ThinkingPart) for message in request.messages for part in message.parts)


def _without_thinking(message: Message) -> Message:
    return replace(message, parts=tuple(part for part in message.parts if not isinstance(part, ThinkingPart)))


@dataclass(frozen=True)
class Endpoint:
    """Where a wire leads."""

    base_url: str
    key: str
    timeout_s: float

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"
