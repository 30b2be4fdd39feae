"""Facts that follow from a step's record by computation alone: no model, no guess, no claim of success. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from agent_s3.actions import Action, CallCodeAgent, Done, Fail
from agent_s3.elements import READABLE
from agent_s3.types import CodeTurn, Delta, RolloutResult, Step, TreeChange
from agent_s3.words import action_words
from bbon import changes
from bbon.quoting import one_line, quoted
from bbon.types import Evidence, Fact

NOTHING = "nothing visible changed"
_TREE_SHOWN = 8
_TURNS_SHOWN = 4
_VALUE_SHOWN = 120
_CODE_SHOWN = 160
_OUTPUT_SHOWN = 240
_USER_SHOWN = 400
_NAME_KEPT = 200


class Told(NamedTuple):
    """A sentence and what it rests on."""

    text: str
    evidence: tuple[Evidence, ...]


_RECORD = (Evidence(kind="record"),)
_OUTPUT = (Evidence(kind="output"),)
_SCREEN = (Evidence(kind="screen"),)
_MOST_NAMED = 8


def of_step(step: Step) -> tuple[Fact, ...]:
    """What verifiably happened in one step, at least one fact; the first says what the agent did."""
    told = list(_sentences(step))
    lead = _lead(step.action)
    if lead:
        told[0] = told[0]._replace(text=f"{lead}: {told[0].text}")
    told += [Told(said, _RECORD) for said in _user(step)]
    return tuple(Fact(step=step.index, text=_sentence(one.text), source="delta", evidence=one.evidence) for one in told)


def at_end(result: RolloutResult) -> tuple[str, ...]:
    """What differs between the start and the end of a rollout, whatever happened in between."""
    lines = changes.words(result.files, limit=12)
    lines += [changes.window_words(w) for w in result.windows if w.kind != "activated"]
    return tuple(_sentence(line) for line in lines) or ("No file and no window differs from the start.",)


def suffice(step: Step) -> bool:
    """Whether the computed facts leave nothing out that was observed; pixels alone are no words, so they do not."""
    delta = step.delta
    if delta is None or delta.empty or isinstance(step.action, Done | Fail):
        return True
    told = delta.tree or delta.windows or delta.files or delta.clipboard or delta.output is not None
    return bool(told) and len(delta.tree) <= _TREE_SHOWN and not delta.tree_dropped and not delta.files_dropped


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "]")) else text + "."


def _lead(action: Action | None) -> str:
    if action is None or isinstance(action, Done | Fail):
        return ""
    if isinstance(action, CallCodeAgent):
        return "The coding agent was called"
    return f"After {one_line(action_words(action), 160)}"


def _user(step: Step) -> list[str]:
    """What passed between the agent and its user: it can change what the task is."""
    said = [f"the user had told this attempt: {quoted(message.text, _USER_SHOWN)}" for message in step.told]
    if step.answer is None:
        return said
    reply = "did not answer" if step.answer.text is None else f"answered {quoted(step.answer.text, _USER_SHOWN)}"
    return [*said, f"the user {reply}"]


def _sentences(step: Step) -> Iterable[Told]:
    if isinstance(step.action, Done):
        return [Told("the agent declared the task done", _RECORD)]
    if isinstance(step.action, Fail):
        return [Told("the agent declared the task impossible", _RECORD)]
    failed = [] if step.error is None else [Told(_failure(step), _RECORD)]
    if step.delta is None:
        return [*failed, *_code(step)] or [Told("what happened could not be observed", _RECORD)]
    return [*failed, *_code(step), *_changes(step.delta, code_ran=step.code is not None)]


def _failure(step: Step) -> str:
    assert step.error is not None
    what = {
        "bad_reply": "no usable action came from the agent, nothing was done",
        "not_found": "the element was not found, nothing was done",
        "safety_check": "the provider of its model doubted what it was about to do, nothing was done",
        "refused": "the user did not allow it, nothing was done",
        "dry_run": "it was a dry run, nothing was done",
        "refused_by_guest": "the desktop refused the action",
        "interrupted": "the step was interrupted",
        "model": "the model failed",
        "machine": "the machine failed",
    }[step.error.kind]
    return f"{what} ({one_line(step.error.message, 160)})"


_CODE_ENDED: Mapping[str, tuple[str, ...]] = {
    "fail": ("the coding agent said that it cannot be done",),
    "budget": ("the coding agent was stopped at its limit of snippets",),
    "bad_replies": ("the coding agent broke off without a usable reply",),
    "error": ("the coding agent broke off",),
    "interrupted": ("the run was stopped while the coding agent worked",),
}
"""That it says it is done is its own word, and no fact."""


def _code(step: Step) -> list[Told]:
    if step.code is None:
        return []
    turns = step.code.turns
    skipped = len(turns) - _TURNS_SHOWN
    note = [f"{skipped} earlier snippets are not listed"] if skipped > 0 else []
    ran = [*note, *(_turn(turn) for turn in turns[-_TURNS_SHOWN:])] or ["it ran no code"]
    ended = [Told(line, _RECORD) for line in _CODE_ENDED.get(step.code.ended, ())]
    return [*(Told(line, _OUTPUT) for line in ran), *ended]


def _turn(turn: CodeTurn) -> str:
    ended = "did not finish in time" if turn.returncode is None else f"returned {turn.returncode}"
    printed = f"and printed {quoted(turn.output, _OUTPUT_SHOWN)}" if turn.output.strip() else "and printed nothing"
    return f"{turn.language} code {quoted(turn.code, _CODE_SHOWN)} {ended} {printed}"


def _changes(delta: Delta, *, code_ran: bool) -> list[Told]:
    if delta.empty:
        return [Told(NOTHING, _SCREEN)]
    told = [Told(line.text, _files(line.paths)) for line in changes.lines(delta.files)]
    told += [Told(changes.window_words(w), (_named("window", w.title),)) for w in delta.windows]
    if delta.files_dropped:
        told.append(Told(f"{delta.files_dropped} more files changed", (Evidence(kind="file"),)))
    if delta.clipboard is not None:
        holds = f"the clipboard now holds {quoted(delta.clipboard.after or '', _VALUE_SHOWN)}"
        told.append(Told(holds, (Evidence(kind="clipboard"),)))
    if delta.output is not None and not code_ran:
        told.append(Told(f"code printed {quoted(delta.output, _OUTPUT_SHOWN)}", _OUTPUT))
    told += _tree(delta)
    told += _pixels(delta) if not told else []
    still = [] if delta.settled else [Told("the screen was still changing when it was looked at", _SCREEN)]
    return [*told, *still] or [Told(NOTHING if not code_ran else "nothing else visible changed", _SCREEN)]


def _files(paths: Iterable[str]) -> tuple[Evidence, ...]:
    return tuple(_named("file", path) for path in tuple(paths)[:_MOST_NAMED])


def _named(kind: Literal["window", "file"], name: str) -> Evidence:
    return Evidence(kind=kind, name=name[:_NAME_KEPT])


def of_element(change: TreeChange) -> Evidence:
    """The element that changed, as evidence."""
    return Evidence(kind="tree", box=change.box, name=f"{change.role} {change.name}".strip()[:_NAME_KEPT])


def _pixels(delta: Delta) -> list[Told]:
    if not delta.regions:
        return []
    box = delta.regions[0].box
    where = f"{box.width} x {box.height} px at ({box.x}, {box.y})"
    line = f"only pixels changed, {delta.changed_fraction:.1%} of the screen, most of it {where}"
    return [Told(line, (Evidence(kind="screen", box=box),))]


def _tree(delta: Delta) -> list[Told]:
    telling = [change for change in delta.tree if not _furniture(change, delta)]
    left_out = len(delta.tree) - len(telling[:_TREE_SHOWN]) + delta.tree_dropped
    more = [f"{left_out} more change{'s' if left_out > 1 else ''} of elements"] if left_out > 0 else []
    shown = [Told(tree_words(change), (of_element(change),)) for change in telling[:_TREE_SHOWN]]
    return [*shown, *(Told(line, (Evidence(kind="tree"),)) for line in more)]


def _furniture(change: TreeChange, delta: Delta) -> bool:
    """A button or menu that came or went together with its window; texts and labels of a new window are told."""
    moved = {window.app.lower() for window in delta.windows if window.kind in ("opened", "closed")}
    if change.kind == "changed" or change.app.lower() not in moved:
        return False
    return change.kind == "removed" or not (change.after or (change.role in READABLE and change.role != "frame"))


def tree_words(change: TreeChange) -> str:
    """One change of the accessibility tree, foreign text quoted."""
    role = one_line(change.role.replace("-", " "), 40)
    who = f"the {role} {quoted(change.name, 80)}" if change.name else f"a {role}"
    match change.kind:
        case "added":
            return f"{who} appeared" + (f" with text {quoted(change.after, _VALUE_SHOWN)}" if change.after else "")
        case "removed":
            return f"{who} went away"
        case "changed":
            return _changed(who, change)


def _changed(who: str, change: TreeChange) -> str:
    before, after = change.before or "", change.after or ""
    if change.field == "states":
        now = [f"is now {one_line(after, 80)}"] if after else []
        gone = [f"is no longer {one_line(before, 80)}"] if before else []
        return f"{who} {' and '.join([*now, *gone])}"
    field = one_line(change.field or "content", 20)
    return f"the {field} of {who} went from {quoted(before, _VALUE_SHOWN)} to {quoted(after, _VALUE_SHOWN)}"
