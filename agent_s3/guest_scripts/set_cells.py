"""Runs in the machine: writes cells of an open LibreOffice spreadsheet over a local pipe.

Reads {"cells", "app", "sheet"}, prints {"written"} or {"error"}; in an error nothing was written.
"""

# ruff: noqa: T201 - standard output is how it answers
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")
DATE_FORMAT = 2
"""Bit of LibreOffice's number formats of dates."""
PART = re.compile(
    r"""(?P<string>"(?:[^"]|"")*")|(?P<array>\{[^}]*\})|(?P<quoted>'(?:[^']|'')*')!|(?P<sheet>[^\W\d]\w*)!|(?P<comma>,)"""
)
FILES = (".ods", ".xlsx", ".xls", ".csv", ".xlsm", ".ots", ".tsv")
ACCEPT = f"pipe,name=agent_s3_{os.getuid()};urp;StarOffice.ComponentContext"


def connect(uno, exceptions):
    """The running office; it is asked to listen on the pipe when it does not yet."""
    resolver = uno.getComponentContext().ServiceManager.createInstance("com.sun.star.bridge.UnoUrlResolver")
    deadline = time.monotonic() + 30
    asked = None
    while True:
        try:
            return resolver.resolve("uno:" + ACCEPT)
        except exceptions as error:
            if time.monotonic() > deadline:
                raise LookupError("LibreOffice did not answer; is it running?") from error
        if asked is None:
            asked = subprocess.Popen(
                ["soffice", "--accept=" + ACCEPT, "--norestore", "--nologo", "--nodefault"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        time.sleep(0.1)  # polled until the deadline above


def is_running():
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith("soffice"):
                return True
        except OSError:
            continue
    return False


def spreadsheets(desktop):
    found = []
    components = desktop.getComponents().createEnumeration()
    while components.hasMoreElements():
        component = components.nextElement()
        if hasattr(component, "supportsService") and component.supportsService(
            "com.sun.star.sheet.SpreadsheetDocument"
        ):
            found.append(component)
    return found


def pick(documents, wanted):
    """The document that a title means; where none is named, such as by `LibreOffice Calc`, the only one."""
    asked, wanted = wanted, wanted.lower()
    titles = [document.getTitle() for document in documents]
    exact = [document for document in documents if document.getTitle().lower() == wanted]
    fits = exact or [d for d in documents if d.getTitle().lower() in wanted or wanted in d.getTitle().lower()]
    if not fits and len(documents) == 1 and not wanted.endswith(FILES):
        fits = documents
    if len(fits) == 1:
        return fits[0]
    if not documents:
        raise LookupError("no spreadsheet is open in LibreOffice")
    what = f"several spreadsheets fit {asked!r}" if fits else f"no spreadsheet {asked!r} is open"
    raise LookupError(f"{what}; open spreadsheets are: {', '.join(map(repr, titles))}")


def calc_formula(formula):
    """A formula as people write it, `=IF(A1>1, Costs!B2, 0)`, in the form that LibreOffice takes it over UNO."""

    def part(match):
        kind = match.lastgroup
        if kind == "comma":
            return ";"
        if kind == "array" and "|" not in match[0]:
            return match[0].replace(";", "|").replace(",", ";")
        if kind in ("quoted", "sheet"):
            return "$" + match[kind] + "."
        return match[0]

    return PART.sub(part, formula)


def moment(text):
    """The date, or date and time, that a text is; None: it is none."""
    if not DATE.fullmatch(text):
        return None
    try:
        return datetime.datetime.fromisoformat(text.replace("T", " "))
    except ValueError:
        return None


def set_moment(document, cell, when, text):
    """Put a date in, in the cell's own form if that is one of dates."""
    zero = document.NullDate
    since = when - datetime.datetime.fromisoformat(f"{zero.Year:04}-{zero.Month:02}-{zero.Day:02}")
    formats = document.NumberFormats
    if not formats.getByKey(cell.NumberFormat).Type & DATE_FORMAT:
        code = {10: "YYYY-MM-DD", 16: "YYYY-MM-DD HH:MM"}.get(len(text), "YYYY-MM-DD HH:MM:SS")
        key = formats.queryKey(code, document.CharLocale, False)
        cell.NumberFormat = formats.addNew(code, document.CharLocale) if key < 0 else key
    cell.setValue(since.days + since.seconds / 86400)


def put(document, cell, value):
    """Put one value in. A text that begins with an apostrophe is what follows it, even if that looks like a date."""
    if value is None:
        cell.setFormula("")
    elif isinstance(value, bool):
        cell.setFormula("=TRUE()" if value else "=FALSE()")
    elif isinstance(value, (int, float)):
        cell.setValue(value)
    elif value.startswith("="):
        cell.setFormula(calc_formula(value))
    elif moment(value):
        set_moment(document, cell, moment(value), value)
    else:
        cell.setString(value.removeprefix("'"))


def cells_of(sheet, names):
    """The cells, all of them before any is written. Raises: LookupError for one outside the sheet."""
    address = sheet.getRangeAddress()
    found = {}
    for name in names:
        try:
            found[name] = sheet.getCellRangeByName(name)
        except Exception:  # noqa: BLE001 - UNO's own errors are no Python classes before it is imported
            last = sheet.getCellByPosition(address.EndColumn, address.EndRow).AbsoluteName
            raise LookupError(f"there is no cell {name}; the last one is {last.rpartition('.')[2]}") from None
    return found


def write(document, sheet_name, cells):
    sheets = document.Sheets
    if not sheets.hasByName(sheet_name):
        raise LookupError(f"there is no sheet {sheet_name!r}; sheets are: {', '.join(sheets.ElementNames)}")
    found = cells_of(sheets.getByName(sheet_name), cells)
    for name, value in cells.items():
        put(document, found[name], value)
    return len(cells)


def main():
    asked = json.load(sys.stdin)
    try:
        if not is_running():
            raise LookupError("LibreOffice is not running; open the spreadsheet first")
        import uno
        from com.sun.star.connection import ConnectionSetupException, NoConnectException

        context = connect(uno, (NoConnectException, ConnectionSetupException))
        desktop = context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
        written = write(pick(spreadsheets(desktop), asked["app"]), asked["sheet"], asked["cells"])
        print(json.dumps({"written": written}))
    except (LookupError, ImportError) as error:
        print(json.dumps({"error": str(error.args[0])}))


if __name__ == "__main__":
    main()
