"""Runs in the machine: which command opens an application or a file? Reads {"name"}, prints {"argv", "what"}."""

# ruff: noqa: T201 - standard output is how it answers
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import configparser
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
    argv = [part for part in argv if part]
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
    }


def find_file(name):
    path = HOME / name[2:] if name.startswith("~/") else Path(name)
    tries = [path] if path.is_absolute() else [HOME / place / path for place in PLACES]
    for candidate in tries:
        if candidate.exists():
            return str(candidate)
    if "/" in name or "." not in name:
        return None
    for root, folders, files in os.walk(HOME):
        deep = len(Path(root).relative_to(HOME).parts) > 3
        folders[:] = [] if deep else [f for f in folders if not f.startswith(".")]
        for file in files:
            if file.lower() == name.lower():
                return str(Path(root, file))
    return None


def opener(path):
    """The command that opens a file with the program meant for its type."""
    if shutil.which("xdg-open"):
        return ["xdg-open", path]
    if shutil.which("gio"):
        return ["gio", "open", path]
    raise LookupError("this machine has neither xdg-open nor gio to open files with")


def rank(entry, wanted):
    """How well an entry fits, 0 for not at all."""
    program = Path(entry["argv"][0]).name.lower()
    names = [entry["name"].lower(), entry["id"].lower(), entry["id"].lower().split(".")[-1], program]
    if wanted in names:
        return 5
    if wanted == entry["generic"].lower():
        return 4
    if KINDS.get(wanted) in entry["categories"]:
        return 3
    if wanted in entry["name"].lower() or entry["name"].lower() in wanted:
        return 2
    return 1 if set(wanted.split()) <= set(entry["words"]) else 0


def find_app(name):
    wanted = " ".join(name.lower().split())
    known = entries()
    best = max(known, key=lambda entry: rank(entry, wanted), default=None)
    if best is not None and rank(best, wanted):
        return best["argv"], "application " + best["name"]
    program = wanted.replace(" ", "-")
    for candidate in (name.strip(), program):
        if re.fullmatch(r"[\w.+-]+", candidate) and shutil.which(candidate):
            return [candidate], "program " + candidate
    if wanted in KINDS and KINDS[wanted] == "TerminalEmulator" and shutil.which("x-terminal-emulator"):
        return ["x-terminal-emulator"], "terminal"
    names = ", ".join(sorted(entry["name"] for entry in known)[:40])
    raise LookupError(f"there is no application or file {name!r} here; applications are: {names or 'none'}")


def main():
    name = json.load(sys.stdin)["name"].strip()
    try:
        path = find_file(name) if ("/" in name or "." in name) else None
        argv, what = (opener(path), "file " + path) if path else (None, None)
        if argv is None:
            try:
                argv, what = find_app(name)
            except LookupError:
                path = find_file(name)
                if path is None:
                    raise
                argv, what = opener(path), "file " + path
        print(json.dumps({"argv": argv, "what": what}))
    except LookupError as error:
        print(json.dumps({"error": str(error.args[0])}))


main()
