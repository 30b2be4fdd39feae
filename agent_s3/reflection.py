"""Reflection on demand: a second look when steps change nothing, repeat themselves or fail."""

from collections.abc import Sequence

from agent_s3.actions import SaveToKnowledge, Wait
from agent_s3.history import outcome_words
from agent_s3.prompt import render
from agent_s3.settings import ReflectionMode, answer_tokens
from agent_s3.tally import Tally
from agent_s3.types import Step
from agent_s3.words import action_words
from llm.chat import ChatModel, ImagePart, Message, Part, Request, TextPart
from llm.errors import BadReply

_LOOK_BACK = 4


def trouble(steps: Sequence[Step]) -> str | None:
    """What went wrong lately, in a sentence for the model; None: nothing did. Pure."""
    last = steps[-1] if steps else None
    if last is None or last.action is None:  # a bad reply carries its own reason
        return None
    again = [s for s in steps[-_LOOK_BACK:] if s.action == last.action]
    if len(again) >= 2 and not isinstance(last.action, Wait | SaveToKnowledge):
        did = f"You did this {len(again)} times: {action_words(last.action)}."
        return f"{did} Do something else, or done if the result is there."
    if last.error is not None and len(steps) > 1 and steps[-2].error is not None:
        return "Your last two actions failed. Do it another way."
    if _changed_nothing(last) and len(steps) > 1 and _changed_nothing(steps[-2]):
        return "Your last two actions changed nothing. Do something else."
    return None


def _changed_nothing(step: Step) -> bool:
    idle = step.action is None or isinstance(step.action, Wait | SaveToKnowledge)
    return step.delta is not None and step.delta.empty and not idle


async def reflect(
    model: ChatModel,
    task: str,
    steps: Sequence[Step],
    *,
    mode: ReflectionMode,
    short: bool,
    picture: bytes | None,
    tally: Tally,
) -> str | None:
    """What to tell the worker of its progress; None: nothing. A small model is only told the plain facts.

    Raises: errors of `llm.errors` other than `BadReply`.
    """
    found = trouble(steps)
    if mode == "off" or not steps or (mode == "auto" and found is None):
        return None
    if short:
        return found
    try:
        request = _request(task, steps, picture, answer_tokens(model.abilities))
        completion = await tally.ask(model, request, role="reflection")
    except BadReply:
        return found
    return completion.text.strip() or found


def _request(task: str, steps: Sequence[Step], picture: bytes | None, most_tokens: int) -> Request:
    lines = [_told(step) for step in steps[-_LOOK_BACK * 2 :]]
    text = render("reflection", task=task, steps=lines, picture=picture is not None)
    parts: list[Part] = [TextPart(text), *([ImagePart(picture)] if picture else [])]
    return Request(messages=(Message("user", tuple(parts)),), max_tokens=most_tokens)


def _told(step: Step) -> str:
    did = action_words(step.action) if step.action else "no usable reply"
    return f"{step.index + 1}. {did}. Thought: {step.thought[:500]}\n{outcome_words(step)}"
