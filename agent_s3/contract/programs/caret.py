"""Runs in a machine: prints as JSON where the caret of the focused text is and what is selected there, by AT-SPI.

`{"caret": 12, "selected": [3, 8]}`; offsets in characters, `selected` null when nothing is; null when no text has the
focus.
"""

import json
import warnings

warnings.simplefilter("ignore")
import gi  # noqa: E402

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

MOST = 3000


def focused():
    desktop = Atspi.get_desktop(0)
    stack = [desktop.get_child_at_index(i) for i in range(desktop.get_child_count())]
    for _ in range(MOST):
        if not stack:
            return None
        node = stack.pop()
        try:
            states = node.get_state_set()
            if states.contains(Atspi.StateType.FOCUSED) and node.get_text_iface() is not None:
                return node
            if not states.contains(Atspi.StateType.MANAGES_DESCENDANTS):
                stack += [node.get_child_at_index(i) for i in range(min(node.get_child_count(), 100))]
        except (GLib.Error, AttributeError):
            continue
    return None


def main():
    node = focused()
    if node is None:
        print("null")
        return
    selected = None
    if Atspi.Text.get_n_selections(node) > 0:
        span = Atspi.Text.get_selection(node, 0)
        selected = [span.start_offset, span.end_offset]
    print(json.dumps({"caret": Atspi.Text.get_caret_offset(node), "selected": selected}))


main()
