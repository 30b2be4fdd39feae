"""Runs in the machine: where on the screen does a span of text begin and end? By the accessibility tree.

Reads {"start", "end"}, prints {"x", "y", "to_x", "to_y", "window"} in screen pixels, or {"error"}.
"""

# ruff: noqa: T201 - standard output is how it answers
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import sys
import warnings

warnings.simplefilter("ignore")
import gi  # noqa: E402

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

LIMIT = 20000
MANY = 2000
WINDOWS = {Atspi.Role.FRAME, Atspi.Role.DIALOG, Atspi.Role.WINDOW, Atspi.Role.ALERT, Atspi.Role.FILE_CHOOSER}
FLOWING = {
    Atspi.Role.PARAGRAPH,
    Atspi.Role.HEADING,
    Atspi.Role.LIST_ITEM,
    Atspi.Role.BLOCK_QUOTE,
    Atspi.Role.SECTION,
    Atspi.Role.STATIC,
}
"""Roles of elements that are parts of one text, which can be selected from one to another."""


def nodes():
    """Showing elements with text, all applications, each as a list of itself and what it lies in, innermost first.

    From the top down: some elements name another parent than the one that names them as its child.
    """
    desktop = Atspi.get_desktop(0)
    stack = [[desktop.get_child_at_index(i)] for i in range(desktop.get_child_count())]
    seen = 0
    while stack and seen < LIMIT:
        line = stack.pop()
        node = line[0]
        if node is None:
            continue
        seen += 1
        try:
            states = node.get_state_set()
            shows = states.contains(Atspi.StateType.SHOWING)
            if shows and node.get_text_iface() is not None:
                yield line
            if shows or node.get_role() == Atspi.Role.APPLICATION:
                count = node.get_child_count()
                if states.contains(Atspi.StateType.MANAGES_DESCENDANTS) and count > MANY:
                    count = 0  # a sheet of a million rows; a document has as many children as paragraphs on the screen
                stack += [[node.get_child_at_index(i), *line] for i in reversed(range(min(count, MANY)))]
        except GLib.Error:
            continue


def find(text, start, end):
    """Offsets of the span: the first `start`, then the first `end` that ends at or after it; None if there is none."""
    folded = text.lower()
    first = folded.find(start.lower())
    if first < 0:
        return None
    last = folded.find(end.lower(), first)
    return None if last < 0 else (first, last + len(end))


def extents(node, offset):
    return Atspi.Text.get_character_extents(node, offset, Atspi.CoordType.SCREEN)


def box_of(node):
    """Left, top, width and height; None when it has none."""
    if node is None or node.get_component_iface() is None:
        return None
    box = Atspi.Component.get_extents(node, Atspi.CoordType.SCREEN)
    return (box.x, box.y, box.width, box.height) if box.width > 0 and box.height > 0 else None


def surroundings(line):
    """The boxes that a point must lie in to be in view, from the element up to its window; the window's title; and how
    far all that the element says of itself is off.

    LibreOffice forgets its menu bar when it says where its root pane is; the container of its size around it knows.
    """
    boxes, off = [], (0, 0)
    for node, parent in zip(line, [*line[1:], None], strict=True):
        box = box_of(node)
        boxes += [box] if box else []
        around = box_of(parent) if node.get_role() == Atspi.Role.ROOT_PANE else None
        if box and around and around[2:] == box[2:]:
            off = around[0] - box[0], around[1] - box[1]
            boxes = [(x + off[0], y + off[1], width, height) for x, y, width, height in boxes]
        if node.get_role() in WINDOWS:
            return boxes, node.get_name(), off
    return boxes, "", off


def in_view(boxes, x, y):
    return all(left <= x < left + width and top <= y < top + height for left, top, width, height in boxes)


def end_of(line, offset, *, behind):
    """The point in the middle before a character, or behind it, and the window's title; None when it is not in view."""
    box = extents(line[0], offset)
    boxes, window, (dx, dy) = surroundings(line)
    x, y = box.x + dx + (box.width if behind else 0), box.y + box.height // 2 + dy
    shows = box.height > 0 and in_view(boxes, x - 1 if behind else x, y)
    return (x, y, window) if shows else None


def place(first_line, first, last_line, last):
    """Where the span from one character to another is; None when its ends are not both in view in one window."""
    try:
        begin, end = end_of(first_line, first, behind=False), end_of(last_line, last, behind=True)
    except GLib.Error:  # it went away meanwhile
        return None
    if begin is None or end is None or begin[2] != end[2]:
        return None
    return {"x": begin[0], "y": begin[1], "to_x": end[0], "to_y": end[1], "window": begin[2]}


def within(texts, start, end):
    """Spans within one element: how long they and their text are, and where they lie (None: not in view)."""
    for line, text in texts:
        span = find(text, start, end)
        if span is not None:
            yield span[1] - span[0], len(text), place(line, span[0], line, span[1] - 1)


def across(texts, start, end):
    """Spans that begin in one element and end in a later one, as a text of several paragraphs has them.

    How many elements lie in between, 0, and where the span lies (None: not in view).
    """
    flowing = [(line, text.lower()) for line, text in texts if line[0].get_role() in FLOWING]
    starts = [(i, text.find(start.lower())) for i, (_, text) in enumerate(flowing)]
    ends = [(i, text.find(end.lower())) for i, (_, text) in enumerate(flowing)]
    for i, first in starts:
        later = next(((j, last) for j, last in ends if j > i and last >= 0), None) if first >= 0 else None
        if later is not None:
            j, last = later
            yield j - i, 0, place(flowing[i][0], first, flowing[j][0], last + len(end) - 1)


def texts_shown():
    found = []
    for line in nodes():
        try:
            found.append((line, Atspi.Text.get_text(line[0], 0, -1)))
        except GLib.Error:
            continue
    return found


def best(spans):
    """Where the best of the spans in view lies, or None; and whether there are any at all."""
    listed = list(spans)
    shown = [span for span in listed if span[2] is not None]
    return (min(shown, key=lambda span: span[:2])[2] if shown else None), bool(listed)


def main():
    asked = json.load(sys.stdin)
    texts = texts_shown()
    found, hidden = best(within(texts, asked["start"], asked["end"]))
    if found is None and not hidden:
        found, hidden = best(across(texts, asked["start"], asked["end"]))
    if found is None:
        span = f"{asked['start']!r} up to {asked['end']!r}"
        error = f"{span} is not wholly in view; scroll to it" if hidden else f"no text on the screen holds {span}"
        print(json.dumps({"error": error}))
        return
    print(json.dumps(found))


main()
