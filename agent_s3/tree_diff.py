"""What changed in the accessibility tree, by element id. Pure and bounded."""

from collections import defaultdict, deque
from collections.abc import Iterator

from agent_s3.elements import INTERACTIVE, READABLE, squeeze
from agent_s3.types import TreeChange
from vm_pool.types import Node, Tree

MAX_CHANGES = 40
"""Most changes that are kept; the rest is counted."""
_TEXT_LIMIT = 240
_CONTEXT = 40
_TOLD_STATES = frozenset({"focused", "checked", "selected", "expanded", "pressed", "active", "enabled", "editable"})
_WINDOWS = frozenset({"frame", "dialog", "alert", "window", "file-chooser"})
_TOLD_ROLES = INTERACTIVE | READABLE | _WINDOWS | {"progress-bar", "scroll-bar", "tool-tip"}

Flat = dict[str, tuple[str, Node]]
"""Element id -> name of its application and the element."""


def tree_changes(before: Tree, after: Tree) -> tuple[tuple[TreeChange, ...], int]:
    """Changes, windows and dialogs first, at most `MAX_CHANGES`; and how many were left out."""
    if before is after:
        return (), 0
    new = _flatten(after)
    old = _renumbered(_flatten(before), new)
    changes = [*_changed(old, new), *_only_in(new, old, "added"), *_only_in(old, new, "removed")]
    changes.sort(key=_rank)
    return tuple(changes[:MAX_CHANGES]), max(0, len(changes) - MAX_CHANGES)


def _flatten(tree: Tree) -> Flat:
    return {node.id: (app.name, node) for app in tree.root.children for node in app.walk()}


def _renumbered(old: Flat, new: Flat) -> Flat:
    """The old elements under the ids of today: programs that make elements on demand give them new ids at each look.

    An element whose id is gone is taken for a new one with the same application, role and name, in document order.
    """
    waiting: dict[tuple[str, str, str], deque[str]] = defaultdict(deque)
    for id_, (app, node) in new.items():
        if id_ not in old and node.name:
            waiting[app, node.role, node.name].append(id_)
    out: Flat = {}
    for id_, (app, node) in old.items():
        heirs = waiting.get((app, node.role, node.name)) if id_ not in new else None
        out[heirs.popleft() if heirs else id_] = (app, node)
    return out


def _rank(change: TreeChange) -> int:
    """Windows, then contents, then what came and went; the focus last, since it moves all the time."""
    if change.role in _WINDOWS and change.kind != "changed":
        return 0
    if change.kind == "changed":
        return 1 if change.field in {"text", "value", "name"} else 3
    return 2


def _only_in(here: Flat, there: Flat, kind: str) -> Iterator[TreeChange]:
    for id_, (app, node) in here.items():
        if id_ not in there and _worth_telling(node):
            after = squeeze(node.text, _TEXT_LIMIT) if node.text and kind == "added" else None
            yield TreeChange(
                kind="added" if kind == "added" else "removed",
                role=node.role,
                name=squeeze(node.name, _TEXT_LIMIT),
                app=app,
                box=node.box,
                after=after,
            )


def _worth_telling(node: Node) -> bool:
    if node.box is None or node.role not in _TOLD_ROLES:
        return False
    return bool((node.text or "").strip() or (node.name.strip() and node.role != "table-cell"))


def _changed(old: Flat, new: Flat) -> Iterator[TreeChange]:
    for id_, (app, node) in new.items():
        earlier = old.get(id_)
        if earlier is not None and earlier[1] is not node:
            yield from _fields(app, earlier[1], node)


def _fields(app: str, old: Node, new: Node) -> Iterator[TreeChange]:
    if old.name != new.name:
        yield _change(app, new, "name", *_around(old.name, new.name))
    if (old.text or "") != (new.text or ""):
        yield _change(app, new, "text", *_around(old.text or "", new.text or ""))
    if old.value != new.value and new.role != "scroll-bar":
        yield _change(app, new, "value", _number(old.value), _number(new.value))
    gone, come = (old.states - new.states) & _TOLD_STATES, (new.states - old.states) & _TOLD_STATES
    if (gone or come) and (new.box is not None or old.box is not None) and new.role in _TOLD_ROLES:
        yield _change(app, new, "states", " ".join(sorted(gone)), " ".join(sorted(come)))


def _change(app: str, node: Node, field: str, before: str, after: str) -> TreeChange:
    return TreeChange(
        kind="changed",
        role=node.role,
        name=squeeze(node.name, _TEXT_LIMIT),
        app=app,
        box=node.box,
        field=field,
        before=before,
        after=after,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _around(before: str, after: str) -> tuple[str, str]:
    """Both texts; of long ones only the part that differs, with some characters around it."""
    if max(len(before), len(after)) <= _TEXT_LIMIT:
        return before, after
    start = _common(before, after)
    end = min(_common(before[::-1], after[::-1]), min(len(before), len(after)) - start)
    return _excerpt(before, start, end), _excerpt(after, start, end)


def _excerpt(text: str, start: int, end: int) -> str:
    low, high = max(0, start - _CONTEXT), min(len(text), len(text) - end + _CONTEXT)
    cut = text[low:high]
    if len(cut) > _TEXT_LIMIT:
        cut = f"{cut[: _TEXT_LIMIT // 2]}…{cut[-_TEXT_LIMIT // 2 :]}"
    return f"{'…' if low else ''}{cut}{'…' if high < len(text) else ''}"


def _common(one: str, two: str) -> int:
    """Length of the common beginning, found by halving so that long documents cost little."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
