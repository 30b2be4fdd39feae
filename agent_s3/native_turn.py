"""Asking a worker that uses its provider's own computer tool for the next action."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent_s3.approval import Approver
from agent_s3.decide import Decision, reask, verbatim
from agent_s3.native import Move, Sight, read_call
from agent_s3.parse import Parsed, Rejected, parse
from agent_s3.schema import ActionType, tools
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally, whole
from agent_s3.types import NativeCall, SafetyNotice, Step, StepError
from llm.chat import ChatModel, Completion, ComputerTool, Message, Request, ScreenCall
from llm.errors import BadReply


class SafetyStop(Exception):
    """A provider doubts what its model asked for, and nobody said to go on."""


@dataclass(frozen=True)
class NativeAsk:
    """What a native worker is asked with."""

    model: ChatModel
    own: tuple[ActionType, ...]
    """Our actions that are offered beside the computer tool."""
    settings: AgentSettings
    approver: Approver
    step: int


def own_actions(actions: Sequence[ActionType], names: frozenset[str]) -> tuple[ActionType, ...]:
    """Those of our actions that the computer tool has nothing like."""
    return tuple(action for action in actions if str(action.model_fields["action"].default) in names)


BESIDE = frozenset(
    {"open", "switch_applications", "set_cell_values", "save_to_knowledge", "call_code_agent", "ask_user"}
) | {
    "done",
    "fail",
}


def go_on(steps: Sequence[Step], sight: Sight) -> Decision | None:
    """The next action of a call of several that is not carried out yet; None: the model is to be asked.

    An action that failed ends its call: the model decides anew.
    """
    last = steps[-1] if steps else None
    if last is None or last.native is None or last.error is not None or last.native.part + 1 >= last.native.parts:
        return None
    moves = read_call(last.native.dialect, last.native.actions, sight)
    part = last.native.part + 1
    if isinstance(moves, Rejected) or part >= len(moves):
        return None  # the screen has another size by now: its points mean nothing any more
    native = last.native.model_copy(update={"part": part, "echo": ()})
    return Decision(moves[part].action, last.thought, "", 0, places=moves[part].places, native=native)


async def decide_natively(ask: NativeAsk, messages: tuple[Message, ...], sight: Sight, tally: Tally) -> Decision:
    """Ask at most `settings.max_replies` times. Raises: errors of `llm.errors` other than `BadReply`."""
    reply, reason = "", ""
    for attempt in range(ask.settings.max_replies):
        try:
            completion = await tally.ask(ask.model, _request(ask, messages, sight), role="worker")
        except BadReply as error:
            reply, reason = whole(error.reply), str(error)
        else:
            reply = verbatim(completion)
            found = _read(completion, ask.own, sight)
            if isinstance(found, Parsed):
                return Decision(found.action, found.thought, reply, attempt + 1)
            if not isinstance(found, Rejected):
                decision = await _gated(completion.screen_calls[0], found, sight, ask)
                return replace(decision, thought=completion.text.strip(), reply=reply, replies=attempt + 1)
            reason = found.reason
        messages = (*messages, *reask(reply, reason))
    return Decision(None, "", reply, ask.settings.max_replies, error=StepError(kind="bad_reply", message=reason))


def _request(ask: NativeAsk, messages: tuple[Message, ...], sight: Sight) -> Request:
    return Request(
        messages=messages,
        tools=tools(ask.own),
        computer=ComputerTool(sight.view.width, sight.view.height),
        one_call=True,
        temperature=ask.settings.temperature,
        max_tokens=ask.settings.reply_tokens(ask.model.abilities),
    )


def _read(completion: Completion, own: Sequence[ActionType], sight: Sight) -> Parsed | Rejected | tuple[Move, ...]:
    if completion.stop_reason == "refused":
        return Rejected("you refused; choose an action, or fail if the task must not be done")
    calls = len(completion.screen_calls) + len(completion.tool_calls)
    if calls == 0:
        return Rejected("the reply calls no tool; go on with the computer tool, or call `done` or `fail`")
    if calls > 1:
        return Rejected(f"exactly one call per reply, but there were {calls}")
    if completion.tool_calls:
        return parse(completion, own)
    call = completion.screen_calls[0]
    return read_call(call.dialect, call.actions, sight)


async def _gated(call: ScreenCall, moves: tuple[Move, ...], sight: Sight, ask: NativeAsk) -> Decision:
    """The first action of a call; or, when its provider's checks are not acknowledged, why the rollout stops."""
    checks = tuple(
        SafetyNotice(id=c.id, code=whole(c.code)[:200], message=whole(c.message)[:1000]) for c in call.checks
    )
    passed = not checks or await ask.approver.acknowledges(checks, [move.action for move in moves], step=ask.step)
    native = NativeCall(
        id=call.id,
        actions=call.actions,
        dialect=call.dialect,
        parts=len(moves),
        width=sight.view.width,
        height=sight.view.height,
        checks=checks,
        acknowledged=bool(checks) and passed,
        echo=call.echo,
    )
    if passed:
        return Decision(moves[0].action, places=moves[0].places, native=native)
    said = "; ".join(check.message or check.code or check.id for check in checks)
    reason = f"the provider doubts what its model asked for, and nobody said to go on: {said}"
    return Decision(None, error=StepError(kind="safety_check", message=reason), fatal=SafetyStop(reason), native=native)
