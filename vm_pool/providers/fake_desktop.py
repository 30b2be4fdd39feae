"""State of a fake machine and its script: what input does to it, which commands it knows, how it breaks."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vm_pool.errors import BootTimeout, MachineError
from vm_pool.events import Click, Drag, InputEvent, KeyDown, KeyUp, Move, Scroll, Text
from vm_pool.providers.fake_faults import Fault, Method, Planned
from vm_pool.providers.fake_shell import Reply
from vm_pool.types import Box, FileChange, Node, Tree, Window

_BACKGROUND = (58, 110, 165)
_TEXT_LIMIT = 16 * 1024


@dataclass
class FakeFile:
    data: bytes
    mode: int = 0o644


@dataclass
class FakeDesktop:
    """All state of a fake machine; copied as a whole by snapshots and forks."""

    pixels: NDArray[np.uint8]
    """Height x width x 3, RGB; reactions draw on it, or use `paint`."""
    files: dict[str, FakeFile] = field(default_factory=dict[str, FakeFile])
    tree: Tree = field(default_factory=lambda: Tree(root=Node(id="root", role="desktop-frame")))
    windows: tuple[Window, ...] = ()
    clipboard: str | None = None
    pointer: tuple[int, int] = (0, 0)
    held: list[str] = field(default_factory=list[str])
    """Keys that are down, in the order they were pressed."""
    typed: str = ""
    """All text typed so far."""
    events: list[InputEvent] = field(default_factory=list[InputEvent])
    """Every event that was executed, oldest first."""
    commands: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """Every command line that was run, oldest first."""
    launched: list[list[str]] = field(default_factory=list[list[str]])

    def paint(self, box: Box, colour: tuple[int, int, int]) -> None:
        self.pixels[box.y : box.y + box.height, box.x : box.x + box.width] = colour

    def execute(self, event: InputEvent) -> None:
        """Move the pointer, hold the keys, take down the text."""
        self.events.append(event)
        match event:
            case Move() | Click() | Scroll():
                self.pointer = (event.x, event.y)
            case Drag():
                self.pointer = (event.to_x, event.to_y)
            case KeyDown() if event.key not in self.held:
                self.held.append(event.key)
            case KeyUp() if event.key in self.held:
                self.held.remove(event.key)
            case Text():
                self.typed += event.text
            case _:
                pass


Reaction = Callable[[FakeDesktop, InputEvent], None]
"""What an input event does to the desktop, beyond pointer, held keys and typed text."""
Command = Callable[[FakeDesktop, Sequence[str], bytes], Reply | None]
"""Runs a command line with its stdin; None: not one of mine."""


@dataclass
class Script:
    """How a fake desktop behaves and breaks. Shared by all forks, so that a test can count and steer them."""

    on_event: Reaction | None = None
    on_command: Command | None = None
    delay_s: float = 0.0
    """Every call takes this long."""
    lose_after_calls: int | None = None
    """Each machine is lost at its call number N + 1."""
    faults: dict[Method, deque[MachineError | BootTimeout]] = field(
        default_factory=lambda: defaultdict[Method, deque[MachineError | BootTimeout]](deque)
    )
    """Errors that the next calls of a method raise, on whichever machine they come."""
    plan: list[Planned] = field(default_factory=list[Planned])
    """Faults of single machines, by the number of the call; see `inject`."""

    def fail_next(self, method: Method, error: MachineError | BootTimeout) -> None:
        """The next call of that method, on whichever machine it comes, raises this error."""
        self.faults[method].append(error)

    def inject(
        self,
        fault: Fault,
        *,
        method: Method | None = None,
        machine: int | None = None,
        after: int = 0,
        times: int | None = 1,
    ) -> None:
        """Plan a fault; what comes of it depends on nothing but the order of calls on each machine.

        `method` None: calls of all methods count. `machine`: its number in the order in which its provider started
        them, from 0; None: each machine. `after`: so many such calls go well before. `times`: so many fail then; None:
        all.
        """
        self.plan.append(Planned(fault=fault, method=method, machine=machine, after=after, times=times))


def blank_desktop(width: int, height: int, files: Mapping[str, bytes]) -> FakeDesktop:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = _BACKGROUND
    return FakeDesktop(pixels, {path: FakeFile(data) for path, data in files.items()})


def file_change(path: str, before: FakeFile | None, after: FakeFile | None) -> FileChange:
    kind: Literal["created", "modified", "deleted"] = "modified"
    if before is None or after is None:
        kind = "created" if before is None else "deleted"
    return FileChange(
        path=path,
        kind=kind,
        size_before=None if before is None else len(before.data),
        size=None if after is None else len(after.data),
        sha256_before=None if before is None else hashlib.sha256(before.data).hexdigest(),
        sha256=None if after is None else hashlib.sha256(after.data).hexdigest(),
        mode_before=None if before is None else before.mode,
        mode=None if after is None else after.mode,
        text_before=None if before is None else _text(before.data),
        text=None if after is None else _text(after.data),
    )


def _text(data: bytes) -> str | None:
    if len(data) > _TEXT_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
