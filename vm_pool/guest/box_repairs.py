"""Boxes that toolkits report wrongly, put right. What needs no repair is left as it is."""

from collections.abc import Callable, Generator

from .accessible_element import Element

LocateWindow = Callable[[str, int, int], "tuple[int, int] | None"]
"""From the title and size of a window's contents to where they begin on the screen; None: no such window."""


def place_gtk4_windows(application: Element, locate_window: LocateWindow) -> None:
    """GTK 4 does not know where its windows are: its boxes count from the window's corner."""
    for window in application.children:
        place = window.box and locate_window(window.name, window.box[2], window.box[3])
        for element in below(window):
            _shift(element, *place) if place else _forget(element)


def put_root_panes_in_place(application: Element) -> None:
    """LibreOffice forgets its menu bar when it says where its pane is, until the pointer first moves in it.

    GTK's own container around the pane has the same size and knows its place.
    """
    for parent in list(below(application)):
        for pane in parent.children:
            if pane.role == "root-pane" and pane.box and parent.box and pane.box[2:] == parent.box[2:]:
                dx, dy = parent.box[0] - pane.box[0], parent.box[1] - pane.box[1]
                for element in below(pane):
                    _shift(element, dx, dy)


def below(top: Element) -> Generator[Element, None, None]:
    """An element and all below it, each once."""
    pending, seen = [top], {top.path}
    while pending:
        element = pending.pop()
        yield element
        fresh = [child for child in element.children if child.path not in seen]
        seen.update(child.path for child in fresh)
        pending += fresh


def _shift(element: Element, dx: int, dy: int) -> None:
    if element.box is not None:
        x, y, width, height = element.box
        element.box = (x + dx, y + dy, width, height)


def _forget(element: Element) -> None:
    element.box = None
