"""The conversation with a worker that uses its provider's own computer tool, built from the recorded steps. Pure.

A call is answered with the screen after the last of its actions. Calls whose screen is no longer among the newest
pictures are told in words: such an answer cannot do without a picture.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from agent_s3.actions import Look
from agent_s3.history import Hints, Now, outcome_words
from agent_s3.types import NativeCall, Step
from agent_s3.words import action_words
from llm.chat import ImagePart, Message, Part, SafetyCheck, ScreenCall, ScreenResult, TextPart, ToolCall, ToolResult
from vm_pool.types import Box

KEPT = 60
"""So many turns are told in full; older ones in a line each."""


def picture_key(sha256: str, part: Box | None) -> str:
    """Name of a picture among those that are sent: a whole frame, or an enlarged part of it."""
    return sha256 if part is None else f"{sha256}:{part.x},{part.y},{part.width},{part.height}"


def turns(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps by the reply that asked for them: a call of several actions makes several steps."""
    keyed = groupby(steps, key=lambda step: ("call", step.native.id) if step.native else ("step", str(step.index)))
    return [list(group) for _, group in keyed]


def shown_part(turn: Sequence[Step]) -> Box | None:
    """The part of the screen that the turn's last action asked to see; None: all of it."""
    last = turn[-1]
    return last.action.part if isinstance(last.action, Look) and last.error is None else None


def native_messages(
    *, system: str, task: str, steps: Sequence[Step], now: Now, pictures: Mapping[str, bytes], kept: int = KEPT
) -> tuple[Message, ...]:
    """The conversation so far; its last message asks for the next action.

    `pictures` holds PNG files by `picture_key`; a picture that is not in it is left out. `kept` turns are told in full.
    """
    steps = [step for step in steps if not (step.error and step.error.kind == "model" and step.action is None)]
    groups = turns(steps)
    old, recent = groups[:-kept], groups[-kept:]
    before = recent[0][0].before if recent else None
    first = before.sha256 if before else None if recent else now.picture
    opening: list[Part] = [TextPart(_task(task, old)), *_picture(first, pictures)]
    out = [Message.of("system", TextPart(system, cache=True))]
    for number, turn in enumerate(recent):
        following = recent[number + 1][0].before if number + 1 < len(recent) else None
        after = following.sha256 if following else now.picture if number + 1 == len(recent) else None
        shown = pictures.get(picture_key(after, shown_part(turn))) if after else None
        out += [Message("user", (*opening, *Hints(turn[0].reflection, turn[0].told).parts)), _said(turn, shown)]
        opening = _outcome(turn, shown)
    out.append(Message("user", (*opening, *now.hints.parts, TextPart(now.state))))
    return tuple(out)


def _task(task: str, old: Sequence[Sequence[Step]]) -> str:
    lines = [
        f"{s.index + 1}. {action_words(s.action) if s.action else 'no usable reply'}" for turn in old for s in turn
    ]
    return f"Task: {task}" + ("\nEarlier steps:\n" + "\n".join(lines) if lines else "")


def _said(turn: Sequence[Step], shown: bytes | None) -> Message:
    first = turn[0]
    if first.action is None:
        return Message.of("assistant", first.reply.strip() or "(no usable reply)")
    if first.native is not None and shown is not None:
        thought = [TextPart(first.thought)] if first.thought else []
        return Message("assistant", (*thought, _call(first.native)))
    if first.native is not None:
        done = "; ".join(action_words(step.action) for step in turn if step.action)
        return Message.of("assistant", f"{first.thought}\n({done})".strip())
    return Message("assistant", (ToolCall(_call_id(first), first.action.action, _arguments(first)),))


def _arguments(step: Step) -> dict[str, object]:
    assert step.action is not None
    fields = step.action.model_dump(mode="json", exclude_defaults=True)
    return {"thought": step.thought, **{name: value for name, value in fields.items() if name != "action"}}


def _outcome(turn: Sequence[Step], shown: bytes | None) -> list[Part]:
    """What came of a turn, with the screen afterwards where that is shown."""
    words = "\n".join(dict.fromkeys(outcome_words(step) for step in turn))
    first = turn[0]
    if first.native is not None and first.action is not None and shown is not None:
        checks = _checks(first.native) if first.native.acknowledged else ()
        return [ScreenResult(first.native.id, ImagePart(shown), words, checks)]
    picture = [ImagePart(shown, detail="high")] if shown is not None else []
    if first.native is None and first.action is not None:
        return [ToolResult(_call_id(first), words), *picture]
    return [TextPart(words), *picture]


def _call(native: NativeCall) -> ScreenCall:
    return ScreenCall(native.id, native.dialect, native.actions, _checks(native), native.echo)


def _checks(native: NativeCall) -> tuple[SafetyCheck, ...]:
    return tuple(SafetyCheck(check.id, check.code, check.message) for check in native.checks)


def _call_id(step: Step) -> str:
    return f"step_{step.index}"


def _picture(sha256: str | None, pictures: Mapping[str, bytes]) -> list[Part]:
    return [ImagePart(pictures[sha256], detail="high")] if sha256 is not None and sha256 in pictures else []
