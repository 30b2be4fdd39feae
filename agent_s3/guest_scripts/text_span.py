"""Runs in the machine: where on the screen does a span of text begin and end? By the accessibility tree.

Reads {"start", "end"}, prints {"x", "y", "to_x", "to_y", "text"} in screen pixels, or {"error"}.
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


def main():
    asked = json.load(sys.stdin)
    places = []
    for node in nodes():
        try:
            text = Atspi.Text.get_text(node, 0, -1)
            span = find(text, asked["start"], asked["end"])
            if span is None:
                continue
            first, last = extents(node, span[0]), extents(node, span[1] - 1)
        except GLib.Error:
            continue
        if min(first.x, first.y, last.x, last.y) < 0 or first.height <= 0 or last.height <= 0:
            continue  # scrolled out of view
        places.append(
            {
                "x": first.x,
                "y": first.y + first.height // 2,
                "to_x": last.x + last.width,
                "to_y": last.y + last.height // 2,
                "text": text[span[0] : span[1]][:2000],
                "length": len(text),
            }
        )
    if not places:
        print(json.dumps({"error": f"no text on the screen holds {asked['start']!r} up to {asked['end']!r}"}))
        return
    places.sort(key=lambda place: (len(place["text"]), place["length"]))
    print(json.dumps(places[0]))


main()
