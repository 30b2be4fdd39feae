"""Grounding by the accessibility tree: `#number`, or words matched against role, name, description and text.

The score is open to inspection: 1.0 when the name is the phrase, else the share of the phrase's words that the
element's name, text, role and window account for, weighted by how much of the name they cover and by the role. Two
elements that fit equally well are an honest NotFound that lists both, never a coin toss.
"""

import re
from collections.abc import Sequence

from agent_s3.elements import Element, content, line, name_of
from agent_s3.grounding import NotFound
from agent_s3.observation import Observation, covered_by
from agent_s3.types import Grounding
from vm_pool.types import Box

ENOUGH = 0.55
"""Least score of a match."""
CLEAR = 0.08
"""Least lead over the second best."""
_NEAREST = 4
_NUMBER = re.compile(r"^\W*#\s?(\d{1,4})\b|^(?:element|number|item|no\.?)\s+#?(\d{1,4})$", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]+)[\"“”«»]|(?<!\w)['‘]([^'’]+)['’](?!\w)")
_FILLER_WORDS = "the a an in on of at to for with labeled labelled named called that says this which is and"
_FILLERS = frozenset(_FILLER_WORDS.split())
_PLACE_WORDS = "window dialog bar toolbar menubar top bottom left right upper lower main panel pane screen side first"
_PLACES = frozenset(_PLACE_WORDS.split())
"""Words that say where an element is; the tree cannot check them, so they weigh little."""
_ROLE_WORDS: dict[str, frozenset[str]] = {
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


class TreeGrounder:
    """Looks only at the elements of the observation; asks nobody."""

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        return locate(observation, phrase)


def locate(observation: Observation, phrase: str) -> Grounding | NotFound:
    """Pure form of `TreeGrounder.locate`."""
    elements = (*observation.elements.elements, *observation.elements.unlisted)
    if not elements:
        return NotFound(phrase, "this desktop shows no elements by name")
    if (number := _number(phrase, elements)) is not None:
        return _by_number(observation, phrase, number)
    ranked = sorted(((score(phrase, e), e) for e in elements), key=lambda pair: -pair[0])
    best = ranked[0][0]
    if best < ENOUGH:
        return NotFound(phrase, "no element fits", _lines(ranked[:_NEAREST], above=0.15))
    rivals = [pair for pair in ranked if pair[0] > best - CLEAR]
    element = _one_place([e for _, e in rivals])
    if element is None:
        return NotFound(phrase, "several elements fit, name one by its #number", _lines(rivals[:_NEAREST], above=0))
    return _at(observation, phrase, element, by="tree")


def score(phrase: str, element: Element) -> float:
    """How well an element fits a phrase, 0 to 1; see the module for the rule."""
    node = element.node
    quoted = next((a or b for a, b in _QUOTED.findall(phrase)), None)
    name = _fold(name_of(node)) or _fold(node.description)
    held = _fold(content(node))[:200]
    if quoted is not None and _fold(quoted) not in (name, held):
        return 0.0
    if _fold(phrase) == name or (quoted is not None and not _roles(phrase, element)):
        return 1.0 if _fold(phrase) == name else 0.8
    words = _words(phrase)
    named, roles = _words(name), {w for w in words if node.role in _ROLE_WORDS.get(w, ())}
    wanted = [w for w in words if w not in _ROLE_WORDS] or words
    known, around = {*named, *_words(held), *roles}, {*_words(element.window), *_words(element.app)}
    hit = _share(wanted, known, around)
    covered = sum(w in words for w in named) / len(named) if named else 0.5
    role = 1.0 if roles else 0.5 if not any(w in _ROLE_WORDS for w in words) else 0.0
    return min(0.99, hit * (0.6 + 0.25 * covered + 0.15 * role))


def _share(wanted: Sequence[str], known: set[str], around: set[str]) -> float:
    """Share of the wanted words that the element, or else its window, accounts for; the window alone is not enough."""
    weights = {w: 0.3 if w in _PLACES else 1.0 for w in wanted}
    if not weights or not any(w in known for w in weights):
        return 0.0
    hits = sum(weight * (1.0 if w in known else 0.8 if w in around else 0.0) for w, weight in weights.items())
    return hits / sum(weights.values())


def _roles(phrase: str, element: Element) -> bool:
    """Whether the phrase names roles and this element has none of them."""
    named = [_ROLE_WORDS[w] for w in _words(_QUOTED.sub(" ", phrase)) if w in _ROLE_WORDS]
    return bool(named) and not any(element.node.role in roles for roles in named)


def _number(phrase: str, elements: Sequence[Element]) -> int | None:
    """The number that a phrase names; a bare number is one unless an element has just that name (a calculator's 7)."""
    if match := _NUMBER.search(phrase.strip()):
        return int(match[1] or match[2])
    bare = phrase.strip()
    if bare.isascii() and bare.isdigit() and len(bare) <= 4 and all(name_of(e.node) != bare for e in elements):
        return int(bare)
    return None


def _by_number(observation: Observation, phrase: str, number: int) -> Grounding | NotFound:
    element = observation.elements.by_number.get(number)
    if element is None:
        return NotFound(phrase, f"there is no #{number}; the list goes from 1 to {len(observation.elements.elements)}")
    return _at(observation, phrase, element, by="number")


def _at(observation: Observation, phrase: str, element: Element, *, by: str) -> Grounding | NotFound:
    """The middle of the element's visible part."""
    box = element.node.box
    if box is None:
        return NotFound(phrase, "the element is not showing")
    left, top = max(0, box.x), max(0, box.y)
    right, bottom = min(observation.width, box.x + box.width), min(observation.height, box.y + box.height)
    if left >= right or top >= bottom:
        return NotFound(phrase, "the element lies outside the screen; scroll to it", (line(element),))
    x, y = (left + right) // 2, (top + bottom) // 2
    if cover := covered_by(observation.look.windows or (), element.window, x, y):
        return NotFound(phrase, f"the window {cover!r} covers it; bring its own window to the front first")
    name = f"{element.node.role} {name_of(element.node)}".strip()
    return Grounding(phrase=phrase, x=x, y=y, box=box, by=by, element=name)


def _one_place(rivals: Sequence[Element]) -> Element | None:
    """The first whose middle lies in all of them: a label in its button, a text in its paragraph, a cell in its row."""
    boxes = [e.node.box for e in rivals]
    return next((e for e in rivals if all(_middle_in(e.node.box, box) for box in boxes)), None)


def _middle_in(inner: Box | None, outer: Box | None) -> bool:
    return inner is outer or (inner is not None and outer is not None and outer.contains(*inner.center))


def _lines(ranked: Sequence[tuple[float, Element]], *, above: float) -> tuple[str, ...]:
    return tuple(line(e) for points, e in ranked if points > above)


def _fold(text: str) -> str:
    return " ".join(text.casefold().replace("…", "").split()).strip(" .:")


def _words(text: str) -> list[str]:
    words = [
        w for w in re.findall(r"[\w+#./-]+", text.casefold().replace("check box", "checkbox")) if w not in _FILLERS
    ]
    return [w.strip(".-/") or w for w in words]
