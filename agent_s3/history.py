"""The worker's messages, built afresh from the recorded steps: the same live and after a resume. Pure.

In the order that providers' caches want: rules and task first, then what happened, growing at its end, and last the
state of the desktop, which is shown once only, since the numbers of its elements mean nothing later. All text is kept,
and the newest pictures, as far as the model's context goes: see `agent_s3.context`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent_s3 import context
from agent_s3.actions import Action, SaveToKnowledge
from agent_s3.elements import squeeze
from agent_s3.prompt import render
from agent_s3.schema import THOUGHT
from agent_s3.types import FrameRef, Step, UserAnswer, UserMessage
from agent_s3.words import action_words, code_words, delta_words
from llm.chat import ImagePart, Message, Part, TextPart, ThinkingPart, ToolCall, ToolResult

_MESSAGE_SHOWN = 1000
_USER = "user_message"
"""Tag around what the user says; nothing else that the model reads can hold it."""
_TAG = re.compile(rf"<(?=\s*/?\s*{_USER})", re.IGNORECASE)


@dataclass(frozen=True)
class Hints:
    """What the model is told beside what it sees."""

    reflection: str | None = None
    told: tuple[UserMessage, ...] = ()
    """By the user, since the last decision."""

    @property
    def parts(self) -> tuple[Part, ...]:
        thoughts = (f"Reflection on your progress:\n{without_tags(self.reflection)}",) if self.reflection else ()
        said = (f"<{_USER}>\n{without_tags(message.text)}\n</{_USER}>" for message in self.told)
        return tuple(TextPart(text) for text in (*thoughts, *said))


@dataclass(frozen=True)
class Now:
    """What the model is told of the present, beside the outcome of its last action."""

    state: str
    """Elements, windows and notes, rendered."""
    hints: "Hints"
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

    `pictures` holds PNG files by sha256; a picture that is not in it is left out, and so are those of turns before the
    newest `images_kept`, some a few steps before they would have to be. `context_tokens` is what all of it may take.
    """
    steps = [step for step in steps if not (step.error and step.error.kind == "model" and step.action is None)]
    head = [Message.of("system", TextPart(system, cache=True)), *examples]
    turns = [_Turn.of(step, as_tools=as_tools) for step in steps]
    each = _picture_tokens(steps, pictures)
    kept = context.pictures_that_fit(images_kept, each=each, context=context_tokens)
    pictured = context.first_pictured(len(steps) + 1, kept)
    shown = each * (len(steps) + 1 - pictured)
    told = _first_told(turns, head, task, now, context_tokens, pictures=shown)
    opening: tuple[Part, ...] = (TextPart(_opening(task, steps[:told], context_tokens)),)
    out: list[Message] = []
    for index, turn in enumerate(turns[told:], start=told):
        shown = turn.picture if index >= pictured else None
        out += [Message("user", (*opening, *turn.said, *_picture(shown, pictures))), turn.decided]
        opening = (turn.outcome,)
    newest = Message("user", (*opening, *now.hints.parts, *_picture(now.picture, pictures)))
    return (*head, *_marked([*out, newest], state=now.state))


@dataclass(frozen=True)
class _Turn:
    """A step as it is told: what the model was shown before it decided, the decision, and what came of it."""

    said: tuple[Part, ...]
    picture: str | None
    decided: Message
    outcome: Part

    @classmethod
    def of(cls, step: Step, *, as_tools: bool) -> "_Turn":
        return cls(
            said=Hints(step.reflection, step.told).parts,
            picture=step.before.sha256 if step.before else None,
            decided=_assistant(step, as_tools=as_tools),
            outcome=_outcome(step, as_tools=as_tools),
        )

    @property
    def tokens(self) -> int:
        return context.message_tokens([Message("user", (*self.said, self.outcome)), self.decided])


def _picture_tokens(steps: Sequence[Step], pictures: Mapping[str, bytes]) -> int:
    """Of one screenshot; 0 where none are shown."""
    sizes = (context.picture_tokens(s.before.width, s.before.height) for s in steps if s.before)
    return max(sizes, default=0) if pictures else 0


def _first_told(
    turns: Sequence[_Turn], head: Sequence[Message], task: str, now: Now, context_tokens: int, *, pictures: int
) -> int:
    """Index of the oldest step that is told in full; `pictures` is what those shown take, in tokens."""
    fixed = context.message_tokens([*head, Message.of("user", task)])
    state = context.text_tokens(now.state) + context.message_tokens([Message("user", now.hints.parts)])
    room = context.room_for_steps(context_tokens, fixed=fixed, state=state, pictures=pictures)
    return context.first_told([turn.tokens for turn in turns], room)


def _marked(turns: Sequence[Message], *, state: str) -> list[Message]:
    """The turns with the state at their end, and a mark where a cache can end: task, last turn and this one.

    What comes before the state is the beginning of the next question; the state is not.
    """
    out = list(turns)
    for index in {0, max(0, len(out) - 3), len(out) - 1}:
        last = out[index].parts[-1] if out[index].parts else None
        if last is not None and not isinstance(last, ToolCall | ThinkingPart):
            out[index] = Message("user", (*out[index].parts[:-1], replace(last, cache=True)))
    out[-1] = Message("user", (*out[-1].parts, TextPart(without_tags(state))))
    return out


def pictures_wanted(steps: Sequence[Step], now: FrameRef | None, *, keep: int) -> dict[str, FrameRef]:
    """The pictures that `messages` may show, the current one included, by sha256."""
    turns = [step.before for step in steps] + [now]
    return {ref.sha256: ref for ref in turns[context.first_pictured(len(turns), keep) :] if ref is not None}


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
    if step.approval is not None and step.approval.allowed and step.approval.reason:
        parts.append(f"The user allowed it and said: {squeeze(step.approval.reason, _MESSAGE_SHOWN)}")
    if step.code is not None:
        parts.append(code_words(step.code))
    idle = noted or step.answer is not None or (step.error is not None and step.error.nothing_done)
    if step.delta is not None and not (idle and step.delta.empty):
        parts.append("What changed:\n" + delta_words(step.delta))
    return "\n".join(parts) or ("" if step.answer else "No change could be observed.")


def _answer_words(answer: UserAnswer | None) -> str:
    if answer is None:
        return ""
    if answer.text is None:
        return f"The user did not answer within {answer.seconds:.0f} s. Go on by your own best judgement."
    return f"The user answered:\n<{_USER}>\n{without_tags(answer.text)}\n</{_USER}>"


def _opening(task: str, untold: Sequence[Step], context_tokens: int) -> str:
    if not untold:
        return f"Task: {task}"
    lines = context.lines_that_fit([_one_line(step) for step in untold], context_tokens)
    return without_tags(f"Task: {task}\nEarlier steps:\n" + "\n".join(lines))


def _one_line(step: Step) -> str:
    did = action_words(step.action) if step.action else "no usable reply"
    return f"{step.index + 1}. {did}" + (f" ({step.error.kind})" if step.error else "")


def _assistant(step: Step, *, as_tools: bool) -> Message:
    if step.action is None:
        return Message.of("assistant", step.reply.strip() or "(no usable reply)")
    if not as_tools:
        return Message.of("assistant", reply_text(step.action, step.thought))
    arguments = {THOUGHT: step.thought, **step.action.model_dump(mode="json", exclude_defaults=True)}
    arguments.pop("action", None)
    thought = (ThinkingPart(part.provider, part.data) for part in step.thinking)
    return Message("assistant", (*thought, ToolCall(_call_id(step), step.action.action, arguments)))


def _outcome(step: Step, *, as_tools: bool) -> Part:
    words = f"{without_tags(outcome_words(step))}\n{_answer_words(step.answer)}".strip()
    return ToolResult(_call_id(step), words) if as_tools and step.action is not None else TextPart(words)


def _call_id(step: Step) -> str:
    return f"step_{step.index}"


def without_tags(text: str) -> str:
    """Text that may hold what a desktop or a program said, so that it cannot pass for a message of the user."""
    return _TAG.sub("‹", text)


def _picture(sha256: str | None, pictures: Mapping[str, bytes]) -> tuple[Part, ...]:
    return (ImagePart(pictures[sha256], detail="high"),) if sha256 is not None and sha256 in pictures else ()
