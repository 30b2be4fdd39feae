"""Runs in the machine: writes cells of an open LibreOffice spreadsheet over a local pipe.

Reads {"cells", "app", "sheet"}, prints {"written"} or {"error"}.
"""

# ruff: noqa: T201 - standard output is how it answers
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import os
import subprocess
import sys
import time
from pathlib import Path

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
    """The document whose title fits; the only one when there is just one."""
    wanted = wanted.lower()
    fits = [d for d in documents if d.getTitle().lower() in wanted or wanted in d.getTitle().lower()]
    if len(fits) == 1:
        return fits[0]
    if len(documents) == 1:
        return documents[0]
    titles = ", ".join(repr(d.getTitle()) for d in documents)
    raise LookupError(f"open spreadsheets are: {titles}" if titles else "no spreadsheet is open in LibreOffice")


def write(document, sheet_name, cells):
    sheets = document.Sheets
    if not sheets.hasByName(sheet_name):
        raise LookupError(f"there is no sheet {sheet_name!r}; sheets are: {', '.join(sheets.ElementNames)}")
    sheet = sheets.getByName(sheet_name)
    for name, value in cells.items():
        cell = sheet.getCellRangeByName(name)
        if value is None:
            cell.setString("")
            cell.setFormula("")
        elif isinstance(value, bool):
            cell.setFormula("=TRUE()" if value else "=FALSE()")
        elif isinstance(value, (int, float)):
            cell.setValue(value)
        elif value.startswith("="):
            cell.setFormula(value)
        else:
            cell.setString(value)
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


main()
