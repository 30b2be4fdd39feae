"""Grounding by visible text: what a phrase names is looked for among the words read from the picture of the screen."""

import logging
import re

from agent_s3 import ocr
from agent_s3.coordinates import Point
from agent_s3.elements import squeeze
from agent_s3.grounding import NotFound
from agent_s3.grounding.phrases import PLACES, ROLE_WORDS, quoted, words_of
from agent_s3.grounding.reading import ScreenReader
from agent_s3.grounding.spans import Found, best, find, find_ends
from agent_s3.observation import Observation
from agent_s3.types import Grounding, Tried
from vm_pool.types import Box

log = logging.getLogger(__name__)

_TEXT_KINDS = "button link tab menu item label text cell file folder checkbox radio document dropdown"
_SAID_BY_ITS_TEXT = frozenset(_TEXT_KINDS.split())
"""Kinds of elements that are clicked on the text which names them. The text of a field, say, stands beside it."""
_REST = re.compile(r"\s(?:in|on|of|at|from|under|below|above|near|beside|next to|inside|within)\s", re.IGNORECASE)
_NEAREST = 4


class TextGrounder:
    """Looks for the phrase's words on the picture; asks no model."""

    def __init__(self, reader: ScreenReader) -> None:
        self._reader = reader

    async def locate(self, observation: Observation, phrase: str) -> Grounding | NotFound:
        if observation.frame is None:
            return _miss(phrase, "there is no picture of the screen")
        text = wanted_text(phrase)
        if text is None:
            return _miss(phrase, "it is not named by a text that it shows")
        try:
            words = await self._reader.words(observation.frame)
        except ocr.OcrMissing as error:
            log.warning("%s", error)
            return _miss(phrase, "text is not read from pictures here")
        found = best(find(words, text), text)
        if len(found) != 1:
            return _miss(phrase, _why_not(text, found), *(_told(f, observation) for f in found[:_NEAREST]))
        return _at(observation, phrase, found[0])


async def locate_span(
    reader: ScreenReader, observation: Observation, start: str, end: str
) -> tuple[Grounding, Grounding] | None:
    """From before the first to behind the last letter of a text that shows; None: it does not, or is not read here."""
    if observation.frame is None:
        return None
    try:
        ends = find_ends(await reader.words(observation.frame), start, end)
    except ocr.OcrMissing as error:
        log.warning("%s", error)
        return None
    if ends is None:
        return None
    first, last = ends.first, ends.last
    beyond = min(last.x + last.width, observation.frame.width - 1)
    return (
        _end(observation, start, Point(first.x, first.center[1]), first),
        _end(observation, end, Point(beyond, last.center[1]), last),
    )


def _end(observation: Observation, phrase: str, at: Point, box: Box) -> Grounding:
    x, y = observation.display.to_screen(at)
    screen_box, tried = observation.display.box_to_screen(box), (Tried(by="ocr"),)
    return Grounding(phrase=phrase, x=x, y=y, box=screen_box, by="ocr", tried=tried)


def wanted_text(phrase: str) -> str | None:
    """The text that an element must show to be what the phrase means; None: the phrase does not say.

    Quoted text, else what is left without articles, kinds and places: `Save As` of `the Save As item in the menu`.
    """
    if (text := quoted(phrase)) is not None:
        return text.strip() or None
    head = _REST.split(phrase, maxsplit=1)[0]
    words = words_of(head)
    kinds = {word for word in words if word in ROLE_WORDS}
    if kinds - _SAID_BY_ITS_TEXT:
        return None
    telling = {word for word in words if word not in ROLE_WORDS and word not in PLACES}
    return " ".join(w for w in head.split() if set(words_of(w)) & telling) or None


def _why_not(text: str, found: list[Found]) -> str:
    if not found:
        return f"no text on the screen reads {squeeze(text, 60)!r}"
    return "that text shows in several places, say which by the words around it"


def _told(found: Found, observation: Observation) -> str:
    x, y = observation.display.to_screen(Point(*found.box.center))
    return f'"{squeeze(found.text, 60)}" at ({x}, {y})'


def _miss(phrase: str, reason: str, *nearest: str) -> NotFound:
    return NotFound(phrase, reason, nearest, tried=(Tried(by="ocr", reason=reason),))


def _at(observation: Observation, phrase: str, found: Found) -> Grounding:
    x, y = observation.display.to_screen(Point(*found.box.center))
    return Grounding(
        phrase=phrase,
        x=x,
        y=y,
        box=observation.display.box_to_screen(found.box),
        by="ocr",
        element=f"text {squeeze(found.text, 80)}",
        score=found.score,
        tried=(Tried(by="ocr"),),
    )
