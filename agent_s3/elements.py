"""The numbered element list: what a model reads instead of, or beside, the picture. Pure.

Only elements that show on the screen and are of use are listed, those of the active window first; the numbers hold
for one observation.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from agent_s3.foreign import without_forged_tags
from vm_pool.types import Box, Node, Tree

_INTERACTIVE_ROLES = """
push-button toggle-button check-box radio-button menu menu-item check-menu-item radio-menu-item combo-box text entry
password-text spin-button slider page-tab link list-item table-cell tree-item icon terminal paragraph document-text
document-web document-spreadsheet tree-table table-column-header canvas calendar button push-button-menu editbar switch
"""
_READABLE_ROLES = "label heading static alert dialog frame status-bar info-bar notification table-row-header"
INTERACTIVE = frozenset(_INTERACTIVE_ROLES.split())
"""Roles that can be clicked, typed into or chosen."""
READABLE = frozenset(_READABLE_ROLES.split())
"""Roles that are worth reading when they have a name or a text."""
_CONTAINERS = frozenset({"frame", "dialog", "alert", "window", "file-chooser"})
_TEXTUAL = frozenset({"text", "entry", "terminal", "paragraph", "editbar", "password-text", "spin-button"})
_SHOWN_STATES = ("focused", "checked", "selected", "expanded", "pressed")
_MAX_NAME = 80
_ADDRESS = re.compile(r"[A-Z]{1,3}[0-9]{1,7}")
_CLASS_NAME = re.compile(r"Gtk[A-Z]\w+")
_MAX_TEXT = 160
_JOINERS = "\u200c\u200d"
"""Hidden, but needed inside emoji and in some scripts."""


@dataclass(frozen=True)
class Element:
    """A line of the list."""

    number: int
    """0: it is not listed."""
    node: Node
    app: str
    """Name of the application it belongs to."""
    window: str
    """Title of the window or dialog it lies in; empty: not known."""


@dataclass(frozen=True)
class ElementList:
    """Elements by number, from 1, in the order in which they are listed."""

    elements: tuple[Element, ...] = ()
    dropped: int = 0
    """How many further elements were left out because of the limit."""
    by_number: Mapping[int, Element] = field(default_factory=dict[int, Element])
    unlisted: tuple[Element, ...] = ()
    """Showing elements without a number that can still be named in words: empty cells, and what the limit cut off."""

    def lines(self) -> list[str]:
        """One line per element, under a heading per window."""
        out: list[str] = []
        heading = None
        for element in self.elements:
            if (element.app, element.window) != heading:
                heading = (element.app, element.window)
                out.append(f"[{squeeze(element.window or element.app, _MAX_NAME)}]")
            out.append(line(element))
        if self.dropped:
            out.append(f"({self.dropped} more not listed)")
        return out

    @property
    def focused(self) -> Element | None:
        return next((e for e in self.elements if "focused" in e.node.states), None)


@dataclass(frozen=True)
class _Found:
    node: Node
    app: str
    window: str
    active: bool


def list_elements(tree: Tree, *, limit: int, hidden: Container[str] = ()) -> ElementList:
    """Number the useful elements of a tree, at most `limit` of them.

    `hidden`: titles of windows that are minimized; toolkits go on saying that what is in them shows.
    """
    found = _without_doubles(f for f in _useful(tree) if f.window not in hidden)
    ordered = sorted(found, key=lambda f: not f.active)  # stable: document order within
    telling = [f for f in ordered if not _is_empty_cell(f.node)]
    kept = _within(telling, limit)
    elements = tuple(Element(i, f.node, f.app, f.window) for i, f in enumerate(kept, start=1))
    ids = {f.node.id for f in kept}
    unlisted = tuple(Element(0, f.node, f.app, f.window) for f in ordered if f.node.id not in ids)
    return ElementList(elements, len(telling) - len(kept), {e.number: e for e in elements}, unlisted)


def line(element: Element) -> str:
    """`#7 text "Name" = "report" (focused)`."""
    node = element.node
    parts = [f"#{element.number} {node.role}" if element.number else node.role]
    if name := squeeze(name_of(node), _MAX_NAME):
        parts.append(f'"{name}"')
    if (text := content(node)) and squeeze(text, _MAX_TEXT) != name:
        parts.append(f'= "{squeeze(text, _MAX_TEXT)}"')
    if states := shown_states(node):
        parts.append(f"({', '.join(states)})")
    return " ".join(parts)


def name_of(node: Node) -> str:
    """The name as a person would say it: no toolkit class names, and nothing said twice (`7 7`)."""
    words = node.name.split()
    if len(words) == 1 and _CLASS_NAME.fullmatch(words[0]):
        return ""
    half = len(words) // 2
    return " ".join(words[:half]) if half and words[:half] == words[half:] else node.name.strip()


def content(node: Node) -> str:
    """What an element holds, as text: its text, else its value."""
    if node.text:
        return node.text
    if node.value is not None and node.role in {"slider", "spin-button", "progress-bar", "scroll-bar"}:
        return f"{node.value:g}"
    return ""


def shown_states(node: Node) -> list[str]:
    """States worth telling; enabled is the normal case, so only its absence is told."""
    states = [s for s in _SHOWN_STATES if s in node.states]
    known = {"enabled", "sensitive"} & node.states
    can_be = node.role in INTERACTIVE and node.role != "table-cell"
    if can_be and node.states and not known and "focused" not in node.states:
        states.append("disabled")
    return states


def squeeze(text: str, limit: int) -> str:
    """One line without runs of white space and hidden characters, cut in the middle to `limit` characters.

    Whatever a guest says goes through here before a model reads it, so that no name can pass for lines of ours.
    """
    flat = " ".join(text.split())
    if not flat.isprintable():
        flat = "".join(c for c in flat if c.isprintable() or c in _JOINERS)
    if "<" in flat:
        flat = without_forged_tags(flat)
    if len(flat) <= limit:
        return flat
    return f"{flat[: limit * 2 // 3]}…{flat[-(limit // 3) :]}"


def _useful(tree: Tree) -> Iterator[_Found]:
    for app in tree.root.children:
        yield from _below(app, app.name, "", active=False)


def _below(node: Node, app: str, window: str, *, active: bool) -> Iterator[_Found]:
    if node.role == "menu-bar" and node.box is None:
        return  # LibreOffice keeps its own beside the one that shows; menus in it say they were elsewhere
    if node.role in _CONTAINERS:
        window = node.name or window
        active = active or "active" in node.states
    if _is_useful(node):
        yield _Found(node, app, window, active or "focused" in node.states)
    for child in node.children:
        yield from _below(child, app, window, active=active)


def _is_useful(node: Node) -> bool:
    if node.box is None or node.box.width < 2 or node.box.height < 2 or node.role in _CONTAINERS - {"alert"}:
        return False
    name, held = name_of(node), content(node).strip()
    if node.role in _TEXTUAL:
        return True
    if node.role in INTERACTIVE:
        return bool(name or held or node.description or node.actions)
    return node.role in READABLE and bool(name or held)


def _is_empty_cell(node: Node) -> bool:
    """A sheet shows hundreds of cells that hold only their address; a file list has nameless ones in every row."""
    if node.role != "table-cell" or content(node).strip() or {"focused", "checked"} & node.states:
        return False
    return not node.name.strip() or _ADDRESS.fullmatch(node.name) is not None


def _without_doubles(found: Iterator[_Found]) -> list[_Found]:
    """Drop repeats, and labels that only repeat the name of the control that they lie in or label."""
    listed = list(found)
    named = {(f.window, name_of(f.node)) for f in listed if f.node.role in INTERACTIVE and name_of(f.node)}
    seen: set[tuple[str, str, Box | None]] = set()
    kept: list[_Found] = []
    for f in listed:
        key = (f.node.role, f.node.name, f.node.box)
        repeats = f.node.role == "label" and (f.window, name_of(f.node)) in named
        if key not in seen and not repeats:
            kept.append(f)
        seen.add(key)
    return kept


def _within(found: list[_Found], limit: int) -> list[_Found]:
    """The first `limit`, but what has the focus is always among them."""
    kept = found[:limit]
    focused = [f for f in found[limit:] if "focused" in f.node.states][:1]
    return [*kept[: limit - len(focused)], *focused]
