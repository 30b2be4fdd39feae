"""The CLIPBOARD selection as text, read from its owner or owned by this server.

One thread holds its own X connection: whoever owns a selection has to answer for it at any time.
Source: ICCCM 2.0, section 2 (selections), and the INCR protocol for long contents in 2.7.2.
"""

import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.error import XError
from Xlib.protocol import event as xevent

from .errors import Refused

MAX_TEXT = 200_000
"""Bytes that this server puts on the clipboard: one X request."""
_MAX_READ = 1_000_000
_READ_S = 0.3
"""How long the owner may take; one that hangs must not hold a look up."""


class Clipboard:
    """Start once; `get` and `set` may be called from any thread."""

    def __init__(self) -> None:
        self._display = Display()
        self._window = self._display.screen().root.create_window(0, 0, 1, 1, 0, 0, X.InputOnly)
        self._window.change_attributes(event_mask=X.PropertyChangeMask)
        names = ("CLIPBOARD", "TARGETS", "UTF8_STRING", "TEXT", "INCR", "AGENT_S3_CLIPBOARD")
        self._atom = {name: self._display.intern_atom(name) for name in names}
        self._atom["text/plain;charset=utf-8"] = self._display.intern_atom("text/plain;charset=utf-8")
        self._text_targets = {self._atom[name] for name in ("UTF8_STRING", "TEXT", "text/plain;charset=utf-8")}
        self._text_targets.add(Xatom.STRING)
        self._owned: bytes | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        threading.Thread(target=self._serve, daemon=True).start()

    def get(self) -> str | None:
        """None when nobody owns the clipboard, its owner does not answer in time, or it holds no text."""
        return self._in_thread(self._read)

    def set(self, text: str) -> None:
        """Raises: `Refused` when the text is too long."""
        data = text.encode(errors="replace")
        if len(data) > MAX_TEXT:
            raise Refused(f"the clipboard takes at most {MAX_TEXT} bytes, not {len(data)}; write a file instead")
        self._in_thread(lambda: self._own(data))

    def _in_thread(self, job: Callable[[], Any]) -> Any:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs.put(lambda: answer.put(job()))
        self._wake_in.send(b"x")
        return answer.get()

    def _serve(self) -> None:
        while True:
            self._answer_requests()
            select.select([self._display.fileno(), self._wake_out], [], [])
            while not self._jobs.empty():
                self._wake_out.recv(1)
                self._jobs.get()()

    def _own(self, data: bytes) -> None:
        self._owned = data
        self._window.set_selection_owner(self._atom["CLIPBOARD"], X.CurrentTime)
        self._display.sync()

    def _read(self) -> str | None:
        owner = self._display.get_selection_owner(self._atom["CLIPBOARD"])
        if owner == X.NONE:
            return None
        if owner == self._window and self._owned is not None:
            return self._owned.decode()
        deadline = time.monotonic() + _READ_S
        target = self._atom["AGENT_S3_CLIPBOARD"]
        self._window.delete_property(target)
        self._window.convert_selection(self._atom["CLIPBOARD"], self._atom["UTF8_STRING"], target, X.CurrentTime)
        notice = self._wait_for(lambda event: event.type == X.SelectionNotify, deadline)
        if notice is None or notice.property == X.NONE:
            return None
        data = self._take_property(target, deadline)
        return None if data is None else data.decode(errors="replace")

    def _take_property(self, name: int, deadline: float) -> bytes | None:
        """Contents that the owner has put on our window, in one piece or, for INCR, in many."""
        found = self._window.get_full_property(name, X.AnyPropertyType)
        self._window.delete_property(name)
        self._display.flush()
        if found is None:
            return None
        if found.property_type != self._atom["INCR"]:
            return _bytes(found.value)
        collected = b""
        while len(collected) <= _MAX_READ:
            arrived = lambda event: event.type == X.PropertyNotify and event.atom == name and event.state == 0  # noqa: E731
            if self._wait_for(arrived, deadline) is None:
                return None
            piece = self._window.get_full_property(name, X.AnyPropertyType)
            self._window.delete_property(name)
            self._display.flush()
            if piece is None or not piece.value:
                return collected
            collected += _bytes(piece.value)
        return None

    def _wait_for(self, wanted: Callable[[Any], bool], deadline: float) -> Any:
        """The next wanted event; None at the deadline. Requests for what we own are answered meanwhile."""
        self._display.flush()
        while True:
            while self._display.pending_events():
                event = self._display.next_event()
                if wanted(event):
                    return event
                self._handle(event)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            select.select([self._display.fileno()], [], [], left)

    def _answer_requests(self) -> None:
        while self._display.pending_events():
            self._handle(self._display.next_event())

    def _handle(self, event: Any) -> None:
        if event.type == X.SelectionClear:
            self._owned = None
        elif event.type == X.SelectionRequest:
            self._give(event)

    def _give(self, request: Any) -> None:
        """Put our text, or the list of forms it comes in, where the asker wants it."""
        place = request.property or request.target
        try:
            if self._owned is None:
                place = X.NONE
            elif request.target == self._atom["TARGETS"]:
                targets = [self._atom["TARGETS"], *sorted(self._text_targets)]
                request.requestor.change_property(place, Xatom.ATOM, 32, targets)
            elif request.target in self._text_targets:
                request.requestor.change_property(place, request.target, 8, self._owned)
            else:
                place = X.NONE
            notice = xevent.SelectionNotify(
                time=request.time,
                requestor=request.requestor,
                selection=request.selection,
                target=request.target,
                property=place,
            )
            request.requestor.send_event(notice)
            self._display.sync()
        except XError:
            return  # the asker has gone: there is nobody left to give it to


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
