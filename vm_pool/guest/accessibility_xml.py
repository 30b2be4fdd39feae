"""The accessibility tree in OSWorld's XML form.

Root `desktop-frame`, one child per application, the role as the element's name, everything else as attributes in
namespaces. Source: OSWorld, `desktop_env/server/main.py`, Linux namespaces.
"""

import re
from typing import Any
from xml.etree import ElementTree

_BASE = "https://accessibility.ubuntu.example.org/ns/"
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PREFIXES = {"st": "state", "attr": "attributes", "cp": "component", "txt": "text", "val": "value", "act": "action"}


def tree_xml(root: dict[str, Any]) -> str:
    """`root` in the fields of `vm_pool.types.Node`."""
    for prefix, name in _PREFIXES.items():
        ElementTree.register_namespace(prefix, _BASE + name)
    return ElementTree.tostring(_element(root), encoding="unicode")


def _element(node: dict[str, Any]) -> ElementTree.Element:
    attributes = {"name": _clean(node.get("name", ""))}
    for state in node.get("states", ()):
        attributes[_qualified("state", state)] = "true"
    for key, value in node.get("attributes", {}).items():
        attributes[_qualified("attributes", key)] = _clean(value)
    for action in node.get("actions", ()):
        attributes[_qualified("action", f"{action}_desc")] = ""
        attributes[_qualified("action", f"{action}_kb")] = ""
    if "value" in node:
        attributes[_qualified("value", "value")] = str(node["value"])
    if "box" in node:
        box = node["box"]
        attributes[_qualified("component", "screencoord")] = f"({box['x']}, {box['y']})"
        attributes[_qualified("component", "size")] = f"({box['width']}, {box['height']})"
    element = ElementTree.Element(_NOT_A_NAME.sub("-", node["role"]) or "unknown", attributes)
    element.text = _clean(node["text"]) if node.get("text") else None
    element.extend(map(_element, node.get("children", ())))
    return element


def _qualified(namespace: str, name: str) -> str:
    name = _NOT_A_NAME.sub("_", name)
    return f"{{{_BASE}{namespace}}}{name if name[:1].isalpha() else '_' + name}"


def _clean(text: str) -> str:
    """Without the characters that XML cannot carry."""
    return _NOT_XML.sub("", text)
