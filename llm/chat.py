"""The seam to language models: messages in, one completion out, with what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
Json = Mapping[str, Any]
"""A JSON object, for schemas and tool arguments."""


@dataclass(frozen=True)
class TextPart:
    text: str
    cache: bool = False
    """Ends a prefix worth caching, where the provider caches on request; ignored elsewhere."""


@dataclass(frozen=True)
class ImagePart:
    """A picture as file bytes. Never written to JSON: records name it by sha256."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg", "image/webp"] = "image/png"
    detail: Literal["auto", "low", "high"] = "auto"
    cache: bool = False
    """As of a text part."""


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a tool. `arguments` is the parsed object; unparsable ones raise `BadReply` in the client."""

    id: str
    name: str
    arguments: Json


@dataclass(frozen=True)
class ToolResult:
    """Answer to a tool call, sent in a user message."""

    call_id: str
    text: str
    cache: bool = False
    """As of a text part."""


@dataclass(frozen=True)
class ThinkingPart:
    """What a model thought before its reply, signed or encrypted by its provider; means nothing to any other.

    In an assistant message it goes back as it came, so that the model need not think the same again.
    """

    provider: Literal["anthropic", "openai"]
    data: Json
    """The provider's own block or item."""


ComputerDialect = Literal["openai", "anthropic"]
"""Whose words the actions of a computer tool are in."""


@dataclass(frozen=True)
class SafetyCheck:
    """A provider's doubt about a call, to be acknowledged by somebody before the call is answered."""

    id: str
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class ScreenCall:
    """The model asks for input on a screen, by its provider's own computer tool."""

    id: str
    dialect: ComputerDialect
    actions: tuple[Json, ...]
    """In the provider's words, to be done in order; points are pixels of the picture it was shown last."""
    checks: tuple[SafetyCheck, ...] = ()
    echo: tuple[Json, ...] = ()
    """Wire items that are sent back as they came, before the call's result."""


@dataclass(frozen=True)
class ScreenResult:
    """Answer to a `ScreenCall`: the screen afterwards."""

    call_id: str
    image: ImagePart
    text: str = ""
    acknowledged: tuple[SafetyCheck, ...] = ()


Part = TextPart | ImagePart | ToolCall | ToolResult | ThinkingPart | ScreenCall | ScreenResult


@dataclass(frozen=True)
class Message:
    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, *parts: Part | str) -> "Message":
        """A message from parts, where a plain string is a text part."""
        return cls(role, tuple(TextPart(p) if isinstance(p, str) else p for p in parts))

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(p.text for p in self.parts if isinstance(p, TextPart))


@dataclass(frozen=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Json


@dataclass(frozen=True)
class ComputerTool:
    """The provider's own tool for operating a screen."""

    width: int
    """Of the pictures of the screen that are sent, in pixels."""
    height: int


@dataclass(frozen=True)
class Request:
    """One question to a model."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    computer: ComputerTool | None = None
    """Offer the provider's computer tool as well; only where the model's abilities say that it has one."""
    tool_choice: Literal["auto", "required", "none"] = "auto"
    one_call: bool = False
    """Ask the provider for at most one tool call; a reply may hold several all the same."""
    schema: Json | None = None
    """JSON Schema that the reply text must satisfy; None: free text."""
    temperature: float | None = None
    """None: the provider's default. Dropped for models that refuse one."""
    max_tokens: int = 4096
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    """How many alternatives per token to return; 0: no logprobs."""
    seed: int | None = None
    """Asked of providers that take one; None: none sent."""


class Usage(BaseModel):
    """Tokens and money of one or more calls; adds up with `+`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(default=0, ge=0)
    input_tokens: int = Field(default=0, ge=0)
    """All input tokens, cached ones included."""
    cached_tokens: int = Field(default=0, ge=0)
    """Input read from the provider's cache, as the provider counts it."""
    output_tokens: int = Field(default=0, ge=0)
    """Reasoning tokens included."""
    usd: float | None = 0.0
    """None: the price of at least one call is unknown."""
    seconds: float = Field(default=0.0, ge=0)

    @property
    def cached_share(self) -> float:
        """Of the input tokens, those that were read from a cache; 0 without input."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class TokenLogprob:
    token: str
    logprob: float
    """Natural logarithm."""
    top: Mapping[str, float] = field(default_factory=dict[str, float])
    """Alternatives at this position, the chosen one included: token -> natural logarithm."""


StopReason = Literal["end", "length", "tool", "stop", "refused"]


@dataclass(frozen=True)
class Completion:
    """A model's reply."""

    text: str
    model: str
    """What the provider says it ran."""
    usage: Usage
    stop_reason: StopReason = "end"
    tool_calls: tuple[ToolCall, ...] = ()
    screen_calls: tuple[ScreenCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    """None: not asked for or not given."""
    thinking: tuple[ThinkingPart, ...] = ()
    """To be sent back with this reply, before its text and calls."""
    lost: int = 0
    """Earlier tries that were sent and not answered; they may have been billed and are not in `usage`."""


@dataclass(frozen=True)
class Abilities:
    """What a model can take and give."""

    images: bool = False
    tools: bool = False
    schema: bool = False
    logprobs: bool = False
    context_tokens: int = 32_768
    max_images: int = 0
    """Most images in one request; 0: no known limit."""
    computer: ComputerDialect | None = None
    """Whose computer tool it has; None: none."""


class ChatModel(Protocol):
    """A language model behind one call. Safe to use from many tasks of one event loop."""

    @property
    def name(self) -> str:
        """The spec it was made from, e.g. `openai:gpt-5`."""
        ...

    @property
    def abilities(self) -> Abilities: ...

    async def complete(self, request: Request, *, role: str) -> Completion:
        """Ask once; retries of passing faults happen inside.

        `role` names who asks (`worker`, `code`, `reflection`, `narrator`, `judge`), for accounts and limits.
        Raises: any of `llm.errors`.
        """
        ...

    async def aclose(self) -> None:
        """Free sockets and child processes; idempotent."""
        ...
