"""The cells of a spreadsheet that are on the screen, out of millions.

Two corners say which rows and columns are visible; boxes of one row and one column say where all cells are, so that of
each cell only its text is asked.
"""

from collections.abc import Callable, Generator
from typing import Any

from .accessible_element import Element
from .atspi_names import SHOWING, VISIBLE
from .dbus_messages import Call, Reply

MAX_ROWS = 60
MAX_COLUMNS = 30
_COMPONENT = "org.a11y.atspi.Component"
_TABLE = "org.a11y.atspi.Table"
_TEXT = "org.a11y.atspi.Text"
_ACCESSIBLE = "org.a11y.atspi.Accessible"
_SCREEN = 0
_INSET = 3
"""Pixels from the edge of the table at which its corner cells are looked for."""

MakeCall = Callable[..., Call]
Answers = "list[Reply | None]"


def visible_cells(call: MakeCall, table: Element) -> Generator[list[Call], Answers, list[Element]]:
    """Yields questions, is sent their answers, returns the cells row by row; none when the toolkit does not tell."""
    corners = yield from _corners(call, table)
    if corners is None:
        return []
    (first_row, first_column), (last_row, last_column) = corners
    rows = range(first_row, min(last_row + 1, first_row + MAX_ROWS))
    columns = range(first_column, min(last_column + 1, first_column + MAX_COLUMNS))
    places = [(row, column) for row in rows for column in columns]
    found = yield [call(table.path, _TABLE, "GetAccessibleAt", "ii", *place) for place in places]
    paths = {place: _object_path(answer) for place, answer in zip(places, found, strict=True)}
    edges = [place for place in places if place[0] == first_row or place[1] == first_column]
    boxes = yield [call(paths[place], _COMPONENT, "GetExtents", "u", _SCREEN) for place in edges]
    edge_boxes = {place: _first(answer) for place, answer in zip(edges, boxes, strict=True)}
    texts = yield [call(paths[place], _TEXT, "GetText", "ii", 0, -1) for place in places]
    cells: list[Element] = []
    for place, answer in zip(places, texts, strict=True):
        box = _box(edge_boxes[place[0], first_column], edge_boxes[first_row, place[1]])
        if box is not None:
            cells.append(_cell(paths[place], place, _first(answer), box))
    return cells


def _corners(call: MakeCall, table: Element) -> Generator[list[Call], Answers, "list[tuple[int, int]] | None"]:
    """Row and column of the cells at the top left and at the bottom right."""
    [extents] = yield [call(table.path, _COMPONENT, "GetExtents", "u", _SCREEN)]
    if _first(extents) is None:
        return None
    x, y, width, height = _first(extents)
    points = ((x + _INSET, y + _INSET), (x + width - _INSET, y + height - _INSET))
    cells = yield [call(table.path, _COMPONENT, "GetAccessibleAtPoint", "iiu", *point, _SCREEN) for point in points]
    indices = yield [call(_object_path(cell), _ACCESSIBLE, "GetIndexInParent") for cell in cells]
    if any(not isinstance(_first(index), int) for index in indices):
        return None
    numbers = [_first(index) for index in indices]
    names = ("GetRowAtIndex", "GetColumnAtIndex")
    answers = yield [call(table.path, _TABLE, name, "i", number) for number in numbers for name in names]
    top, left, bottom, right = map(_first, answers)
    if any(not isinstance(number, int) or number < 0 for number in (top, left, bottom, right)):
        return None
    return [(top, left), (bottom, right)]


def column_name(column: int) -> str:
    """A, B ... Z, AA ... of a column counted from 0."""
    name = ""
    while column >= 0:
        name = chr(ord("A") + column % 26) + name
        column = column // 26 - 1
    return name


def _cell(path: str, place: tuple[int, int], text: Any, box: tuple[int, int, int, int]) -> Element:
    cell = Element(path)
    cell.role = "table-cell"
    cell.name = f"{column_name(place[1])}{place[0] + 1}"
    cell.states = SHOWING | VISIBLE
    cell.text = text if isinstance(text, str) else None
    cell.box = box
    return cell


def _box(in_row: Any, in_column: Any) -> "tuple[int, int, int, int] | None":
    """Vertical extent of the first cell in the row, horizontal extent of the first cell in the column."""
    if in_row is None or in_column is None:
        return None
    _, y, _, height = in_row
    x, _, width, _ = in_column
    return (x, y, width, height) if width > 0 and height > 0 else None


def _first(answer: Reply | None) -> Any:
    return answer.values[0] if answer is not None and not answer.error and answer.values else None


def _object_path(answer: Reply | None) -> str:
    """A path that exists nowhere when there is no answer: questions about it are errors, which count as no answer."""
    found = _first(answer)
    return str(found[1]) if isinstance(found, tuple) and len(found) == 2 else "/none"
