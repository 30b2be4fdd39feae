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


def place(line, first, last):
    """Where the span from one character to another is; None when its ends are not both in view."""
    begin, end = extents(line[0], first), extents(line[0], last)
    boxes, window, (dx, dy) = surroundings(line)
    x, y = begin.x + dx, begin.y + begin.height // 2 + dy
    to_x, to_y = end.x + end.width + dx, end.y + end.height // 2 + dy
    shows = begin.height > 0 and end.height > 0 and in_view(boxes, x, y) and in_view(boxes, to_x - 1, to_y)
    return {"x": x, "y": y, "to_x": to_x, "to_y": to_y, "window": window} if shows else None


def main():
    asked = json.load(sys.stdin)
    places = []
    hidden = False
    for line in nodes():
        try:
            text = Atspi.Text.get_text(line[0], 0, -1)
            span = find(text, asked["start"], asked["end"])
            if span is None:
                continue
            found = place(line, span[0], span[1] - 1)
        except GLib.Error:
            continue
        if found is None:
            hidden = True
        else:
            places.append((span[1] - span[0], len(text), found))
    if not places:
        span = f"{asked['start']!r} up to {asked['end']!r}"
        error = f"{span} is not wholly in view; scroll to it" if hidden else f"no text on the screen holds {span}"
        print(json.dumps({"error": error}))
        return
    print(json.dumps(min(places, key=lambda found: found[:2])[2]))


main()
