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
WINDOWS = {Atspi.Role.FRAME, Atspi.Role.DIALOG, Atspi.Role.WINDOW, Atspi.Role.ALERT, Atspi.Role.FILE_CHOOSER}


def nodes():
    """Showing elements with text, all applications."""
    desktop = Atspi.get_desktop(0)
    stack = [desktop.get_child_at_index(i) for i in range(desktop.get_child_count())]
    seen = 0
    while stack and seen < LIMIT:
        node = stack.pop()
        if node is None:
            continue
        seen += 1
        try:
            states = node.get_state_set()
            shows = states.contains(Atspi.StateType.SHOWING)
            if shows and node.get_text_iface() is not None:
                yield node
            if shows or node.get_role() == Atspi.Role.APPLICATION:
                count = 0 if states.contains(Atspi.StateType.MANAGES_DESCENDANTS) else min(node.get_child_count(), 2000)
                stack += [node.get_child_at_index(i) for i in reversed(range(count))]
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


def surroundings(node):
    """The boxes that a point must lie in to be in view, from the element up to its window, and the window's title."""
    boxes = []
    while node is not None and node.get_role() != Atspi.Role.APPLICATION:
        box = Atspi.Component.get_extents(node, Atspi.CoordType.SCREEN) if node.get_component_iface() else None
        if box is not None and box.width > 0 and box.height > 0:
            boxes.append(box)
        if node.get_role() in WINDOWS:
            return boxes, node.get_name()
        node = node.get_parent()
    return boxes, ""


def in_view(boxes, x, y):
    return all(b.x <= x < b.x + b.width and b.y <= y < b.y + b.height for b in boxes)


def main():
    asked = json.load(sys.stdin)
    places = []
    hidden = False
    for node in nodes():
        try:
            text = Atspi.Text.get_text(node, 0, -1)
            span = find(text, asked["start"], asked["end"])
            if span is None:
                continue
            first, last = extents(node, span[0]), extents(node, span[1] - 1)
            boxes, window = surroundings(node)
        except GLib.Error:
            continue
        y, to_y = first.y + first.height // 2, last.y + last.height // 2
        if min(first.height, last.height) <= 0 or not (
            in_view(boxes, first.x, y) and in_view(boxes, last.x + max(0, last.width - 1), to_y)
        ):
            hidden = True
            continue
        place = {"x": first.x, "y": y, "to_x": last.x + last.width, "to_y": to_y, "window": window}
        places.append((span[1] - span[0], len(text), place))
    if not places:
        span = f"{asked['start']!r} up to {asked['end']!r}"
        error = f"{span} is not wholly in view; scroll to it" if hidden else f"no text on the screen holds {span}"
        print(json.dumps({"error": error}))
        return
    print(json.dumps(min(places, key=lambda found: found[:2])[2]))


main()
