"""OSWorld's accessibility XML as a `Tree`. Pure.

Source: OSWorld, `desktop_env/server/main.py`: roles as element names, the rest as attributes in namespaces that end in
`/state`, `/component`, `/value`, `/action` and `/attributes`.
"""

import re
from xml.etree import ElementTree

from vm_pool.types import Box, Node, Tree

_QUALIFIED = re.compile(r"\{(?:.*/)?([a-z]+)[^/}]*\}(.*)")
_PAIR = re.compile(r"\((-?\d+), *(-?\d+)\)")
_MAX_DEPTH = 80
_MAX_NODES = 20_000


def parse_tree(xml: str) -> Tree:
    """Raises: `ValueError` when this is no XML."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 - expat 2.4 and newer limit how entities expand
    except ElementTree.ParseError as error:
        raise ValueError(f"the accessibility tree is no XML: {error}") from error
    builder = _Builder()
    return Tree(root=builder.node(root, "0", 0), truncated=builder.truncated)


class _Builder:
    def __init__(self) -> None:
        self.truncated = False
        self._count = 0

    def node(self, element: ElementTree.Element, path: str, depth: int) -> Node:
        self._count += 1
        groups = _groups(element)
        children: list[Node] = []
        for number, child in enumerate(element):
            if depth >= _MAX_DEPTH or self._count >= _MAX_NODES:
                self.truncated = True
                break
            children.append(self.node(child, f"{path}.{number}", depth + 1))
        return Node(
            id=path,
            role=element.tag.rpartition("}")[2],
            name=element.get("name", ""),
            text=element.text.strip() if element.text and element.text.strip() else None,
            value=_number(groups.get("value", {}).get("value")),
            box=_box(groups.get("component", {})),
            states=frozenset(name for name, value in groups.get("state", {}).items() if value == "true"),
            attributes=groups.get("attributes", {}),
            actions=tuple(name[:-5] for name in groups.get("action", {}) if name.endswith("_desc")),
            children=tuple(children),
        )


def _groups(element: ElementTree.Element) -> dict[str, dict[str, str]]:
    """Attributes by the last word of their namespace."""
    groups: dict[str, dict[str, str]] = {}
    for qualified, value in element.attrib.items():
        found = _QUALIFIED.fullmatch(qualified)
        if found is not None:
            groups.setdefault(found[1], {})[found[2]] = value
    return groups


def _box(component: dict[str, str]) -> Box | None:
    place = _PAIR.fullmatch(component.get("screencoord", ""))
    size = _PAIR.fullmatch(component.get("size", ""))
    if place is None or size is None or int(size[1]) <= 0 or int(size[2]) <= 0:
        return None
    return Box(x=int(place[1]), y=int(place[2]), width=int(size[1]), height=int(size[2]))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
