"""The worker's messages, built afresh from the recorded steps: the same live and after a resume. Pure.

All text is kept, and the newest K pictures. The element list is kept only for the newest observation, since its
numbers mean nothing later. Only when the model's context would overflow are the oldest steps told in a line each.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent_s3.actions import Action, SaveToKnowledge
from agent_s3.elements import squeeze
from agent_s3.prompt import render
from agent_s3.schema import THOUGHT
from agent_s3.types import FrameRef, Step
from agent_s3.words import action_words, code_words, delta_words
from llm.chat import ImagePart, Message, Part, TextPart, ToolCall, ToolResult

_CHARACTERS_PER_TOKEN = 3.2
"""On the safe side for English and code."""
_MESSAGE_SHOWN = 1000


@dataclass(frozen=True)
class Now:
    """What the model is told of the present, beside the outcome of its last action."""

    state: str
    """Elements, windows and notes, rendered."""
    reflection: str | None = None
    picture: str | None = None
    """sha256 of the current screen; None: no picture is shown."""


def messages(
    *,
    system: str,
    task: str,
    steps: Sequence[Step],
    now: Now,
    pictures: Mapping[str, bytes],
    images_kept: int,
    as_tools: bool,
    context_tokens: int,
    examples: Sequence[Message] = (),
) -> tuple[Message, ...]:
    """The conversation so far; its last message asks for the next action.

    `pictures` holds PNG files by sha256; a picture that is not in it is left out, and so are all but the newest
    `images_kept` turns' pictures.
    """
    steps = [step for step in steps if not (step.error and step.error.kind == "model" and step.action is None)]
    room = int(context_tokens * _CHARACTERS_PER_TOKEN * 0.8) - len(system) - len(now.state)
    told = _first_told(steps, room=room - sum(len(m.text) for m in examples))
    out = [Message.of("system", TextPart(system, cache=True)), *examples]
    opening: list[Part] = [TextPart(_opening(task, steps[:told]))]
    pictured = len(steps) + 1 - images_kept
    for index, step in enumerate(steps[told:], start=told):
        before = step.before.sha256 if step.before and index >= pictured else None
        out.append(Message("user", (*opening, *_reflection(step.reflection), *_picture(before, pictures))))
        out.append(_assistant(step, as_tools=as_tools))
        opening = [_outcome(step, as_tools=as_tools)]
    latest = (*opening, *_reflection(now.reflection), TextPart(now.state), *_picture(now.picture, pictures))
    out.append(Message("user", latest))
    return tuple(out)


def pictures_wanted(steps: Sequence[Step], now: FrameRef | None, *, keep: int) -> dict[str, FrameRef]:
    """The pictures of the newest `keep` turns, the current one included, by sha256."""
    turns = [step.before for step in steps] + [now]
    return {ref.sha256: ref for ref in turns[-keep:] if ref is not None}


def reply_text(action: Action, thought: str) -> str:
    """A decided action as the JSON text that a model would have written for it."""
    fields = {**action.model_dump(mode="json", exclude_defaults=True), "action": action.action}
    return json.dumps({THOUGHT: thought, "action": fields.pop("action"), **fields}, ensure_ascii=False)


def outcome_words(step: Step) -> str:
    """What came of a step, for the next message."""
    noted = isinstance(step.action, SaveToKnowledge) and step.error is None
    parts = ["Noted."] if noted else []
    if step.error is not None:
        parts.append(render("problem", kind=step.error.kind, message=squeeze(step.error.message, _MESSAGE_SHOWN)))
    if step.code is not None:
        parts.append(code_words(step.code))
    idle = noted or (step.error is not None and step.error.nothing_done)
    if step.delta is not None and not (idle and step.delta.empty):
        parts.append("What changed:\n" + delta_words(step.delta))
    return "\n".join(parts) or "No change could be observed."


def _opening(task: str, untold: Sequence[Step]) -> str:
    if not untold:
        return f"Task: {task}"
    return f"Task: {task}\nEarlier steps:\n" + "\n".join(_one_line(step) for step in untold)


def _one_line(step: Step) -> str:
    did = action_words(step.action) if step.action else "no usable reply"
    return f"{step.index + 1}. {did}" + (f" ({step.error.kind})" if step.error else "")


def _first_told(steps: Sequence[Step], *, room: int) -> int:
    """Index of the oldest step that still fits into `room` characters in full."""
    for index in range(len(steps) - 1, -1, -1):
        room -= len(steps[index].thought) + len(steps[index].reply) // 2 + len(outcome_words(steps[index])) + 100
        if room < 0:
            return index + 1
    return 0


def _assistant(step: Step, *, as_tools: bool) -> Message:
    if step.action is None:
        return Message.of("assistant", step.reply.strip() or "(no usable reply)")
    if not as_tools:
        return Message.of("assistant", reply_text(step.action, step.thought))
    arguments = {THOUGHT: step.thought, **step.action.model_dump(mode="json", exclude_defaults=True)}
    arguments.pop("action", None)
    return Message("assistant", (ToolCall(_call_id(step), step.action.action, arguments),))


def _outcome(step: Step, *, as_tools: bool) -> Part:
    words = outcome_words(step)
    return ToolResult(_call_id(step), words) if as_tools and step.action is not None else TextPart(words)


def _call_id(step: Step) -> str:
    return f"step_{step.index}"


def _reflection(text: str | None) -> tuple[Part, ...]:
    return (TextPart(f"Reflection on your progress:\n{text}"),) if text else ()


def _picture(sha256: str | None, pictures: Mapping[str, bytes]) -> tuple[Part, ...]:
    return (ImagePart(pictures[sha256], detail="high"),) if sha256 is not None and sha256 in pictures else ()
