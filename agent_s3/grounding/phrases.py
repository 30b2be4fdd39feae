"""What a phrase that names an element says: words, quoted text, kinds and places. Pure."""

import re

QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]+)[\"“”«»]|(?<!\w)['‘]([^'’]+)['’](?!\w)")
_FILLER_WORDS = "the a an in on of at to for with labeled labelled named called that says this which is and"
_FILLERS = frozenset(_FILLER_WORDS.split())
_PLACE_WORDS = "window dialog bar toolbar menubar top bottom left right upper lower main panel pane screen side first"
PLACES = frozenset(_PLACE_WORDS.split())
"""Words that say where an element is; the tree cannot check them, so they weigh little."""
ROLE_WORDS: dict[str, frozenset[str]] = {
    "button": frozenset({"push-button", "toggle-button", "button", "radio-button", "push-button-menu"}),
    "checkbox": frozenset({"check-box", "check-menu-item"}),
    "radio": frozenset({"radio-button", "radio-menu-item"}),
    "menu": frozenset({"menu", "menu-item"}),
    "item": frozenset({"menu-item", "list-item", "tree-item", "icon", "table-cell", "check-menu-item"}),
    "link": frozenset({"link"}),
    "tab": frozenset({"page-tab"}),
    "field": frozenset({"text", "entry", "password-text", "spin-button", "combo-box", "editbar"}),
    "box": frozenset({"text", "entry", "combo-box", "check-box"}),
    "entry": frozenset({"text", "entry", "password-text"}),
    "input": frozenset({"text", "entry", "password-text", "spin-button"}),
    "text": frozenset({"text", "entry", "paragraph", "label", "document-text"}),
    "area": frozenset({"text", "entry", "document-text", "terminal"}),
    "editor": frozenset({"text", "entry", "document-text"}),
    "dropdown": frozenset({"combo-box"}),
    "icon": frozenset({"icon", "push-button", "toggle-button", "list-item"}),
    "cell": frozenset({"table-cell"}),
    "terminal": frozenset({"terminal"}),
    "slider": frozenset({"slider"}),
    "file": frozenset({"icon", "table-cell", "list-item", "tree-item"}),
    "folder": frozenset({"icon", "table-cell", "list-item", "tree-item"}),
    "label": frozenset({"label"}),
    "document": frozenset({"document-text", "text", "document-web"}),
}
"""Word for a kind of element -> roles of the accessibility tree that it may mean."""


def quoted(phrase: str) -> str | None:
    """The text that a phrase gives in quotes; None when there is none."""
    return next((a or b for a, b in QUOTED.findall(phrase)), None)


def fold(text: str) -> str:
    return " ".join(text.casefold().replace("…", "").split()).strip(" .:")


def words_of(text: str) -> list[str]:
    """The words that tell something, folded."""
    words = [
        w for w in re.findall(r"[\w+#./-]+", text.casefold().replace("check box", "checkbox")) if w not in _FILLERS
    ]
    return [w.strip(".-/") or w for w in words]
