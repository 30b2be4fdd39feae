"""What the changed files of a desktop amount to: noise, renames, diffs, and a signature of an end state. Pure."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agent_s3.types import WindowChange
from bbon.quoting import one_line, quoted
from vm_pool.types import FileChange

_NOISE_AT_HOME = (
    ".cache",
    ".config/chromium",
    ".config/dconf",
    ".config/google-chrome",
    ".config/libreoffice",
    ".config/pulse",
    ".dbus",
    ".gvfs",
    ".ICEauthority",
    ".lesshst",
    ".local/share/gvfs-metadata",
    ".local/share/recently-used.xbel",
    ".local/state",
    ".pki",
    ".python_history",
    ".Xauthority",
    ".xsession-errors",
)
_FOLDERS_OF_NOISE = (".cache/", ".config/", ".local/", ".local/share/")
"""Folders that programs make for their settings; what lies in them may still matter."""
_NOISE_ON_SYSTEM = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/tmp")  # noqa: S108
_DIFF_LINES = 8
_DIFF_WIDTH = 100
_TEXT_SHOWN = 240


class Rename(NamedTuple):
    """A file that went away and one with the same content that came."""

    old: FileChange
    new: FileChange


class Sorted(NamedTuple):
    """File changes by what they mean."""

    renames: tuple[Rename, ...]
    others: tuple[FileChange, ...]
    noise: tuple[FileChange, ...]
    """Caches, histories and settings that programs write by themselves."""


def is_noise(path: str) -> bool:
    """Whether a file is of the kind that programs write on their own; `path` is absolute, inside the machine."""
    if path.startswith(tuple(f"{folder}/" for folder in _NOISE_ON_SYSTEM)):
        return True
    inside = inside_home(path)
    if inside in _FOLDERS_OF_NOISE:
        return True
    return inside is not None and any(inside == name or inside.startswith(f"{name}/") for name in _NOISE_AT_HOME)


def is_folder(change: FileChange) -> bool:
    """The journal names folders with a slash at the end."""
    return change.path.endswith("/")


def inside_home(path: str) -> str | None:
    """The part of a path below `/home/USER/` or `/root/`; None for files elsewhere."""
    parts = path.split("/", 3)
    if len(parts) == 4 and parts[:2] == ["", "home"] and parts[3]:
        return parts[3]
    return path.removeprefix("/root/") if path.startswith("/root/") and path != "/root/" else None


def sort_out(files: Iterable[FileChange]) -> Sorted:
    """Tell noise from the rest, and pair what was renamed: a deleted and a created file of equal, unique content."""
    every = tuple(files)
    noise = tuple(f for f in every if is_noise(f.path))
    real = [f for f in every if not is_noise(f.path)]
    renames = tuple(_renames(real))
    paired = {change.path for rename in renames for change in rename}
    return Sorted(renames, tuple(f for f in real if f.path not in paired), noise)


def _renames(files: Sequence[FileChange]) -> Iterable[Rename]:
    gone = Counter(f.sha256_before for f in files if f.kind == "deleted")
    come = Counter(f.sha256 for f in files if f.kind == "created")
    created = {f.sha256: f for f in files if f.kind == "created"}
    for old in files:
        digest = old.sha256_before
        if old.kind == "deleted" and digest is not None and gone[digest] == come[digest] == 1:
            yield Rename(old, created[digest])


class Line(NamedTuple):
    """A sentence and the paths that it is about."""

    text: str
    paths: tuple[str, ...]


def words(files: Iterable[FileChange], *, limit: int = 8) -> list[str]:
    """One sentence per change, at most `limit`; the rest and the noise are counted. Foreign text is quoted."""
    return [line.text for line in lines(files, limit=limit)]


def lines(files: Iterable[FileChange], *, limit: int = 8) -> list[Line]:
    """As `words`, with the paths of each sentence."""
    found = sort_out(files)
    told = [
        Line(f"{quoted(r.old.path)} was renamed to {quoted(r.new.path)}, content unchanged", (r.old.path, r.new.path))
        for r in found.renames
    ]
    told += [Line(_one_change(f), (f.path,)) for f in found.others]
    rest = tuple(path for line in told[limit:] for path in line.paths)
    more = [Line(f"{len(told) - limit} more files changed", rest)] if len(told) > limit else []
    noise = tuple(f.path for f in found.noise)
    return [*told[:limit], *more, *(Line(text, noise) for text in _noise_words(found.noise))]


def _noise_words(noise: Sequence[FileChange]) -> list[str]:
    if not noise:
        return []
    return ["1 file of caches and settings changed" if len(noise) == 1 else _many(len(noise))]


def _many(count: int) -> str:
    return f"{count} files of caches and settings changed"


def _one_change(change: FileChange) -> str:
    path = quoted(change.path)
    if is_folder(change):
        return f"the folder {path} was {change.kind}"
    match change.kind:
        case "deleted":
            return f"{path} was deleted"
        case "created":
            return f"{path} was created, {_content(change)}"
        case "modified":
            return f"{path} was modified: {', '.join(_differences(change))}"


def _content(change: FileChange) -> str:
    if change.size == 0:
        return "empty"
    size = f"{change.size} bytes" if change.size is not None else "not a regular file"
    return f"{size}, text {quoted(change.text, _TEXT_SHOWN)}" if change.text else size


def _differences(change: FileChange) -> list[str]:
    parts: list[str] = []
    if change.mode != change.mode_before and change.mode is not None and change.mode_before is not None:
        parts.append(f"permissions {change.mode_before:o} to {change.mode:o}")
    if change.sha256 is not None and change.sha256 == change.sha256_before:
        return [*parts, "content unchanged"]
    if change.size == 0:
        return [*parts, f"now empty, was {change.size_before} bytes"]
    if change.text is not None and change.text_before is not None:
        return [*parts, _diff(change.text_before, change.text)]
    return [*parts, f"{change.size_before} bytes to {change.size} bytes"]


def _diff(before: str, after: str) -> str:
    """Changed lines as `removed "x"; added "y"`, the first few."""
    compared = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    lines = [line for index, line in enumerate(compared) if index > 1 and not line.startswith("@@")]
    if not lines:
        return "only line ends changed"
    shown = [f"{'added' if line[0] == '+' else 'removed'} {quoted(line[1:], _DIFF_WIDTH)}" for line in lines]
    more = [f"{len(shown) - _DIFF_LINES} more lines differ"] if len(shown) > _DIFF_LINES else []
    return "; ".join([*shown[:_DIFF_LINES], *more])


def window_words(change: WindowChange) -> str:
    title = quoted(change.title, 120)
    match change.kind:
        case "retitled":
            return f"the window {quoted(change.title_before or '', 120)} is now titled {title}"
        case "activated":
            return f"the window {title} of {one_line(change.app, 40)} came to the front"
        case _:
            return f"a window {title} of {one_line(change.app, 40)} {change.kind}"


Signature = tuple[tuple[str | int | None, ...], ...]


def file_signature(files: Iterable[FileChange]) -> Signature | None:
    """Equal for equal net changes, noise aside; None when a changed file was not hashed, so nothing can be said."""
    real = sorted((f for f in files if not is_noise(f.path)), key=lambda f: f.path)
    if any(f.kind != "deleted" and f.sha256 is None and not is_folder(f) for f in real):
        return None
    return tuple((f.path, f.kind, f.sha256, f.mode) for f in real)


def window_signature(windows: Iterable[WindowChange]) -> Signature:
    """Equal for equal sets of opened, closed and retitled windows; which one is in front does not count."""
    return tuple(sorted((w.kind, w.app, w.title) for w in windows if w.kind != "activated"))
