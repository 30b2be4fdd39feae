"""Top-level windows as the window manager lists them on the root window."""

import threading
from typing import Any

from Xlib import X, error
from Xlib.display import Display
from Xlib.protocol import request

_LONGEST_PROPERTY = 4096
"""In 32-bit units."""
_ATOMS = (
    "_NET_CLIENT_LIST_STACKING",
    "_NET_ACTIVE_WINDOW",
    "_NET_WM_NAME",
    "_NET_WM_PID",
    "_NET_WM_STATE",
    "_NET_WM_STATE_HIDDEN",
    "_NET_FRAME_EXTENTS",
    "_GTK_FRAME_EXTENTS",
    "WM_NAME",
    "WM_CLASS",
)
_READ = (
    "_NET_WM_NAME",
    "WM_NAME",
    "WM_CLASS",
    "_NET_WM_PID",
    "_NET_WM_STATE",
    "_NET_FRAME_EXTENTS",
    "_GTK_FRAME_EXTENTS",
)


class Windows:
    """Reads the windows of one display; all questions about all windows travel together."""

    def __init__(self, display: Display):
        self._display = display
        self._root = display.screen().root
        self._atoms = {name: display.intern_atom(name) for name in _ATOMS}
        self._lock = threading.Lock()

    def list(self) -> list[dict[str, Any]]:
        """The fields of `vm_pool.types.Window`, topmost last. A window that vanishes meanwhile is left out."""
        with self._lock:
            ids = self._root_values("_NET_CLIENT_LIST_STACKING")
            active = self._root_values("_NET_ACTIVE_WINDOW")
            asked = [(window_id, self._ask(window_id)) for window_id in ids]
            found = [self._describe(window_id, answers) for window_id, answers in asked]
        return [{**window, "active": int(window["id"], 16) in active} for window in found if window is not None]

    def locate(self, title: str, width: int, height: int) -> "tuple[int, int] | None":
        """Where the contents of a window begin on the screen, given their size in pixels; the topmost of equals.

        The contents lie in the middle of the window of the X server: what is around them is border and shadow.
        """
        with self._lock:
            asked = [(window_id, self._ask(window_id)) for window_id in self._root_values("_NET_CLIENT_LIST_STACKING")]
            described = [(self._describe(window_id, answers), answers) for window_id, answers in asked]
        for window, answers in reversed(described):
            if window is not None and window["title"] == title:
                spare_x = answers["geometry"].width - width
                spare_y = answers["geometry"].height - height
                return answers["origin"].x + spare_x // 2, answers["origin"].y + spare_y // 2
        return None

    def _root_values(self, name: str) -> "list[int]":
        found = self._root.get_full_property(self._atoms[name], X.AnyPropertyType)
        return [] if found is None else list(found.value)

    def _ask(self, window_id: int) -> "dict[str, Any]":
        connection = self._display.display
        answers: dict[str, Any] = {
            name: request.GetProperty(
                display=connection,
                defer=True,
                delete=0,
                window=window_id,
                property=self._atoms[name],
                type=X.AnyPropertyType,
                long_offset=0,
                long_length=_LONGEST_PROPERTY,
            )
            for name in _READ
        }
        answers["geometry"] = request.GetGeometry(display=connection, defer=True, drawable=window_id)
        answers["origin"] = request.TranslateCoords(
            display=connection, defer=True, src_wid=window_id, dst_wid=self._root.id, src_x=0, src_y=0
        )
        return answers

    def _describe(self, window_id: int, answers: "dict[str, Any]") -> "dict[str, Any] | None":
        try:
            for answer in answers.values():
                answer.reply()
        except error.XError:
            return None
        pid = _numbers(answers["_NET_WM_PID"])
        return {
            "id": hex(window_id),
            "title": _text(answers["_NET_WM_NAME"]) or _text(answers["WM_NAME"]),
            "app": _text(answers["WM_CLASS"]).rstrip("\0").rpartition("\0")[2],
            "pid": pid[0] if pid else None,
            "box": _outer_box(answers),
            "minimized": self._atoms["_NET_WM_STATE_HIDDEN"] in _numbers(answers["_NET_WM_STATE"]),
        }


def _outer_box(answers: "dict[str, Any]") -> "dict[str, int]":
    """What the user sees as the window: with the manager's frame, without the shadow a client draws around itself."""
    geometry, origin = answers["geometry"], answers["origin"]
    left, right, top, bottom = _sides(answers["_NET_FRAME_EXTENTS"])
    shadow_left, shadow_right, shadow_top, shadow_bottom = _sides(answers["_GTK_FRAME_EXTENTS"])
    return {
        "x": origin.x - left + shadow_left,
        "y": origin.y - top + shadow_top,
        "width": max(0, geometry.width + left + right - shadow_left - shadow_right),
        "height": max(0, geometry.height + top + bottom - shadow_top - shadow_bottom),
    }


def _sides(answer: Any) -> "tuple[int, int, int, int]":
    numbers = _numbers(answer)
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else (0, 0, 0, 0)


def _numbers(answer: Any) -> "list[int]":
    form, values = answer.value or (0, [])
    return list(values) if form == 32 else []


def _text(answer: Any) -> str:
    form, values = answer.value or (0, b"")
    return bytes(values).decode("utf-8", errors="replace") if form == 8 else ""
