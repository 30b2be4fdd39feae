"""One application's accessibility tree: which questions to ask it, and what its answers mean."""

from collections.abc import Generator
from typing import Any

from .accessible_element import Element
from .atspi_names import DEFUNCT, MANAGES_DESCENDANTS, SHOWING, VISIBLE, role_name, state_names
from .box_repairs import LocateWindow, place_gtk4_windows, put_root_panes_in_place
from .dbus_messages import Call, Reply
from .visible_cells import visible_cells

MAX_DEPTH = 60
MAX_CHILDREN = 1024
TEXT_LIMIT = 20_000
"""Characters of one text element."""
_CACHE_PATH = "/org/a11y/atspi/cache"
_ACCESSIBLE = "org.a11y.atspi.Accessible"
_COMPONENT = "org.a11y.atspi.Component"
_TEXT = "org.a11y.atspi.Text"
_VALUE = "org.a11y.atspi.Value"
_ACTION = "org.a11y.atspi.Action"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_SCREEN_COORDINATES, _WINDOW_COORDINATES = 0, 1
_EMBEDDED = str.maketrans("", "", "\ufffc\ufffd")

Questions = list[Call]
Walk = Generator[Questions, "list[Reply | None]", None]


class AppWalk:
    """Reads one application. `root` and `truncated` hold what is known so far, also when the walk is cut short."""

    def __init__(self, bus_name: str, root_path: str, max_nodes: int, locate_window: LocateWindow, *, use_cache: bool):
        self.bus_name = bus_name
        self.root: Element | None = None
        self.truncated = False
        self._root_path = root_path
        self.cached = 0
        """How many elements the toolkit's cache held, closed menus included; 0 when it was not asked."""
        self._max_nodes = max_nodes
        self._use_cache = use_cache
        self._locate_window = locate_window
        self._is_gtk = False
        """GTK's attributes say only that it is GTK."""
        self._is_gtk4 = False
        self._elements: dict[str, Element] = {}
        self._unordered: set[str] = set()
        """Parents whose children came without places; GTK 3 caches say -1 for all."""

    def steps(self) -> Walk:
        """Yields questions, is sent their answers in order; None where an answer is missing."""
        toolkit, version, *cache = map(_values, (yield self._first_questions()))
        self._is_gtk = bool(toolkit and str(toolkit[0]).lower() == "gtk")
        self._is_gtk4 = bool(self._is_gtk and version and str(version[0]).startswith("4"))
        if cache and cache[0]:
            self._take_items(cache[0][0])
        self.root = self._elements.get(self._root_path)
        if self.root is None:
            self.root = self._elements[self._root_path] = Element(self._root_path)
            yield from self._ask_basics([self.root])
        yield from self._ask_counts()
        yield from self._complete_children()
        for table in [element for element in self._reachable() if element.showing and _is_huge_table(element)]:
            table.children = yield from visible_cells(self._call, table)
        if self._is_gtk4:
            self._show_visible()
        showing = [element for element in self._reachable() if element.showing]
        yield from self._ask_order([element for element in showing if element.path in self._unordered])
        yield from self._ask_details(showing)
        if self.root is not None and self._is_gtk4:
            place_gtk4_windows(self.root, self._locate_window)
        elif self.root is not None:
            put_root_panes_in_place(self.root)

    def _first_questions(self) -> Questions:
        application = "org.a11y.atspi.Application"
        questions = [self._property(self._root_path, application, name) for name in ("ToolkitName", "Version")]
        if self._use_cache:
            questions.append(self._call(_CACHE_PATH, "org.a11y.atspi.Cache", "GetItems"))
        return questions

    def node(self) -> dict[str, Any]:
        """The tree read so far, in the fields of `vm_pool.types.Node`."""
        if self.root is None:
            raise ValueError("the application has not answered")
        return self._node(self.root)

    def _call(self, path: str, interface: str, member: str, signature: str = "", *arguments: Any) -> Call:
        return Call(self.bus_name, path, interface, member, signature, arguments)

    def _property(self, path: str, interface: str, name: str) -> Call:
        return self._call(path, _PROPERTIES, "Get", "ss", interface, name)

    def _take_items(self, items: list[tuple[Any, ...]]) -> None:
        """The toolkit's cache: every object with its parent and its place there."""
        places: dict[str, list[tuple[int, int, Element]]] = {}
        for item in items[: self._max_nodes]:
            (_, path), _, (_, parent), index, child_count, interfaces, name, role, description, states = item
            element = self._elements.setdefault(path, Element(path))
            element.name, element.role, element.description = name, role_name(role), description
            element.interfaces, element.states = interfaces, _bits(states)
            if isinstance(child_count, int):
                element.child_count = child_count
            place = index if isinstance(index, int) else -1
            places.setdefault(parent, []).append((place, _age(path), element))
        self.cached = len(items)
        self.truncated |= self.cached > self._max_nodes
        for parent, children in places.items():
            if parent in self._elements:
                ordered = sorted(children, key=lambda place: place[:2])
                self._elements[parent].children = [child for _, _, child in ordered]
                if len(children) > 1 and ordered[0][0] < 0:
                    self._unordered.add(parent)

    def _ask_counts(self) -> Walk:
        """GTK 3 caches say -1 for the number of rows of lists and tables."""
        unknown = [element for element in self._reachable() if element.child_count < 0 and element.showing]
        answers = yield [self._property(element.path, _ACCESSIBLE, "ChildCount") for element in unknown]
        for element, answer in zip(unknown, answers, strict=True):
            values = _values(answer)
            element.child_count = int(values[0]) if values else 0

    def _show_visible(self) -> None:
        """GTK 4 says of windows only that they are showing; of what is in them it says that it is visible."""
        pending = [] if self.root is None else list(self.root.children)
        while pending:
            element = pending.pop()
            if element.states & VISIBLE:
                element.states |= SHOWING
                pending += element.children

    def _complete_children(self) -> Walk:
        """Ask for the children that the cache lacks, level by level."""
        asked: set[str] = set()
        for _ in range(MAX_DEPTH):
            lacking = [element for element in self._reachable() if element.path not in asked and self._lacks(element)]
            if not lacking:
                return
            asked.update(element.path for element in lacking)
            yield from self._ask_children(lacking)

    def _lacks(self, element: Element) -> bool:
        """Whether children are missing that are worth asking for: not in closed menus, not a million cells."""
        if not self._is_worth_asking(element):
            return False
        if element.states & MANAGES_DESCENDANTS and element.child_count > MAX_CHILDREN:
            return False
        return element.child_count > 0 and len(element.children) < min(element.child_count, MAX_CHILDREN)

    def _is_worth_asking(self, element: Element) -> bool:
        """What is not showing is taken from a cache, but never asked for."""
        return element.showing or element is self.root or self._is_gtk4

    def _ask_order(self, parents: list[Element]) -> Walk:
        """Put children that are known into the order in which the toolkit has them."""
        answers = yield [self._call(parent.path, _ACCESSIBLE, "GetChildren") for parent in parents]
        for parent, answer in zip(parents, answers, strict=True):
            places = {path: place for place, (_, path) in enumerate((_values(answer) or [[]])[0])}
            parent.children.sort(key=lambda child: places.get(child.path, len(places)))

    def _ask_children(self, parents: list[Element]) -> Walk:
        answers = yield [self._call(parent.path, _ACCESSIBLE, "GetChildren") for parent in parents]
        unknown: list[Element] = []
        for parent, answer in zip(parents, answers, strict=True):
            paths = [path for name, path in (_values(answer) or [[]])[0] if name == self.bus_name]
            self.truncated |= len(paths) > MAX_CHILDREN
            for path in paths[:MAX_CHILDREN]:
                if path not in self._elements and len(self._elements) < self._max_nodes:
                    self._elements[path] = Element(path)
                    unknown.append(self._elements[path])
            parent.children = [self._elements[path] for path in paths[:MAX_CHILDREN] if path in self._elements]
        yield from self._ask_basics(unknown)
        for parent in parents:
            parent.children = [child for child in parent.children if self._is_worth_asking(child) or child.interfaces]

    def _ask_basics(self, elements: list[Element]) -> Walk:
        """What the cache would have said about them; of what is not showing only that."""
        states = yield [self._call(element.path, _ACCESSIBLE, "GetState") for element in elements]
        for element, answer in zip(elements, states, strict=True):
            values = _values(answer)
            element.states = _bits(values[0]) if values else DEFUNCT
        wanted = [element for element in elements if self._is_worth_asking(element)]
        questions: Questions = []
        for element in wanted:
            questions.append(self._call(element.path, _PROPERTIES, "GetAll", "s", _ACCESSIBLE))
            questions += [self._call(element.path, _ACCESSIBLE, name) for name in ("GetRole", "GetInterfaces")]
        answers = yield questions
        for number, element in enumerate(wanted):
            properties, role, interfaces = map(_values, answers[3 * number : 3 * number + 3])
            if properties:
                element.name = str(properties[0].get("Name", ""))
                element.description = str(properties[0].get("Description", ""))
                element.child_count = int(properties[0].get("ChildCount", 0))
            element.role = role_name(role[0]) if role else "unknown"
            element.interfaces = interfaces[0] if interfaces else []

    def _ask_details(self, showing: list[Element]) -> Walk:
        """Boxes, values, actions and attributes of what is on the screen, then texts by their lengths."""
        questions: list[tuple[Element, str, Call]] = []
        for element in showing:
            path, interfaces = element.path, element.interfaces
            if _COMPONENT in interfaces:
                frame = _WINDOW_COORDINATES if self._is_gtk4 else _SCREEN_COORDINATES
                extents = self._call(path, _COMPONENT, "GetExtents", "u", frame)
                questions.append((element, "box", extents))
            if _TEXT in interfaces:
                questions.append((element, "length", self._property(path, _TEXT, "CharacterCount")))
            if _VALUE in interfaces:
                questions.append((element, "value", self._property(path, _VALUE, "CurrentValue")))
            if _ACTION in interfaces:
                questions.append((element, "actions", self._call(path, _ACTION, "GetActions")))
            if not self._is_gtk:
                questions.append((element, "attributes", self._call(path, _ACCESSIBLE, "GetAttributes")))
        answers = yield [call for _, _, call in questions]
        lengths: list[tuple[Element, int]] = []
        for (element, what, _), answer in zip(questions, answers, strict=True):
            values = _values(answer)
            if values and what == "length":
                lengths.append((element, int(values[0])))
            elif values:
                _take_detail(element, what, values)
        yield from self._ask_texts(lengths)

    def _ask_texts(self, lengths: list[tuple[Element, int]]) -> Walk:
        answers = yield [
            self._call(element.path, _TEXT, "GetText", "ii", 0, min(length, TEXT_LIMIT)) for element, length in lengths
        ]
        for (element, length), answer in zip(lengths, answers, strict=True):
            values = _values(answer)
            if values:
                element.text = values[0].translate(_EMBEDDED)
                self.truncated |= length > TEXT_LIMIT

    def _reachable(self) -> Generator[Element, None, None]:
        """Elements from the root down, parents first, each once."""
        seen: set[str] = set()
        level = [self.root] if self.root is not None else []
        for _ in range(MAX_DEPTH):
            fresh = [element for element in level if element.path not in seen]
            seen.update(element.path for element in fresh)
            yield from fresh
            level = [child for element in fresh for child in element.children]
        self.truncated |= bool(level)

    def _node(self, root: Element) -> dict[str, Any]:
        """Plain data from the leaves up; an element that claims two parents stays with the first."""
        order = list(self._reachable())
        nodes = {element.path: self._plain(element) for element in order}
        taken = {root.path}
        for element in order:
            mine = [child.path for child in element.children if child.path in nodes and child.path not in taken]
            taken.update(mine)
            if mine:
                nodes[element.path]["children"] = [nodes[path] for path in mine]
        return nodes[root.path]

    def _plain(self, element: Element) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "id": f"{self.bus_name}{element.path}",
            "role": element.role,
            "name": element.name,
            "states": state_names(element.states),
        }
        optional = {
            "text": element.text,
            "value": element.value,
            "description": element.description or None,
            "attributes": element.attributes or None,
            "actions": element.actions or None,
            "box": element.box and dict(zip(("x", "y", "width", "height"), element.box, strict=True)),
        }
        plain.update((name, value) for name, value in optional.items() if value is not None)
        return plain


def _is_huge_table(element: Element) -> bool:
    return "org.a11y.atspi.Table" in element.interfaces and element.child_count > MAX_CHILDREN


def _take_detail(element: Element, what: str, values: tuple[Any, ...]) -> None:
    if what == "box":
        x, y, width, height = values[0]
        # Toolkits say -1 or a huge negative number for what they have not laid out.
        element.box = (x, y, width, height) if width > 0 and height > 0 and x > -10_000 and y > -10_000 else None
    elif what == "value":
        element.value = float(values[0])
    elif what == "actions":
        element.actions = [name for name, _, _ in values[0] if name]
    elif what == "attributes":
        element.attributes = {str(key): str(value) for key, value in values[0].items() if key != "toolkit"}


def _values(reply: Reply | None) -> tuple[Any, ...] | None:
    return None if reply is None or reply.error else reply.values


def _age(path: str) -> int:
    """Toolkits number their objects as they make them, which for menus and lists is their order."""
    number = path.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def _bits(words: list[int]) -> int:
    return sum(word << 32 * number for number, word in enumerate(words[:2]))
