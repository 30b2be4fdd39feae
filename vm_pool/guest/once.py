"""Requests that carry an id are executed once; a repeat gets the first answer."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

Answer = TypeVar("Answer")


class Outcome(NamedTuple, Generic[Answer]):
    """An answer, and whether it is that of an earlier request with the same id."""

    answer: Answer
    repeated: bool


class _Slot(Generic[Answer]):
    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: Answer | None = None
        self.error: BaseException | None = None


class Once(Generic[Answer]):
    """Remembers the answers of the newest `keep` request ids; a repeat that comes early waits for the first."""

    def __init__(self, keep: int):
        self._keep = keep
        self._slots: OrderedDict[str, _Slot[Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def do(self, request_id: str, action: Callable[[], Answer]) -> Outcome[Answer]:
        """Raises: whatever `action` raised, to repeats as well, since part of it may have been done."""
        with self._lock:
            slot = self._slots.get(request_id)
            first = slot is None
            if slot is None:
                slot = self._slots[request_id] = _Slot()
        if first:
            self._fill(slot, action)
        slot.done.wait()
        if slot.error is not None:
            raise slot.error
        return Outcome(slot.answer, not first)

    def _fill(self, slot: "_Slot[Answer]", action: Callable[[], Answer]) -> None:
        try:
            slot.answer = action()
        except Exception as error:  # noqa: BLE001 - it is raised again by `do`, for every asker
            slot.error = error
        finally:
            slot.done.set()
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        with self._lock:
            for request_id in list(self._slots):
                if len(self._slots) <= self._keep:
                    return
                if self._slots[request_id].done.is_set():
                    del self._slots[request_id]
