"""Asking the worker for the next action: check the reply, re-ask with the reason, give up honestly."""

import json
from dataclasses import dataclass, replace

from agent_s3.actions import Action
from agent_s3.history import without_tags
from agent_s3.parse import Rejected, parse
from agent_s3.prompt import render
from agent_s3.schema import ActionType, text_schema, tools
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally, whole
from agent_s3.types import Grounding, NativeCall, StepError, Thinking, UserMessage
from llm.chat import Abilities, ChatModel, Completion, Message, Request
from llm.errors import BadReply


@dataclass(frozen=True)
class Decision:
    """What came out of the model's replies."""

    action: Action | None
    """None: no reply could be used; `error` says why."""
    thought: str = ""
    reply: str = ""
    """The last one, verbatim."""
    replies: int = 0
    thinking: tuple[Thinking, ...] = ()
    """Of the reply that was used."""
    error: StepError | None = None
    told: tuple[UserMessage, ...] = ()
    """What of the user's messages the model was shown for the first time."""
    reflection: str | None = None
    """What the model was told of its progress before it decided."""
    reflected: str | None = None
    """What was found out beside this decision, for the next one."""
    places: tuple[Grounding, ...] | None = None
    """Points that the model itself gave; None: its phrases are to be grounded."""
    native: NativeCall | None = None
    """The call of the provider's computer tool that the action was read from."""
    fatal: Exception | None = None
    """A fault of the model's provider that ends the rollout once the step is recorded."""


def uses_tools(abilities: Abilities, *, short: bool) -> bool:
    """Small models follow a schema with examples better than tool definitions."""
    return abilities.tools and not short


async def decide(
    model: ChatModel,
    messages: tuple[Message, ...],
    actions: tuple[ActionType, ...],
    *,
    settings: AgentSettings,
    seed: int | None,
    as_tools: bool,
    tally: Tally,
) -> Decision:
    """Ask at most `settings.max_replies` times. Raises: errors of `llm.errors` other than `BadReply`."""
    reply, reason = "", ""
    for attempt in range(settings.max_replies):
        request = _request(model, messages, actions, settings, as_tools=as_tools)
        request = _with_seed(request, seed, attempt)
        try:
            completion = await tally.ask(model, request, role="worker")
        except BadReply as error:
            reply, reason = whole(error.reply), str(error)
        else:
            reply, parsed = verbatim(completion), parse(completion, actions)
            if not isinstance(parsed, Rejected):
                return Decision(parsed.action, parsed.thought, reply, attempt + 1, thinking=_thinking(completion))
            reason = parsed.reason
        messages = (*messages, *reask(reply, reason))
    return Decision(None, "", reply, settings.max_replies, error=StepError(kind="bad_reply", message=reason))


def _thinking(completion: Completion) -> tuple[Thinking, ...]:
    """Only of a tool call: there providers want it back."""
    if not completion.tool_calls:
        return ()
    return tuple(Thinking(provider=part.provider, data=part.data) for part in completion.thinking)


def verbatim(completion: Completion) -> str:
    """Text and tool calls of a reply as one text."""
    calls = [
        json.dumps({"name": c.name, "arguments": dict(c.arguments)}, ensure_ascii=False) for c in completion.tool_calls
    ]
    calls += [
        json.dumps({"id": c.id, "actions": [dict(a) for a in c.actions]}, ensure_ascii=False, default=str)
        for c in completion.screen_calls
    ]
    return whole("\n".join([*([completion.text] if completion.text else []), *calls]))


def _request(
    model: ChatModel,
    messages: tuple[Message, ...],
    actions: tuple[ActionType, ...],
    settings: AgentSettings,
    *,
    as_tools: bool,
) -> Request:
    return Request(
        messages=messages,
        tools=tools(actions) if as_tools else (),
        one_call=as_tools,
        schema=text_schema(actions) if model.abilities.schema and not as_tools else None,
        temperature=settings.temperature,
        max_tokens=settings.reply_tokens(model.abilities),
    )


def _with_seed(request: Request, seed: int | None, attempt: int) -> Request:
    """A re-ask gets its own seed, or a seeded model would repeat its mistake."""
    return request if seed is None else replace(request, seed=seed + attempt)


def reask(reply: str, reason: str) -> tuple[Message, Message]:
    return (
        Message.of("assistant", reply.strip() or "(empty reply)"),
        Message.of("user", without_tags(render("reask", reason=reason))),
    )
