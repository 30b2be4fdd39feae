"""Runs in a machine: asks LibreOffice about its open document, or has it make one, over a pipe of its own.

Reads {"do", ...} as JSON, prints the answer as JSON. `show` gives it the file `path` and `sheets` (name -> cells) or
`text`; `cells` tells those of a `sheet` in `names`; `view` tells what of a sheet is selected and shown; `text` tells
the text, its selection and whether that is bold; `saved` tells whether there is nothing to save.
"""

import json
import sys
import time

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import ConnectionSetupException, NoConnectException

PIPE = "uno:pipe,name=contract;urp;StarOffice.ComponentContext"
LIMIT_S = 120
CONTENTS = 1023
"""Values, texts, formulas, forms and all else that a cell may hold."""
FILTERS = {
    "ods": "calc8",
    "xlsx": "Calc MS Excel 2007 XML",
    "odt": "writer8",
    "docx": "MS Word 2007 XML",
}


def desktop():
    resolver = uno.getComponentContext().ServiceManager.createInstance("com.sun.star.bridge.UnoUrlResolver")
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            context = resolver.resolve(PIPE)
            return context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
        except (NoConnectException, ConnectionSetupException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def the_document(office):
    """The one that is open, as soon as it is."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        components = office.getComponents().createEnumeration()
        while components.hasMoreElements():
            component = components.nextElement()
            if hasattr(component, "getURL") and component.CurrentController is not None:
                return component
        time.sleep(0.1)
    raise LookupError("no document is open")


def named(**values):
    return tuple(PropertyValue(Name=name, Value=value) for name, value in values.items())


def show(document, asked):
    """Give the document that content and that file, and the beginning of it in view."""
    if "sheets" in asked:
        show_sheets(document, asked["sheets"])
    else:
        document.Text.setString(asked["text"].replace("\n", "\r"))
        document.CurrentController.ViewCursor.gotoStart(False)
    kind = asked["path"].rpartition(".")[2]
    document.storeAsURL("file://" + asked["path"], named(FilterName=FILTERS[kind], Overwrite=True))
    return {"title": document.Title}


def show_sheets(document, wanted):
    for place, (name, cells) in enumerate(wanted.items()):
        if place == document.Sheets.Count:
            document.Sheets.insertNewByName(name, place)
        sheet = document.Sheets.getByIndex(place)
        sheet.setName(name)
        cursor = sheet.createCursor()
        cursor.gotoEndOfUsedArea(True)
        cursor.clearContents(CONTENTS)
        for address, formula in cells.items():
            sheet.getCellRangeByName(address).setFormula(formula)
    controller = document.CurrentController
    controller.setActiveSheet(document.Sheets.getByIndex(0))
    controller.select(document.Sheets.getByIndex(0).getCellByPosition(0, 0))
    controller.FirstVisibleRow = controller.FirstVisibleColumn = 0


def cells(document, asked):
    sheet = document.Sheets.getByName(asked["sheet"])
    return {name: cell_of(document, sheet.getCellRangeByName(name)) for name in asked["names"]}


def cell_of(document, cell):
    form = document.NumberFormats.getByKey(cell.NumberFormat)
    return {
        "kind": cell.Type.value.lower(),
        "value": cell.Value,
        "string": cell.String,
        "formula": cell.Formula,
        "error": cell.getError(),
        "format": form.FormatString,
    }


def view(document, _):
    controller = document.CurrentController
    return {
        "sheet": controller.ActiveSheet.Name,
        "selected": document.CurrentSelection.AbsoluteName
        if hasattr(document.CurrentSelection, "AbsoluteName")
        else document.CurrentSelection.RangeAddressesAsString,
        "row": controller.FirstVisibleRow,
        "column": controller.FirstVisibleColumn,
    }


def text(document, _):
    selected = document.CurrentController.Selection
    first = selected.getByIndex(0)
    return {"text": document.Text.String, "selected": first.String, "bold": first.CharWeight > 100}


def saved(document, _):
    return {"saved": not document.isModified()}


def main():
    asked = json.load(sys.stdin)
    office = desktop()
    answers = {"show": show, "cells": cells, "view": view, "text": text, "saved": saved}
    document = the_document(office)
    print(json.dumps(answers[asked["do"]](document, asked)))


main()
