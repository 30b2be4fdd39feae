"""Grounding by the accessibility tree: `#number`, or words matched against role, name, description and text.

The score is open to inspection: 1.0 when the name is the phrase, else the share of the phrase's words that the
element's name, text, role and window account for, weighted by how much of the name they cover and by the role. Two
elements that fit equally well are an honest NotFound that lists both, never a coin toss.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from agent_s3.elements import Element, content, line, name_of
from agent_s3.grounding import NotFound
from agent_s3.grounding.phrases import PLACES, QUOTED, ROLE_WORDS, fold, quoted, words_of
from agent_s3.observation import Observation, covered_by
from agent_s3.types import Grounding, Tried
from vm_pool.types import Box

ENOUGH = 0.55
"""Least score of a match."""
CLEAR = 0.08
"""Least lead over the second best."""
_NEAREST = 4
_NUMBER = re.compile(r"^\W*#\s?(\d{1,4})\b|^(?:element|number|item|no\.?)\s+#?(\d{1,4})$", re.IGNORECASE)


class TreeGrounder:
    """Looks only at the elements of the observation; asks nobody."""

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        found = locate(observation, phrase)
        reason = found.reason if isinstance(found, NotFound) else ""
        tried = (Tried(by="tree", reason=reason),)
        return replace(found, tried=tried) if isinstance(found, NotFound) else found.model_copy(update={"tried": tried})


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
    return _at(observation, phrase, element, by="tree", fits=round(best, 3))


def score(phrase: str, element: Element) -> float:
    """How well an element fits a phrase, 0 to 1; see the module for the rule."""
    node = element.node
    said = quoted(phrase)
    name = fold(name_of(node)) or fold(node.description)
    held = fold(content(node))[:200]
    if said is not None and fold(said) not in (name, held):
        return 0.0
    if fold(phrase) == name or (said is not None and not _roles(phrase, element)):
        return 1.0 if fold(phrase) == name else 0.8
    words = words_of(phrase)
    named, roles = words_of(name), {w for w in words if node.role in ROLE_WORDS.get(w, ())}
    wanted = [w for w in words if w not in ROLE_WORDS] or words
    known, around = {*named, *words_of(held), *roles}, {*words_of(element.window), *words_of(element.app)}
    hit = _share(wanted, known, around)
    covered = sum(w in words for w in named) / len(named) if named else 0.5
    role = 1.0 if roles else 0.5 if not any(w in ROLE_WORDS for w in words) else 0.0
    return min(0.99, hit * (0.6 + 0.25 * covered + 0.15 * role))


def _share(wanted: Sequence[str], known: set[str], around: set[str]) -> float:
    """Share of the wanted words that the element, or else its window, accounts for; the window alone is not enough."""
    weights = {w: 0.3 if w in PLACES else 1.0 for w in wanted}
    if not weights or not any(w in known for w in weights):
        return 0.0
    hits = sum(weight * (1.0 if w in known else 0.8 if w in around else 0.0) for w, weight in weights.items())
    return hits / sum(weights.values())


def _roles(phrase: str, element: Element) -> bool:
    """Whether the phrase names roles and this element has none of them."""
    named = [ROLE_WORDS[w] for w in words_of(QUOTED.sub(" ", phrase)) if w in ROLE_WORDS]
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
        reason = f"there is no #{number}; the list goes from 1 to {len(observation.elements.elements)}"
        return NotFound(phrase, reason, final=True)
    return _at(observation, phrase, element, by="number")


def _at(
    observation: Observation, phrase: str, element: Element, *, by: str, fits: float | None = None
) -> Grounding | NotFound:
    """The middle of the element's visible part."""
    box = element.node.box
    if box is None:
        return NotFound(phrase, "the element is not showing")
    screen = observation.display.screen
    left, top = max(screen.x, box.x), max(screen.y, box.y)
    right, bottom = min(screen.x + screen.width, box.x + box.width), min(screen.y + screen.height, box.y + box.height)
    if left >= right or top >= bottom:
        return NotFound(phrase, "the element lies outside the screen; scroll to it", (line(element),))
    x, y = (left + right) // 2, (top + bottom) // 2
    if cover := covered_by(observation.look.windows or (), element.window, x, y):
        return NotFound(phrase, f"the window {cover!r} covers it; bring its own window to the front first")
    name = f"{element.node.role} {name_of(element.node)}".strip()
    return Grounding(phrase=phrase, x=x, y=y, box=box, by=by, element=name, score=fits)


def _one_place(rivals: Sequence[Element]) -> Element | None:
    """The first whose middle lies in all of them: a label in its button, a text in its paragraph, a cell in its row."""
    boxes = [e.node.box for e in rivals]
    return next((e for e in rivals if all(_middle_in(e.node.box, box) for box in boxes)), None)


def _middle_in(inner: Box | None, outer: Box | None) -> bool:
    return inner is outer or (inner is not None and outer is not None and outer.contains(*inner.center))


def _lines(ranked: Sequence[tuple[float, Element]], *, above: float) -> tuple[str, ...]:
    return tuple(line(e) for points, e in ranked if points > above)
