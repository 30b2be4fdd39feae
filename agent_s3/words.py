"""Deltas and actions in plain words, for models and for people. Pure."""

from agent_s3.actions import (
    Action,
    AskUser,
    CallCodeAgent,
    Click,
    Done,
    DragAndDrop,
    Fail,
    HighlightTextSpan,
    HoldAndPress,
    Hotkey,
    Look,
    MovePointer,
    Open,
    SaveToKnowledge,
    Scroll,
    SetCellValues,
    SwitchApplications,
    Type,
    Wait,
)
from agent_s3.elements import squeeze
from agent_s3.foreign import block
from agent_s3.types import CodeReport, Delta, TreeChange
from vm_pool.types import FileChange

_TEXT_SHOWN = 200


def action_words(action: Action) -> str:
    """One short clause in the imperative, e.g. `click "Save" twice`."""
    match action:
        case Click():
            return _click_words(action)
        case Type():
            into = f" into {action.element_description!r}" if action.element_description else ""
            return f"type {squeeze(action.text, 60)!r}{into}{' and press Enter' if action.enter else ''}"
        case Scroll():
            return f"scroll {action.element_description!r} by {action.clicks}{' sideways' if action.shift else ''}"
        case DragAndDrop():
            return f"drag {action.starting_description!r} to {action.ending_description!r}"
        case HighlightTextSpan():
            return f"highlight {action.starting_phrase!r} to {action.ending_phrase!r}"
        case Hotkey():
            return f"press {'+'.join(action.keys)}"
        case HoldAndPress():
            return f"hold {'+'.join(action.hold_keys)} and press {', '.join(action.press_keys)}"
        case _:
            return _other_words(action)


def _click_words(action: Click) -> str:
    verb = {1: "click", 2: "double-click", 3: "triple-click"}[action.num_clicks]
    button = "" if action.button_type == "left" else f"{action.button_type}-"
    held = f" holding {'+'.join(action.hold_keys)}" if action.hold_keys else ""
    return f"{button}{verb} {action.element_description!r}{held}"


def _other_words(action: Action) -> str:
    match action:
        case Open():
            return f"open {action.app_or_filename!r}"
        case SwitchApplications():
            return f"switch to {action.app_code!r}"
        case SetCellValues():
            return f"set cells {', '.join(list(action.cell_values)[:6])} of {action.app_name!r}"
        case SaveToKnowledge():
            return f"note {squeeze('; '.join(action.text), 80)!r}"
        case CallCodeAgent():
            return f"have code written for {squeeze(action.task, 80)!r}" if action.task else "have code written"
        case AskUser():
            return f"ask the user {squeeze(action.question, 120)!r}"
        case Wait():
            return f"wait {action.time:g} s"
        case Done() | Fail():
            return "say that the task is done" if action.action == "done" else "say that the task cannot be done"
        case MovePointer() | Look():
            return _looking_words(action)
        case _:
            return action.action.replace("_", " ")


def _looking_words(action: MovePointer | Look) -> str:
    if isinstance(action, MovePointer):
        return f"move the pointer to {action.element_description!r}"
    return "look at the screen" if action.part is None else "look closer at a part of the screen"


def delta_words(delta: Delta, *, limit: int = 12) -> str:
    """What changed, one line each, at most `limit` lines; a sentence when nothing did."""
    lines = [
        *(_window_line(w.kind, w.title, w.title_before) for w in delta.windows),
        *(file_words(f) for f in delta.files),
        *([f"the clipboard now holds {squeeze(delta.clipboard.after or '', 80)!r}"] if delta.clipboard else []),
        *(tree_words(t) for t in _told(delta)),
    ]
    if not lines and delta.regions:
        box = delta.regions[0].box
        size = f"{box.width}x{box.height} px at ({box.x}, {box.y})"
        lines.append(f"only pixels changed: {delta.changed_fraction:.1%} of the screen, most of it {size}")
    left_out = len(lines) - limit + delta.tree_dropped + delta.files_dropped
    shown = [f"- {x}" for x in lines[:limit]] + ([f"- and {left_out} more changes"] if left_out > 0 else [])
    if not delta.settled:
        shown.append("- the screen was still moving")
    return "\n".join(shown) or "nothing changed"


def _told(delta: Delta) -> list[TreeChange]:
    """Tree changes worth a line: what a new window brought with it is left to the element list, its message is not."""
    kinds = {w.kind for w in delta.windows}
    return [
        t
        for t in delta.tree
        if not (t.kind == "added" and "opened" in kinds and t.role not in ("alert", "dialog", "label"))
        and not (t.kind == "removed" and "closed" in kinds)
    ]


def _window_line(kind: str, title: str, before: str | None) -> str:
    title = squeeze(title, _TEXT_SHOWN)
    if kind == "retitled":
        return f"window {squeeze(before or '', _TEXT_SHOWN)!r} is now titled {title!r}"
    return f"window {title!r} {'became active' if kind == 'activated' else kind}"


def file_words(change: FileChange) -> str:
    """`file modified: /home/user/a.txt (5 -> 9 bytes)`; the new text of small files is quoted."""
    facts: list[str] = []
    if change.kind == "modified" and change.size_before is not None:
        facts.append(f"{change.size_before} -> {change.size} bytes")
    elif change.size is not None:
        facts.append(f"{change.size} bytes")
    if change.mode_before is not None and change.mode is not None and change.mode != change.mode_before:
        facts.append(f"mode {change.mode_before:o} -> {change.mode:o}")
    if change.text and change.text != change.text_before:
        facts.append(f"text {squeeze(change.text, _TEXT_SHOWN)!r}")
    return f"file {change.kind}: {_path(change.path)}" + (f" ({', '.join(facts)})" if facts else "")


def _path(path: str) -> str:
    """In quotes when it holds spaces, so that no file name reads as a sentence of ours."""
    shown = squeeze(path, _TEXT_SHOWN)
    return repr(shown) if " " in shown else shown


def tree_words(change: TreeChange) -> str:
    who = f"{change.role} {change.name!r}" if change.name else change.role
    if change.kind == "added":
        text = squeeze(change.after or "", _TEXT_SHOWN)
        return f"{who} appeared" + (f" with text {text!r}" if text and text != change.name else "")
    if change.kind == "removed":
        return f"{who} went away"
    if change.field == "states":
        gone = f"no longer {change.before}" if change.before else ""
        come = f"now {change.after}" if change.after else ""
        return f"{who} is {', '.join(x for x in (come, gone) if x)}"
    if change.field == "name":
        was = f"{change.role} {squeeze(change.before, _TEXT_SHOWN)!r}" if change.before else change.role
        return f"{was} is now named {squeeze(change.after or '', _TEXT_SHOWN)!r}"
    return f"{change.field} of {who} is now {squeeze(change.after or '', _TEXT_SHOWN)!r}"


def code_words(report: CodeReport, *, output_limit: int = 600) -> str:
    """A coding agent's report for the next message: how it ended, its summary, the end of its last output."""
    ended = {
        "done": "says it is done",
        "fail": "says it cannot be done",
        "budget": "used up its number of snippets",
        "bad_replies": "gave no usable answer",
        "error": "broke off",
        "interrupted": "was stopped",
    }[report.ended]
    lines = [f"The coding agent {ended}. {report.summary}".strip()]
    if report.verify:
        lines.append(f"To check on the screen: {report.verify}")
    if report.turns and report.turns[-1].output.strip():
        lines.append(f"Last output:\n{block(report.turns[-1].output.strip()[-output_limit:], 'from_code')}")
    return "\n".join(lines)
