"""Reading text from pictures: words with their boxes, by Tesseract in this process.

Chosen by measuring crops of 300 x 300 px with labels and numbers in type of 11 to 15 px, on one of two shared cores: of
192 words Tesseract 5.5, read as it is here, had 189 right at 0.2 s a crop, and takes 38 MB on disk; RapidOCR 3.10 had
189 right at 0.7 s, and takes 330 MB.

Needs the extra `ocr` and the distribution's English data; both are looked for only when text is read.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

from PIL import Image

from vm_pool.types import Box, Frame

ENLARGED = 2
"""Tesseract wants capitals of about 30 px; those of a desktop have 10 to 12. Three times is slower and no better."""
SURE = 0.3
"""Least confidence of a word that is told; below it are mostly icons and frames read as letters."""
SURE_ALONE = 0.6
"""The same, for a word that only one of the two layouts has."""
_DATA_FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
)
_LANGUAGE = "eng"
_DASHES = str.maketrans("—–−‒", "----")
"""Signs of numbers come back as any of these."""
_LIKE_WORDS = "+-=%$€£<>*/#&@"
_ONE_AT_A_TIME = threading.Lock()


class Word(NamedTuple):
    """A word that was read."""

    text: str
    """All dashes as hyphens."""
    box: Box
    """In pixels of the frame, wherever in it was read."""
    confidence: float
    """0 to 1, of the reader itself."""


class OcrMissing(Exception):
    """Text cannot be read here; the message says what is missing and how to install it."""


def missing() -> tuple[str, str] | None:
    """What text cannot be read without, and the command that mends it; None when nothing is missing."""
    if find_spec("tesserocr") is None:
        return "tesserocr is not installed", "pip install 'agent-s3[ocr]'"
    if _data() is None:
        return "Tesseract's English data is not installed", "sudo apt-get install -y tesseract-ocr-eng"
    return None


def words(frame: Frame, region: Box | None = None) -> tuple[Word, ...]:
    """The words in a region of a frame, line by line; None: in all of it. Beyond the frame's edge there are none.

    Takes about 0.2 s for 300 x 300 px and 1.5 s for a full screen, with the interpreter's lock released: call it by
    `asyncio.to_thread` from an event loop. Several threads take turns. Raises: `OcrMissing`.
    """
    within = _inside(frame, region)
    if not within.width or not within.height:
        return ()
    picture = frame.image().crop((within.x, within.y, within.x + within.width, within.y + within.height)).convert("L")
    size = picture.width * ENLARGED, picture.height * ENLARGED
    with _ONE_AT_A_TIME:
        found = _read(_engine(), picture.resize(size, Image.Resampling.LANCZOS))
    placed = (_placed(word, within) for word in _joined(found))
    told = [word for word in placed if word.confidence >= SURE and _is_word(word.text)]
    return tuple(word for line in lines(told) for word in line)


def lines(found: Sequence[Word]) -> list[list[Word]]:
    """Words in reading order: those of about one height on the screen make a line, a wide gap begins another."""
    rows: list[list[Word]] = []
    for word in sorted(found, key=lambda w: w.box.center[1]):
        # Level with its first word as well: a tall icon would chain the rows beside it into one.
        row = next((r for r in reversed(rows) if _level(r[0].box, word.box) and _level(r[-1].box, word.box)), None)
        if row is None:
            rows.append([word])
        else:
            row.append(word)
    return [part for row in rows for part in _parts(sorted(row, key=lambda w: w.box.x))]


def _parts(row: list[Word]) -> Iterator[list[Word]]:
    part = row[:1]
    for left, right in pairwise(row):
        if right.box.x - (left.box.x + left.box.width) > 2.5 * max(left.box.height, right.box.height):
            yield part
            part = []
        part.append(right)
    yield part


def _level(one: Box, other: Box) -> bool:
    """Whether two boxes stand beside each other: half of the lower one's height is common to both."""
    common = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return 2 * common >= min(one.height, other.height)


def _inside(frame: Frame, region: Box | None) -> Box:
    if region is None:
        return Box(x=0, y=0, width=frame.width, height=frame.height)
    left, top = max(0, region.x), max(0, region.y)
    right, bottom = min(frame.width, region.x + region.width), min(frame.height, region.y + region.height)
    return Box(x=left, y=top, width=max(0, right - left), height=max(0, bottom - top))


def _is_word(text: str) -> bool:
    return any(c.isalnum() or c in _LIKE_WORDS for c in text)


def _placed(word: Word, within: Box) -> Word:
    """From pixels of the enlarged part to pixels of the frame."""
    box = word.box
    left, top = box.x // ENLARGED, box.y // ENLARGED
    right, bottom = -(-(box.x + box.width) // ENLARGED), -(-(box.y + box.height) // ENLARGED)
    return word._replace(box=Box(x=within.x + left, y=within.y + top, width=right - left, height=bottom - top))


def _joined(found: Sequence[Word]) -> list[Word]:
    """Neighbours whose boxes overlap widely are one word that was taken apart, e.g. at the dot of a file's name."""
    out: list[Word] = []
    for word in found:
        if out and _overlap(out[-1].box, word.box):
            out[-1] = _both(out[-1], word)
        else:
            out.append(word)
    return out


def _overlap(left: Box, right: Box) -> bool:
    common = left.x + left.width - right.x
    return left.x < right.x and 2 * common >= min(left.height, right.height) and _level(left, right)


def _both(left: Word, right: Word) -> Word:
    x, y = min(left.box.x, right.box.x), min(left.box.y, right.box.y)
    to_x = max(left.box.x + left.box.width, right.box.x + right.box.width)
    to_y = max(left.box.y + left.box.height, right.box.y + right.box.height)
    box = Box(x=x, y=y, width=to_x - x, height=to_y - y)
    return Word(left.text + right.text, box, min(left.confidence, right.confidence))


# --- Tesseract -----------------------------------------------------------------------------------------------------


def _read(engine: Any, picture: Image.Image) -> list[Word]:
    """Two layouts: scattered words, which loses what stands alone like the 0 of `row 0:`; and one block, which reads
    over borders. Of the latter only what is missing and sure is taken."""
    from tesserocr import PSM

    scattered = _words_by(engine, PSM.SPARSE_TEXT, picture)
    block = _words_by(engine, PSM.SINGLE_BLOCK, picture)
    taken = [word.box for word in scattered]
    missed = [w for w in block if w.confidence >= SURE_ALONE and not any(box.contains(*w.box.center) for box in taken)]
    return [*scattered, *missed]


def _words_by(engine: Any, layout: int, picture: Image.Image) -> list[Word]:
    from tesserocr import RIL, iterate_level  # pyright: ignore[reportUnknownVariableType]

    engine.SetPageSegMode(layout)
    engine.SetImage(picture)
    engine.SetSourceResolution(96 * ENLARGED)
    engine.Recognize()
    found = cast("Iterator[Any]", iterate_level(engine.GetIterator(), RIL.WORD))
    return [_word(at) for at in found if not at.Empty(RIL.WORD)]


def _word(at: Any) -> Word:
    from tesserocr import RIL

    left, top, right, bottom = at.BoundingBox(RIL.WORD)
    box = Box(x=left, y=top, width=right - left, height=bottom - top)
    text = at.GetUTF8Text(RIL.WORD).strip().translate(_DASHES)
    return Word(text, box, at.Confidence(RIL.WORD) / 100)


@cache
def _engine() -> Any:
    """One for the process; it is not safe to use from two threads at once. Raises: `OcrMissing`."""
    if lack := missing():
        raise OcrMissing(f"text on the screen cannot be read: {lack[0]}; run: {lack[1]}")
    from tesserocr import OEM, PyTessBaseAPI

    engine = PyTessBaseAPI(path=str(_data()), lang=_LANGUAGE, oem=OEM.LSTM_ONLY)
    engine.SetVariable("debug_file", os.devnull)  # it writes of empty pictures to standard error
    return engine


def _data() -> Path | None:
    """The folder with the language's data."""
    named = os.environ.get("TESSDATA_PREFIX")
    folders = [Path(folder) for folder in (*([named] if named else []), *_DATA_FOLDERS)]
    return next((folder for folder in folders if (folder / f"{_LANGUAGE}.traineddata").is_file()), None)
