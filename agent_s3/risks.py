"""Which actions are risky: rules that are data, and one pure function that matches them. It warns; it does not hold in.

What an action does is guessed from its words, from the element it was grounded to and from the code that is to run.
Whoever wants to hide it from the rules can: a button may be mislabelled, and code may build its commands. What holds
a desktop in is in `vm_pool`.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from agent_s3.actions import (
    Action,
    CallCodeAgent,
    DragAndDrop,
    HoldAndPress,
    Hotkey,
    Open,
    SetCellValues,
    SwitchApplications,
    Type,
)
from agent_s3.elements import squeeze
from agent_s3.gestures import key_names, phrases
from agent_s3.types import Frozen, Grounding, Risk

SHIPPED = Path(__file__).parent / "risk_rules.toml"
CODE = "code"
"""The kind of action that a snippet of the coding agent is, for the rules."""
_TEXT_READ = 100_000
"""Longest text that is looked at, in characters; more than any action may hold."""
_LINE_READ = 4_000
_EVIDENCE_SHOWN = 80
_PRESSING = frozenset({"enter", "return", "space", " "})
"""Keys that do what a click on the element with the focus does."""
_URL = re.compile(r"\b(?:https?|ftp|wss?)://(?:[^\s/@'\"]*@)?\[?([^\s/:'\"\])>]+)", re.IGNORECASE)
_BARE_HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?=[/:?#]|$)", re.IGNORECASE)
_BROWSERS = re.compile(r"chrom|firefox|browser|epiphany|falkon|brave|edge|opera|vivaldi", re.IGNORECASE)

Pattern = Annotated[str, Field(min_length=1, max_length=500)]


class RiskRulesError(ValueError):
    """A file of rules cannot be used; the message is one line with the file and what is wrong."""


class RiskRule(Frozen):
    """One rule; it holds when each field that is given does."""

    id: str = Field(min_length=1, max_length=60)
    kind: str = Field(min_length=1, max_length=30)
    """What it is a risk of: `delete`, `send`, `pay`, `leave`, `sudo`, ..."""
    why: str = Field(min_length=1, max_length=200)
    """Short clause for whoever is asked."""
    on: tuple[str, ...] = ()
    """Kinds of actions, `code` for a snippet; empty: all."""
    text: tuple[Pattern, ...] = ()
    """Regular expressions of which one is found in what is typed, pressed, opened or run; empty: any."""
    element: tuple[Pattern, ...] = ()
    """Of which one is found in the words for the element or in what it was grounded to; empty: any."""
    window: tuple[Pattern, ...] = ()
    """Of which one is found in title or program of the active window; empty: any."""

    @field_validator("text", "element", "window")
    @classmethod
    def _patterns_can_be_read(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                _compiled(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns


class RiskRules(Frozen):
    """A file of rules."""

    rule: tuple[RiskRule, ...] = ()
    off: tuple[str, ...] = ()
    """Ids of rules that do not count, also of shipped ones."""
    allowed_domains: tuple[str, ...] = ()
    """With their subdomains; naming an address elsewhere is the risk `leave`. Empty: there is no such rule."""

    def __add__(self, other: "RiskRules") -> "RiskRules":
        """Both together; a rule of `other` stands in the place of one with the same id."""
        mine = tuple(rule for rule in self.rule if rule.id not in {theirs.id for theirs in other.rule})
        return RiskRules(
            rule=(*mine, *other.rule),
            off=(*self.off, *other.off),
            allowed_domains=(*self.allowed_domains, *other.allowed_domains),
        )


@dataclass(frozen=True)
class Situation:
    """What is known of the desktop at which an action is aimed, and the rules that hold."""

    rules: RiskRules
    window: str = ""
    """Title and program of the active window; empty: there is none, or it is not known."""
    focus: str = ""
    """Role and name of the element that has the focus; empty as above."""
    under: tuple[str, ...] = ()
    """Role and name of what the accessibility tree has at the pixels of the action."""


def read_rules(path: Path) -> RiskRules:
    """Raises: `RiskRulesError`."""
    try:
        return RiskRules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RiskRulesError(f"cannot read the risk rules {str(path)!r}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise RiskRulesError(
            f"{str(path)!r} holds no risk rules: {where}: {first['msg']}; its form is in {SHIPPED}"
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise RiskRulesError(f"{str(path)!r} is no TOML file: {error}") from error


@cache
def shipped() -> RiskRules:
    return read_rules(SHIPPED)


def risks(action: Action, grounding: Sequence[Grounding], situation: Situation) -> tuple[Risk, ...]:
    """What could be bad about an action, one for each rule that holds. Pure."""
    elements = [*phrases(action), *(place.element for place in grounding), *situation.under]
    texts = tuple(_texts(action))
    typed = isinstance(action, Type) and not grounding
    pressed = isinstance(action, Hotkey | HoldAndPress) and not _PRESSING.isdisjoint(texts)
    focus = [situation.focus] if typed or pressed else []
    return _matched(_Subject(action.action, texts, (*elements, *focus)), situation)


def code_risks(code: str, situation: Situation) -> tuple[Risk, ...]:
    """The same of a snippet that the coding agent wants to run. Pure."""
    return _matched(_Subject(CODE, (code,), ()), situation)


@dataclass(frozen=True)
class _Subject:
    """What rules are matched against."""

    kind: str
    texts: tuple[str, ...]
    elements: tuple[str, ...]


def _matched(subject: _Subject, situation: Situation) -> tuple[Risk, ...]:
    rules, lines = situation.rules, [line for text in subject.texts for line in _lines(text)]
    elements, window = [_words(element) for element in subject.elements], [_words(situation.window)]
    found: list[Risk] = []
    for rule in rules.rule:
        if rule.id in rules.off or (rule.on and subject.kind not in rule.on):
            continue
        hits = [
            _first(patterns, words)
            for patterns, words in ((rule.text, lines), (rule.element, elements), (rule.window, window))
            if patterns
        ]
        if hits and all(hits):
            found.append(Risk(rule=rule.id, kind=rule.kind, why=rule.why, evidence=squeeze(hits[0], _EVIDENCE_SHOWN)))
    return (*found, *_leaving(subject, situation))


def _first(patterns: Iterable[str], texts: Sequence[str]) -> str:
    """The first text that a pattern is found in, from there on; empty: none."""
    hits = (match.group() or text for p in patterns for text in texts if (match := _compiled(p).search(text)))
    return next(hits, "")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _texts(action: Action) -> Iterator[str]:
    match action:
        case Type():
            yield action.text
        case Hotkey():
            yield "+".join(key_names(action.keys)).lower()
        case HoldAndPress():
            yield from ("+".join(key_names((*action.hold_keys, key))).lower() for key in action.press_keys)
        case Open():
            yield action.app_or_filename
        case SwitchApplications():
            yield action.app_code
        case SetCellValues():
            yield from (value for value in action.cell_values.values() if isinstance(value, str))
        case CallCodeAgent():
            yield action.task or ""
        case DragAndDrop():
            return
        case _:
            return


def _lines(text: str) -> list[str]:
    """Bounded lines; those that a shell would join are joined."""
    joined = re.sub(r"\\\r?\n", " ", text[:_TEXT_READ])
    return [line[:_LINE_READ] for line in joined.splitlines()]


def _words(text: str) -> str:
    """As it is read: hidden characters gone, look-alikes of the same letter made equal."""
    shown = "".join(char for char in unicodedata.normalize("NFKC", text[:_LINE_READ]) if _shows(char))
    return " ".join(shown.split())


def _shows(char: str) -> bool:
    return unicodedata.category(char) not in ("Cf", "Cc") or char.isspace()


def _leaving(subject: _Subject, situation: Situation) -> Iterator[Risk]:
    """Addresses outside of the allowed domains."""
    allowed = situation.rules.allowed_domains
    if not allowed or "leave-domain" in situation.rules.off:
        return
    in_browser = _BROWSERS.search(situation.window) is not None
    for host in dict.fromkeys(_hosts(subject, bare_too=in_browser)):
        if not any(_is_below(host, domain) for domain in allowed):
            why = f"goes to a domain that is not allowed ({', '.join(allowed[:3])})"
            yield Risk(rule="leave-domain", kind="leave", why=why, evidence=squeeze(host, _EVIDENCE_SHOWN))


def _hosts(subject: _Subject, *, bare_too: bool) -> Iterator[str]:
    for text in (*subject.texts, *subject.elements):
        yield from (host.lower().rstrip(".") for host in _URL.findall(text[:_TEXT_READ]))
    if bare_too and subject.kind == "type":
        for text in subject.texts:
            if match := _BARE_HOST.match(text.strip()):
                yield match.group().lower()


def _is_below(host: str, domain: str) -> bool:
    domain = domain.lower().strip(".")
    return host == domain or host.endswith("." + domain)
