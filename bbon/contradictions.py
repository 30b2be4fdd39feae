"""Whether what a model tells of a step contradicts what was measured, and what else it rests on. Pure.

Only what can be decided is decided; all else is believed. A fact is dropped when it says that

- nothing changed, while something did, or that something changed, while nothing did;
- a window opened or closed, which neither the window list nor any text of the step names; or a dialog, where all that
  changed was read as well, for programs draw dialogs of their own;
- a file was made, deleted, renamed or saved, which the journal of files does not have, or has otherwise;
- a box is checked, while the accessibility tree says that it is not, or the other way round;
- a value reads so, while the same number stands there with the other sign; or it stands nowhere, though all that
  changed was read and had numbers in it.

What is negated, or too vague to name a thing, is never dropped. A window list or journal that this machine does not
keep contradicts nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from agent_s3.types import Delta, TreeChange
from bbon.facts import of_element
from bbon.reading import Reading, texts
from bbon.types import Evidence
from vm_pool.types import Box, FileChange


@dataclass(frozen=True)
class Measured:
    """What was measured at one step."""

    delta: Delta
    said: tuple[str, ...] = ()
    """What else is known and may be named: the action, its text, the computed facts, the output of code."""
    reading: Reading | None = None
    """None: nothing was read from the screen."""
    crop: Box | None = None
    """Where a model looked closest."""
    lists_windows: bool = False
    """Whether this machine lists its windows."""
    keeps_journal: bool = False
    """Whether this machine keeps a journal of files."""

    def texts(self) -> Iterator[str]:
        """All text of the step, however it was measured."""
        delta = self.delta
        yield from self.said
        for window in delta.windows:
            yield from (window.title, window.title_before or "", window.app)
        for change in delta.tree:
            yield from (change.name, change.before or "", change.after or "")
        for file in delta.files:
            yield from (file.path, file.text or "", file.text_before or "", str(file.size))
        if delta.clipboard is not None:
            yield from (delta.clipboard.after or "", delta.clipboard.before or "")
        yield delta.output or ""
        yield from texts(self.reading) if self.reading else ()


def contradiction(text: str, measured: Measured) -> str | None:
    """Why a sentence cannot be true, in words; None: nothing speaks against it."""
    found = (check(text, measured) for check in (_of_change, _of_windows, _of_files, _of_checks, _of_numbers))
    return next((reason for reason in found if reason is not None), None)


# --- That something changed ----------------------------------------------------------------------------------------

_NOTHING = re.compile(
    r"^\W*(nothing (visible |else )?(on the screen )?(has |was )?(changed|changes|happened|is different)"
    r"|there (is|was|are|were) no (visible |visual )?(changes?|differences?)"
    r"|no (visible |visual )?(changes?|differences?)( (was|were|is|are|can be) \w+)?"
    r"|the (whole |entire )?screens? (is|are|was|were|remains?|stays?|stayed|looks?) (unchanged|identical|the same)"
    r"|the (whole |entire )?screen (did not|didn't|has not|hasn't) changed?)\W*$",
    re.IGNORECASE,
)
_CHANGES = re.compile(
    r"\b(appeared|appears|disappeared|opened|opens|closed|closes|(was|were|is now|are now|has been) (\w+ly )?\w+ed"
    r"|now (reads|shows|says|contains)|changed|moved|went away|went from)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(not|no|never|without|un\w+ed|still|cannot|nothing|none|remains?|failed)\b|n't\b", re.IGNORECASE)


def _of_change(text: str, measured: Measured) -> str | None:
    delta = measured.delta
    if _NOTHING.match(text) and not delta.empty:
        return "it says that nothing changed, and something did"
    if delta.empty and delta.settled and _CHANGES.search(text) and not _negated(text):
        return "it says that something changed, and nothing did"
    return None


# --- Windows -------------------------------------------------------------------------------------------------------

_QUOTED = re.compile(r"[\"“”„«]([^\"“”„«»]{2,200})[\"“”»]|(?<!\w)['‘]([^'‘’]{2,200})['’](?!\w)")
_WINDOW = re.compile(r"\b(window|dialog(ue)?)\b", re.IGNORECASE)
_CAME_OR_WENT = re.compile(r"\b(open(ed|s)|clos(ed|es)|(dis)?appear(ed|s)|popped up|went away)\b", re.IGNORECASE)


def _of_windows(text: str, measured: Measured) -> str | None:
    if not (measured.lists_windows or measured.delta.windows) or not measured.delta.settled:
        return None
    kind = _WINDOW.search(text)
    if kind is None or not _CAME_OR_WENT.search(text) or _negated(text):
        return None
    if kind[1].casefold() != "window" and not (measured.reading and measured.reading.whole):
        return None  # programs and pages draw dialogs of their own, which no window list has
    unknown = [name for name in _quotes(text) if not _known(name, measured.texts())]
    return f"it names a window that is not there, {unknown[0]!r}" if unknown else None


def _negated(text: str) -> bool:
    """Names in quotes aside: a window may be called Untitled."""
    return _NOT.search(_QUOTED.sub("", text)) is not None


def _quotes(text: str) -> list[str]:
    return [match[1] or match[2] for match in _QUOTED.finditer(text)]


def _known(name: str, texts: Iterable[str]) -> bool:
    """Whether a text has the name in it, or all of its words stand in some text; a shortened title is a title."""
    wanted, known = _plain(name), [_plain(text) for text in texts]
    if any(wanted in text or (len(text) > 3 and text in wanted) for text in known):
        return True
    everything = {word for text in known for word in text.split()}
    return all(word in everything for word in wanted.split())


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w.+\-/]+", " ", text.casefold().replace("…", " ")).split())


# --- Files ---------------------------------------------------------------------------------------------------------

_FILE_VERBS: dict[str, Literal["created", "modified", "deleted"] | None] = {
    "created": "created",
    "deleted": "deleted",
    "removed": "deleted",
    "renamed": None,
    "saved": None,
    "overwritten": None,
}
_FILE_VERB = re.compile(rf"\b({'|'.join(_FILE_VERBS)})\b", re.IGNORECASE)
_FILE_NAME = re.compile(r"(?<![\w.@])[\w\-./~]*\w\.[A-Za-z][A-Za-z0-9]{1,4}(?![\w@])")


def _of_files(text: str, measured: Measured) -> str | None:
    delta = measured.delta
    if not (measured.keeps_journal or delta.files) or delta.files_dropped or not delta.settled:
        return None
    verb, names = _FILE_VERB.search(text), _file_names(text)
    if verb is None or not names or _negated(text) or "file" not in text.casefold():
        return None
    touched = [file for file in delta.files if _named_in(file, names)]
    if not touched:
        return f"it says that {names[0]!r} was {verb[1].lower()}, and the journal of files does not have it"
    kind = _FILE_VERBS[verb[1].lower()]
    if kind is None or any(file.kind == kind for file in touched):
        return None
    return f"it says that {names[0]!r} was {verb[1].lower()}, and it was {touched[0].kind}"


def _file_names(text: str) -> list[str]:
    return [match[0].rsplit("/", 1)[-1] for match in _FILE_NAME.finditer(text)]


def _named_in(file: FileChange, names: Iterable[str]) -> bool:
    base = file.path.rstrip("/").rsplit("/", 1)[-1].casefold()
    return any(base == name.casefold() or base.endswith(f" {name.casefold()}") for name in names)


# --- Check marks ---------------------------------------------------------------------------------------------------

_CHECKED = re.compile(
    r"\b(is|was|now|became|becomes) (now )?(checked|ticked|selected|enabled|turned on)\b", re.IGNORECASE
)
_UNCHECKED = re.compile(
    r"\b(un(checked|ticked|selected)|deselected|cleared|disabled|turned off|no longer (checked|ticked|selected))\b",
    re.IGNORECASE,
)


def _of_checks(text: str, measured: Measured) -> str | None:
    says_off = bool(_UNCHECKED.search(text))
    if not says_off and not (_CHECKED.search(text) and not _negated(text)):
        return None
    for change in measured.delta.tree:
        if change.field != "states" or not change.name or _plain(change.name) not in map(_plain, _quotes(text)):
            continue
        now = _checked_now(change)
        if now is not None and now == says_off:
            return f"the accessibility tree says that it is {'now' if now else 'no longer'} checked"
    return None


def _checked_now(change: TreeChange) -> bool | None:
    came, went = (change.after or "").split(), (change.before or "").split()
    return True if "checked" in came else False if "checked" in went else None


# --- Numbers -------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?![\w]*[A-Za-z_])")
_VALUE = re.compile(
    r"\b(?:reads?|shows?|says?|displays?|becomes?|became|is now|are now|now(?: is)?|equals?|to|is set to)\s+"
    r"(?:the (?:value|number|result)\s+)?[\"“'‘(]?([-+]?\d+(?:[.,]\d+)*)"
    r"(?=\W*$|[\"”'’).;%€$]|,\s|\s+(?:in|at|on|after)\b)",
    re.IGNORECASE,
)
"""A number that is said to stand there; `3 rows` is a count and stands nowhere."""
_MINUS = str.maketrans("−–—‒", "----")


def _of_numbers(text: str, measured: Measured) -> str | None:
    claimed = [_value(match[1]) for match in _VALUE.finditer(text.translate(_MINUS))]
    if not claimed or measured.reading is None:
        return None
    known = {number for known in measured.texts() for number in numbers(known)}
    read = {number for line in texts(measured.reading) for number in numbers(line)}
    for value in (value for value in claimed if value not in known):
        if value != 0 and -value in known:
            return f"it says {value:g}, and what stands there is {-value:g}"
        if measured.reading.whole and read:
            return f"it says {value:g}, and neither the screen nor any other text of the step has that number"
    return None


def numbers(text: str) -> set[float]:
    """All numbers in a text, by value; `1,200` and `1200` are the same, and so are `1.5` and `1,5`."""
    return {_value(match[0]) for match in _NUMBER.finditer(text.translate(_MINUS))}


def _value(digits: str) -> float:
    """Commas before three digits part thousands; another single one is a decimal point."""
    grouped = re.sub(r",(?=\d{3}(\D|$))", "", digits)
    whole, _, rest = grouped.replace(",", ".").partition(".")
    return float(f"{whole}.{rest.replace('.', '') or '0'}")


# --- What a fact rests on ------------------------------------------------------------------------------------------

_MOST = 4


def support(text: str, measured: Measured) -> tuple[Evidence, ...]:
    """What of the step's evidence a sentence names, at least the pixels that the model looked at."""
    plain, named = f" {_plain(text)} ", numbers(text)
    delta = measured.delta
    found: list[Evidence] = [Evidence(kind="screen", box=measured.crop)]
    found += [_of("file", file.path) for file in delta.files if _inside(file.path.rsplit("/", 1)[-1], plain)]
    found += [_of("window", window.title) for window in delta.windows if _inside(window.title, plain)]
    found += [of_element(change) for change in delta.tree if _tells(change, plain, named)]
    if measured.reading is not None:
        found += [
            Evidence(kind="text", box=word.box, name=word.text[:200])
            for word in measured.reading.words
            if named & numbers(word.text)
        ]
    return tuple(dict.fromkeys(found))[: 1 + _MOST]


def _of(kind: Literal["file", "window"], name: str) -> Evidence:
    return Evidence(kind=kind, name=name[:200])


def _inside(name: str, plain: str) -> bool:
    return len(name) > 2 and f" {_plain(name)} " in plain


def _tells(change: TreeChange, plain: str, named: set[float]) -> bool:
    return _inside(change.name, plain) or bool(named & numbers(change.after or ""))
