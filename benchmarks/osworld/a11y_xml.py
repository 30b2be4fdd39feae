"""The accessibility tree as the XML that OSWorld's guests answer with. Pure.

Source: upstream's guest server `/accessibility`: element name = role, attributes in namespaces per kind.
"""

import re
from xml.etree import ElementTree as ET

from vm_pool.types import Node, Tree

_BASE = "https://accessibility.ubuntu.example.org/ns/"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffb\U00010000-\U0010ffff]")
"""Beyond what XML refuses: object replacement and replacement characters, which upstream drops too."""


def to_xml(tree: Tree) -> str:
    """The whole tree as text, root `desktop-frame`."""
    root = _element(tree.root)
    root.tag = "desktop-frame"
    return ET.tostring(root, encoding="unicode")


def _element(node: Node) -> ET.Element:
    element = ET.Element(_tag(node.role), {"name": _clean(node.name)})
    for state in sorted(node.states):
        element.set(f"{{{_BASE}state}}{_tag(state)}", "true")
    for key, value in node.attributes.items():
        element.set(f"{{{_BASE}attributes}}{_tag(key)}", _clean(value))
    if node.box is not None:
        element.set(f"{{{_BASE}component}}screencoord", f"({node.box.x}, {node.box.y})")
        element.set(f"{{{_BASE}component}}size", f"({node.box.width}, {node.box.height})")
    if node.value is not None:
        element.set(f"{{{_BASE}value}}value", str(node.value))
    element.text = _clean(node.text or "")
    element.extend(_element(child) for child in node.children)
    return element


def _tag(name: str) -> str:
    cleaned = _NOT_IN_NAMES.sub("-", name).strip("-.") or "unknown"
    return cleaned if not cleaned[0].isdecimal() else f"n{cleaned}"


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("", text)
