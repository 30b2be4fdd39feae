"""An application's tree is put together from its answers, whatever the toolkit leaves out."""

from typing import Any

from vm_pool.guest.accessible_app import AppWalk, LocateWindow
from vm_pool.guest.atspi_names import SHOWING, VISIBLE
from vm_pool.guest.dbus_messages import Call, Reply
from vm_pool.types import Node

ROOT = "/org/a11y/atspi/accessible/root"
SHOWN = SHOWING | VISIBLE
FRAME, PUSH_BUTTON, TEXT = 23, 43, 61
ALL = ["org.a11y.atspi.Accessible", "org.a11y.atspi.Component", "org.a11y.atspi.Text"]


Entry = tuple[int, str, int, list[str], tuple[int, int, int, int], str]
"""Role, name, states, paths of the children, box, text."""


def nowhere(_title: str, _width: int, _height: int) -> tuple[int, int] | None:
    return None


class Toolkit:
    """Answers as one application would."""

    def __init__(
        self, objects: dict[str, Entry], *, name: str = "gtk", version: str = "3.24", cached: tuple[str, ...] = ()
    ):
        self.objects = objects
        self.properties = {"ToolkitName": name, "Version": version}
        self.cached = cached
        self.asked: list[Call] = []

    def answer(self, call: Call) -> Reply | None:
        self.asked.append(call)
        if call.member == "GetItems":
            return Reply(([self.item(path) for path in self.cached],), None) if self.cached else Reply((), "NoCache")
        if call.arguments[1:] and call.arguments[1] in self.properties:
            return Reply((self.properties[call.arguments[1]],), None)
        role, name, states, children, box, text = self.objects[call.path]
        values: dict[str, Any] = {
            "GetRole": role,
            "GetState": [states, 0],
            "GetInterfaces": ALL,
            "GetChildren": [(":1.2", child) for child in children],
            "GetExtents": box,
            "GetText": text,
            "GetAll": {"Name": name, "Description": "", "ChildCount": len(children)},
        }
        if call.member == "Get":
            return Reply(({"CharacterCount": len(text), "ChildCount": len(children)}[call.arguments[1]],), None)
        return Reply((values[call.member],), None) if call.member in values else Reply((), "Unknown")

    def item(self, path: str) -> tuple[Any, ...]:
        role, name, states, children, _, _ = self.objects[path]
        parent = next((above for above, entry in self.objects.items() if path in entry[3]), "/none")
        application = (":1.2", ROOT)
        return ((":1.2", path), application, (":1.2", parent), -1, len(children), ALL, name, role, "", [states, 0])


def walk(
    toolkit: Toolkit, locate: LocateWindow = nowhere, *, use_cache: bool = True, rounds: int = 100
) -> tuple[AppWalk, Node]:
    app = AppWalk(":1.2", ROOT, 1000, locate, use_cache=use_cache)
    steps = app.steps()
    try:
        questions = next(steps)
        for _ in range(rounds):
            questions = steps.send([toolkit.answer(call) for call in questions])
    except StopIteration:
        pass
    return app, Node.model_validate(app.node())


OBJECTS: dict[str, Entry] = {
    ROOT: (75, "editor", 0, ["/w"], (0, 0, 0, 0), ""),
    "/w": (FRAME, "Untitled", SHOWN, ["/2", "/1", "/3"], (10, 20, 300, 200), ""),
    "/1": (PUSH_BUTTON, "Save", SHOWN, [], (15, 25, 40, 20), ""),
    "/2": (TEXT, "", SHOWN, [], (10, 50, 300, 170), "héllo \ufffc"),
    "/3": (PUSH_BUTTON, "Hidden", 0, [], (-2147483648, 0, 1, 1), ""),
}


def test_a_cached_tree_has_order_boxes_and_texts():
    toolkit = Toolkit(OBJECTS, cached=tuple(reversed(OBJECTS)))
    app, root = walk(toolkit)
    [frame] = root.children
    assert (frame.role, frame.name, frame.box and frame.box.model_dump()) == (
        "frame",
        "Untitled",
        {"x": 10, "y": 20, "width": 300, "height": 200},
    )
    assert [child.id for child in frame.children] == [":1.2/2", ":1.2/1", ":1.2/3"]
    assert frame.children[0].text == "héllo "
    assert frame.children[2].box is None
    assert not app.truncated
    assert app.cached == len(OBJECTS)


def test_without_a_cache_only_what_is_showing_is_asked_for():
    toolkit = Toolkit(OBJECTS)
    _, root = walk(toolkit)
    assert [node.name for node in root.walk()] == ["editor", "Untitled", "", "Save"]
    assert not any(call.path == "/3" and call.member == "GetAll" for call in toolkit.asked)


def test_children_that_the_cache_lacks_are_asked_for():
    toolkit = Toolkit(OBJECTS, cached=(ROOT, "/w"))
    _, root = walk(toolkit)
    assert [node.name for node in root.walk()] == ["editor", "Untitled", "", "Save"]


def test_gtk4_boxes_are_moved_to_where_the_window_is():
    objects = {**OBJECTS, "/1": (PUSH_BUTTON, "Save", VISIBLE, [], (5, 6, 40, 20), "")}
    objects["/w"] = (FRAME, "Untitled", SHOWN, ["/1"], (0, 0, 300, 200), "")
    _, root = walk(Toolkit(objects, name="GTK", version="4.8.3"), lambda _title, _width, _height: (700, 400))
    button = root.children[0].children[0]
    assert button.box
    assert (button.box.x, button.box.y) == (705, 406)
    assert "showing" in button.states


def test_gtk4_windows_that_cannot_be_found_have_no_boxes():
    _, root = walk(Toolkit(OBJECTS, name="GTK", version="4.8.3"))
    assert all(node.box is None for node in root.walk())


def test_a_walk_that_is_cut_short_keeps_what_it_has():
    _, root = walk(Toolkit(OBJECTS, cached=tuple(OBJECTS)), rounds=2)
    assert [node.name for node in root.walk()][:2] == ["editor", "Untitled"]


def test_elements_that_claim_each_other_do_not_loop():
    objects = {**OBJECTS, "/1": (PUSH_BUTTON, "Save", SHOWN, ["/w"], (15, 25, 40, 20), "")}
    _, root = walk(Toolkit(objects))
    assert len(list(root.walk())) == 4


def test_a_pane_that_is_not_where_its_container_is_is_put_there():
    root_pane = 46
    objects: dict[str, Entry] = {
        ROOT: OBJECTS[ROOT],
        "/w": (39, "", SHOWN, ["/1"], (0, 46, 300, 200), ""),
        "/1": (root_pane, "", SHOWN, ["/2"], (0, 21, 300, 200), ""),
        "/2": (PUSH_BUTTON, "Save", SHOWN, [], (5, 31, 40, 20), ""),
    }
    _, root = walk(Toolkit(objects))
    assert [(node.role, node.box and node.box.y) for node in root.walk()][1:] == [
        ("panel", 46),
        ("root-pane", 46),
        ("push-button", 56),
    ]
