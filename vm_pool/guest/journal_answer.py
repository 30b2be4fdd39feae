"""What the journal of files answers: net changes, as many and with as much text as an answer holds. Pure."""

from typing import Any, NamedTuple

MAX_CHANGES = 500
_ANSWER_TEXT_LIMIT = 2 * 1024 * 1024
"""Characters of text in one answer; what has no room comes without."""


class Entry(NamedTuple):
    """One file, directory or link at one time."""

    size: int | None
    """None for directories."""
    mode: int
    sha256: str | None
    text: str | None

    def differs(self, other: "Entry | None") -> bool:
        return other is None or (self.size, self.mode, self.sha256) != (other.size, other.mode, other.sha256)


Change = tuple[str, "Entry | None", "Entry | None"]
"""Path, what it was and what it is."""


def answer(cursor: str, changed: "list[Change]") -> dict[str, Any]:
    """The fields of `vm_pool.types.FileChanges`; what is as it was is left out."""
    found = [change for change in changed if _is_change(change[1], change[2])]
    return {
        "cursor": cursor,
        "changes": [_change(*change) for change in _with_room_for_text(found[:MAX_CHANGES])],
        "dropped": max(0, len(found) - MAX_CHANGES),
    }


def _is_change(before: Entry | None, after: Entry | None) -> bool:
    if before is None or after is None:
        return before is not after
    return after.differs(before)


def _with_room_for_text(found: list[Change]) -> list[Change]:
    room = _ANSWER_TEXT_LIMIT
    kept: list[Change] = []
    for path, before, after in found:
        size = sum(len(entry.text) for entry in (before, after) if entry and entry.text)
        fits = size <= room
        room -= size if fits else 0
        kept.append((path, before, after) if fits else (path, _without_text(before), _without_text(after)))
    return kept


def _without_text(entry: Entry | None) -> Entry | None:
    return entry and entry._replace(text=None)


def _change(path: str, before: Entry | None, after: Entry | None) -> dict[str, Any]:
    kind = "created" if before is None else "deleted" if after is None else "modified"
    change: dict[str, Any] = {"path": _printable(path), "kind": kind}
    for suffix, entry in (("_before", before), ("", after)):
        if entry is not None:
            change |= {
                f"size{suffix}": entry.size,
                f"mode{suffix}": entry.mode,
                f"sha256{suffix}": entry.sha256,
                f"text{suffix}": entry.text,
            }
    return change


def _printable(path: str) -> str:
    """Names that are not UTF-8 arrive with lone surrogates, which JSON cannot carry to everyone."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
