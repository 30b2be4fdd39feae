"""Runs in the machine: which command opens an application or a file?

Reads {"name"}, prints {"argv", "what", "window"}, or {"error"} when nothing fits or several things do. `window` is the
class of the application's windows; empty: not known.
"""

# ruff: noqa: T201 - standard output is how it answers
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import configparser
import difflib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

HOME = Path.home()
PLACES = ["", "Desktop", "Documents", "Downloads", "Pictures", "Music", "Videos"]
KINDS = {
    "terminal": "TerminalEmulator",
    "console": "TerminalEmulator",
    "shell": "TerminalEmulator",
    "calculator": "Calculator",
    "text editor": "TextEditor",
    "editor": "TextEditor",
    "notepad": "TextEditor",
    "file manager": "FileManager",
    "files": "FileManager",
    "file explorer": "FileManager",
    "browser": "WebBrowser",
    "web browser": "WebBrowser",
    "chrome": "WebBrowser",
    "google chrome": "WebBrowser",
    "chromium": "WebBrowser",
    "spreadsheet": "Spreadsheet",
    "excel": "Spreadsheet",
    "calc": "Spreadsheet",
    "libreoffice calc": "Spreadsheet",
    "word processor": "WordProcessor",
    "word": "WordProcessor",
    "writer": "WordProcessor",
    "libreoffice writer": "WordProcessor",
}
DEFAULTS = {
    "TextEditor": "text/plain",
    "FileManager": "inode/directory",
    "WebBrowser": "x-scheme-handler/http",
    "Spreadsheet": "application/vnd.oasis.opendocument.spreadsheet",
    "WordProcessor": "application/vnd.oasis.opendocument.text",
}
"""Kind -> the type of file whose default application is meant when several are of that kind."""
LIKE = 0.8
"""How much of a name must be right, as `difflib` counts it."""


def entries():
    """All desktop entries that can be shown: dictionaries with id, name, words, categories and argv."""
    found = {}
    data = [os.environ.get("XDG_DATA_HOME") or str(HOME / ".local/share")]
    data += (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    for folder in data:
        for path in sorted(Path(folder, "applications").rglob("*.desktop")):
            entry = read_entry(path, path.stem)
            if entry is not None:
                found.setdefault(entry["id"], entry)
    return list(found.values())


def read_entry(path, identifier):
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str
    try:
        parser.read(path, encoding="utf-8")
        section = parser["Desktop Entry"]
        argv = [re.sub(r"%[a-zA-Z]", "", part) for part in shlex.split(section.get("Exec", ""))]
    except (configparser.Error, KeyError, ValueError, OSError, UnicodeDecodeError):
        return None
    argv = wrapped([part for part in argv if part])
    if section.get("Type") != "Application" or not argv or shutil.which(argv[0]) is None:
        return None
    if section.get("NoDisplay", "false").lower() == "true" or section.get("Hidden", "false").lower() == "true":
        return None
    if section.get("Terminal", "false").lower() == "true":
        argv = ["x-terminal-emulator", "-e", " ".join(shlex.quote(part) for part in argv)]
    return {
        "id": identifier,
        "name": section.get("Name", identifier),
        "generic": section.get("GenericName", ""),
        "words": section.get("Keywords", "").replace(";", " ").lower().split(),
        "categories": section.get("Categories", "").split(";"),
        "argv": argv,
        "window": section.get("StartupWMClass") or Path(argv[0]).name,
    }


def find_file(name):
    """Path of a file; None when there is none. Raises: LookupError when several have that name."""
    path = HOME / name[2:] if name.startswith("~/") else Path(name)
    if path.is_absolute():
        return str(path) if path.exists() else None
    if (HOME / path).exists():
        return str(HOME / path)
    found = [str(HOME / place / path) for place in PLACES[1:] if (HOME / place / path).exists()]
    if not found and "/" not in name and "." in name:
        found = named_below(HOME, name.lower())
    if len(found) > 1:
        raise LookupError(f"several files are called {name!r}: {', '.join(found[:20])}; name one by its path")
    return found[0] if found else None


def wrapped(argv):
    """The command with the wrapper that this machine starts the program by, if one comes first on the path."""
    name = Path(argv[0]).name if argv else ""
    return [name, *argv[1:]] if name and argv[0].startswith("/usr/bin/") and shutil.which(name) else argv


def named_below(top, name):
    """Files of that name, whatever its case, in folders that are not hidden, at most 4 levels down."""
    found = []
    for root, folders, files in os.walk(top):
        deep = len(Path(root).relative_to(top).parts) > 3
        folders[:] = [] if deep else [folder for folder in folders if not folder.startswith(".")]
        found += [str(Path(root, file)) for file in files if file.lower() == name]
    return sorted(found)


def opener(path):
    """The command that opens a file with the program meant for its type."""
    if shutil.which("xdg-open"):
        return ["xdg-open", path]
    if shutil.which("gio"):
        return ["gio", "open", path]
    raise LookupError("this machine has neither xdg-open nor gio to open files with")


def squeezed(text):
    return re.sub(r"[\W_]+", "", text.lower())


def names_of(entry):
    """All that an entry goes by; its program only where that alone starts it."""
    program = [Path(entry["argv"][0]).name] if len(entry["argv"]) == 1 else []
    return [entry["name"], entry["id"], entry["id"].split(".")[-1], *program]


def rank(entry, wanted):
    """How well an entry fits, 0 for not at all."""
    name = entry["name"].lower()
    if squeezed(wanted) in map(squeezed, names_of(entry)):
        return 5
    if wanted == entry["generic"].lower() or KINDS.get(wanted) in entry["categories"]:
        return 4
    if wanted in name or name in wanted:
        return 3
    if set(wanted.split()) <= set(entry["words"]):
        return 2
    return 1 if difflib.get_close_matches(squeezed(wanted), map(squeezed, names_of(entry)), 1, LIKE) else 0


def default_of(kind):
    """Id of the default application of a kind, as mimeapps.list names it; empty: none."""
    for folder in (HOME / ".config", Path("/etc/xdg"), Path("/usr/share/applications")):
        parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
        try:
            parser.read(folder / "mimeapps.list", encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        found = parser.get("Default Applications", DEFAULTS.get(kind, ""), fallback="")
        if found:
            return found.split(";")[0].removesuffix(".desktop")
    return ""


def best_of(known, wanted):
    """The entry that a name means; None when none does. Raises: LookupError when several do.

    Who names a kind of application means the default one, or any.
    """
    ranks = [(rank(entry, wanted), entry) for entry in known]
    most = max((points for points, _ in ranks), default=0)
    fits = [entry for points, entry in ranks if points == most] if most else []
    if len(fits) > 1 and most == 4:
        default = default_of(KINDS.get(wanted, ""))
        return next((entry for entry in fits if entry["id"] == default), fits[0])
    if len({entry["name"] for entry in fits}) > 1:
        names = ", ".join(sorted(entry["name"] for entry in fits))
        raise LookupError(f"several applications fit {wanted!r}: {names}; name one of them")
    return fits[0] if fits else None


def find_app(name):
    """Command, description and window class of an application. Raises: LookupError."""
    wanted = " ".join(name.lower().split())
    known = entries()
    program = wanted.replace(" ", "-")
    best = best_of(known, wanted)
    if best is not None:
        return best["argv"], "application " + best["name"], best["window"]
    for candidate in (name.strip(), program):
        if re.fullmatch(r"[\w.+-]+", candidate) and shutil.which(candidate):
            return [candidate], "program " + candidate, candidate
    if KINDS.get(wanted) == "TerminalEmulator" and shutil.which("x-terminal-emulator"):
        return ["x-terminal-emulator"], "terminal", ""
    names = ", ".join(sorted(entry["name"] for entry in known)[:40])
    raise LookupError(f"there is no application or file {name!r} here; applications are: {names or 'none'}")


def find(name):
    """A file where the name looks like one, else an application, else a file after all. Raises: LookupError."""
    path = find_file(name) if "/" in name or "." in name else None
    if path is None:
        try:
            return find_app(name)
        except LookupError:
            path = find_file(name)
            if path is None:
                raise
    return opener(path), "file " + path, ""


def main():
    try:
        argv, what, window = find(json.load(sys.stdin)["name"].strip())
        print(json.dumps({"argv": argv, "what": what, "window": window}))
    except LookupError as error:
        print(json.dumps({"error": str(error.args[0])}))


main()
