"""Finding a text among words that were read from a picture. Pure.

What is read is sometimes taken apart, and letters are taken for others, so spaces and most punctuation do not count,
and letters that look alike are tried as one; a longer text may also differ in a few letters, which its score says.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from agent_s3.ocr import Word, lines
from vm_pool.types import Box

ALIKE = 0.85
"""Least similarity of a text that differs in some letters."""
_LONG = 6
"""So many letters a text must have to be found with some of them wrong."""
_SIGNS = frozenset("+-%@#$€£&/<>*=")
_LOOK_ALIKE = str.maketrans("oil|!", "01111")
_LOOK_ALIKE_SCORE = 0.95

Fold = Callable[[str], str]


class Found(NamedTuple):
    """Words in a row that are the text."""

    words: tuple[Word, ...]
    score: float
    """1: letter for letter, as sure as the reader is; see the module for what takes from it."""
    alone: bool
    """Whether the row consists of nothing else."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def box(self) -> Box:
        boxes = [word.box for word in self.words]
        x, y = min(b.x for b in boxes), min(b.y for b in boxes)
        right, bottom = max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)
        return Box(x=x, y=y, width=right - x, height=bottom - y)


class Ends(NamedTuple):
    """A text from its first to its last word."""

    first: Box
    last: Box


def find(words: Iterable[Word], text: str) -> list[Found]:
    """Every place where the words are the text, in reading order; the surest kind of likeness that there is at all."""
    rows = lines(list(words))
    for fold, most in ((folded, 1.0), (_look_alike, _LOOK_ALIKE_SCORE)):
        wanted = fold(text)
        found = [match for row in rows for match in _exact(row, wanted, fold, most)] if wanted else []
        if found:
            return found
    return [match for row in rows for match in _similar(row, folded(text))]


def best(found: Sequence[Found], text: str) -> list[Found]:
    """Those that fit best where several do: written just so, then not part of a longer text."""
    same_case = [f for f in found if "".join(f.text.split()) == "".join(text.split())] or list(found)
    return [f for f in same_case if f.alone] or same_case


def find_ends(words: Sequence[Word], start: str, end: str) -> Ends | None:
    """The shortest text that begins with the one phrase and ends with the other, in reading order."""
    order = {word: place for place, word in enumerate(word for row in lines(words) for word in row)}
    starts, ends = find(words, start), find(words, end)
    pairs = [
        (order[e.words[-1]] - order[s.words[0]], s.words[0].box, e.words[-1].box)
        for s in starts
        for e in ends
        if order[e.words[0]] >= order[s.words[0]] and order[e.words[-1]] >= order[s.words[-1]]
    ]
    return Ends(*min(pairs, key=lambda pair: pair[0])[1:]) if pairs else None


def folded(text: str) -> str:
    """Letters, digits and signs alone, without case."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in plain if c.isalnum() or c in _SIGNS)


def _look_alike(text: str) -> str:
    return folded(text).translate(_LOOK_ALIKE)


def _exact(row: Sequence[Word], wanted: str, fold: Fold, most: float) -> Iterator[Found]:
    parts = [fold(word.text) for word in row]
    for first in range(len(row)):
        joined = ""
        for last in range(first, len(row)):
            joined += parts[last]
            if joined == wanted and parts[first] and parts[last]:
                yield _found(row, first, last, most)
            if not wanted.startswith(joined):
                break


def _similar(row: Sequence[Word], wanted: str) -> Iterator[Found]:
    """For each first word the most similar run, if it is similar enough and none better overlaps it."""
    if len(wanted) < _LONG:
        return
    runs = [(first, last) for first in range(len(row)) for last in range(first, min(len(row), first + 12))]
    scored = [(_likeness(row[a : b + 1], wanted), a, b) for a, b in runs]
    taken: list[tuple[int, int]] = []
    for score, first, last in sorted(scored, reverse=True):
        if score >= ALIKE and all(last < a or b < first for a, b in taken):
            taken.append((first, last))
            yield _found(row, first, last, score)


def _likeness(run: Sequence[Word], wanted: str) -> float:
    there = "".join(folded(word.text) for word in run)
    if not 0.7 < len(there) / len(wanted) < 1.4 or _digits(there) != _digits(wanted):
        return 0.0  # another number is another text, however alike
    return SequenceMatcher(None, there, wanted, autojunk=False).ratio()


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _found(row: Sequence[Word], first: int, last: int, most: float) -> Found:
    words = tuple(row[first : last + 1])
    return Found(words, round(most * min(word.confidence for word in words), 3), len(words) == len(row))
