"""A model that answers from a script: for tests, and for a demo that needs no key. It is labelled `scripted:FILE`.

A script is JSON (`{"replies": [...]}` or just the list) or JSONL (one reply per line; blank lines and lines that start
with `#` are skipped). A reply is a string, or an object with the fields of `Reply`. Each question takes the first reply
that fits it and is not used up; a question that no reply fits is a loud error, never an empty answer.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from llm.chat import (
    Abilities,
    Completion,
    ComputerDialect,
    Request,
    SafetyCheck,
    ScreenCall,
    ScreenResult,
    StopReason,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
)
from llm.errors import (
    BadReply,
    ConfigError,
    ContextTooLong,
    LLMError,
    ProviderTimeout,
    RateLimited,
    Refused,
    Unavailable,
)
from llm.wire import check_schema, dumps

_ERRORS: dict[str, type[LLMError]] = {
    "bad_reply": BadReply,
    "context_too_long": ContextTooLong,
    "rate_limited": RateLimited,
    "refused": Refused,
    "timeout": ProviderTimeout,
    "unavailable": Unavailable,
}


class ScriptedCall(BaseModel):
    """A tool call in a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Reply(BaseModel):
    """One scripted reply and the questions it fits. Conditions that are not given always hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role: str | None = None
    """Who asks, e.g. `worker` or `judge`."""
    when: str | tuple[str, ...] = ()
    """Text that must occur in the question's messages; of several, all must."""
    unless: str | tuple[str, ...] = ()
    """Text that must not occur in them; of several, none may."""
    turn: int | None = None
    """How many assistant messages the question holds, so that parallel conversations do not disturb each other."""
    times: int = Field(default=1, ge=0)
    """How often this reply can be given; 0: without end."""
    text: str = ""
    data: Any = Field(default=None, alias="json")
    """A value sent as JSON text instead of `text`."""
    tool_calls: tuple[ScriptedCall, ...] = ()
    screen: tuple[dict[str, Any], ...] = ()
    """Actions of one call to the provider's computer tool, in its words; empty: no call."""
    checks: tuple[str, ...] = ()
    """Safety checks that the call comes with."""
    logprobs: tuple[dict[str, float], ...] | None = None
    """Per token the alternatives -> natural logarithm, the chosen one first."""
    stop_reason: StopReason | None = None
    """None: `tool` with tool calls, else `end`."""
    usage: Usage = Usage(calls=1)
    delay_s: float = Field(default=0.0, ge=0)
    """Seconds before the reply comes."""
    error: Literal["bad_reply", "context_too_long", "rate_limited", "refused", "timeout", "unavailable"] | None = None
    """Raise this error, with `text` as its message, instead of replying."""


class ScriptFile(BaseModel):
    """A script with settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replies: tuple[Reply | str, ...]
    images: bool = True
    """Whether the model claims to see pictures."""
    computer: ComputerDialect | None = None
    """Whose computer tool the model claims to have."""


Answer = Reply | Completion | LLMError | str
Scripted = Answer | Callable[[Request, str], Answer | None]
"""A reply; or, in tests, a function of request and role, asked every time, that may pass with None."""

FULL_ABILITIES = Abilities(images=True, tools=True, schema=True, logprobs=True, context_tokens=1_000_000)


class ScriptedModel:
    """Gives the replies of a script, and keeps every question in `asked`. Safe to use from many tasks and threads."""

    def __init__(
        self, replies: Sequence[Scripted], *, name: str = "scripted:inline", abilities: Abilities = FULL_ABILITIES
    ) -> None:
        self._name = name
        self._abilities = abilities
        self._replies = tuple(replies)
        self._given = Counter[int]()
        self._lock = threading.Lock()
        self.asked: list[tuple[str, Request]] = []
        """Role and question of every call so far."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return self._abilities

    def fresh(self) -> "ScriptedModel":
        """The same script from its start, e.g. one per rollout."""
        return ScriptedModel(self._replies, name=self._name, abilities=self._abilities)

    @property
    def unused(self) -> int:
        """How many finite replies were never given."""
        return sum(1 for i, r in enumerate(self._replies) if not callable(r) and _times(r) and not self._given[i])

    async def complete(self, request: Request, *, role: str) -> Completion:
        """Give the first reply that fits.

        Raises: ConfigError if none fits; BadReply if the reply breaks the asked schema; the error a reply names.
        """
        with self._lock:
            self.asked.append((role, request))
            if request.computer is not None and self._abilities.computer is None:
                raise Refused(f"{self._name} has no computer tool: set `computer` in the script")
            answer = self._next(request, role)
        match answer:
            case Completion():
                return answer
            case LLMError():
                raise answer
            case str():
                return await self._play(Reply(text=answer), request)
            case Reply():
                return await self._play(answer, request)

    async def aclose(self) -> None:
        """Nothing to free."""

    def _next(self, request: Request, role: str) -> Answer:
        for index, reply in enumerate(self._replies):
            if callable(reply):
                answer = reply(request, role)
                if answer is not None:
                    return answer
            elif self._fits(index, reply, request, role):
                self._given[index] += 1
                return reply
        raise ConfigError(self._exhausted(request, role))

    def _fits(self, index: int, reply: Answer, request: Request, role: str) -> bool:
        times = _times(reply)
        if times and self._given[index] >= times:
            return False
        return not isinstance(reply, Reply) or _matches(reply, request, role)

    async def _play(self, reply: Reply, request: Request) -> Completion:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.error is not None:
            raise _ERRORS[reply.error](reply.text or f"scripted {reply.error}")
        completion = _completion(reply, self._name, request, self._abilities.computer or "openai")
        if request.schema is not None and not completion.tool_calls:
            check_schema(completion.text, request.schema, usage=completion.usage)
        return completion

    def _exhausted(self, request: Request, role: str) -> str:
        last = request.messages[-1].text if request.messages else ""
        asked = sum(1 for r, _ in self.asked if r == role)
        return (
            f"{self._name} has no reply for question {asked} of role {role!r} (turn {_turn(request)}, "
            f"ends in {last[-120:]!r}): add one to the script"
        )


def load_script(path: Path) -> ScriptedModel:
    """The model that a script file describes.

    Raises: ConfigError naming the file and the faulty place.
    """
    try:
        script = _parse(path)
    except (OSError, ValueError) as error:
        reason = _first_fault(error) if isinstance(error, ValidationError) else str(error)
        message = f"cannot read the script {str(path)!r}: {reason}; see llm/scripted.py for its form"
        raise ConfigError(message) from error
    abilities = replace(FULL_ABILITIES, images=script.images, computer=script.computer)
    return ScriptedModel(script.replies, name=f"scripted:{path}", abilities=abilities)


def _parse(path: Path) -> ScriptFile:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return ScriptFile(replies=TypeAdapter(tuple[Reply | str, ...]).validate_python([json.loads(x) for x in lines]))
    value = json.loads(text)
    return ScriptFile.model_validate({"replies": value} if isinstance(value, list) else value)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _times(reply: Answer) -> int:
    return reply.times if isinstance(reply, Reply) else 1


def _matches(reply: Reply, request: Request, role: str) -> bool:
    if reply.role not in (None, role) or reply.turn not in (None, _turn(request)):
        return False
    text = _text_of(request)
    return all(w in text for w in _several(reply.when)) and not any(w in text for w in _several(reply.unless))


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _turn(request: Request) -> int:
    return sum(1 for m in request.messages if m.role == "assistant")


def _text_of(request: Request) -> str:
    said = (p for m in request.messages for p in m.parts if isinstance(p, (TextPart, ToolResult, ScreenResult)))
    return "\n".join(part.text for part in said)


def _completion(reply: Reply, name: str, request: Request, dialect: ComputerDialect) -> Completion:
    calls = tuple(ToolCall(f"call_{_turn(request)}_{i}", c.name, c.arguments) for i, c in enumerate(reply.tool_calls))
    return Completion(
        text=reply.text if reply.data is None else dumps(reply.data),
        model=name,
        usage=reply.usage,
        stop_reason=reply.stop_reason or ("tool" if calls or reply.screen else "end"),
        tool_calls=calls,
        screen_calls=_screen_calls(reply, dialect, _turn(request)),
        logprobs=_logprobs(reply) if request.top_logprobs else None,
    )


def _screen_calls(reply: Reply, dialect: ComputerDialect, turn: int) -> tuple[ScreenCall, ...]:
    if not reply.screen:
        return ()
    checks = tuple(SafetyCheck(f"check_{i}", message=message) for i, message in enumerate(reply.checks))
    echo = ({"type": "scripted", "actions": list(reply.screen)},)
    return (ScreenCall(f"screen_{turn}", dialect, reply.screen, checks, echo),)


def _logprobs(reply: Reply) -> tuple[TokenLogprob, ...] | None:
    if reply.logprobs is None:
        return None
    return tuple(TokenLogprob(next(iter(top)), next(iter(top.values())), top) for top in reply.logprobs if top)
