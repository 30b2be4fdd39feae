"""One observation of the desktop, ready for the model and for grounding."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_s3.coordinates import Display, Size
from agent_s3.elements import ElementList, list_elements, squeeze
from agent_s3.types import FrameRef
from vm_pool.types import Box, Frame, Look, LookPart, MachineInfo, Window

_OPTIONAL: dict[str, LookPart] = {"tree": "tree", "clipboard": "clipboard", "journal": "files"}


@dataclass(frozen=True)
class Observation:
    """What was seen at one moment: the raw look, its numbered elements and the name of its picture."""

    look: Look
    width: int
    """Of the screen, in pixels."""
    height: int
    elements: ElementList = field(default_factory=ElementList)
    ref: FrameRef | None = None
    """Name of the picture in the run folder; None: there is none."""
    origin: tuple[int, int] = (0, 0)
    """Where the top left of the frame lies on the screen, in screen pixels."""

    @property
    def display(self) -> Display:
        """How pixels of the frame and of the screen belong together."""
        x, y = self.origin
        screen = Box(x=x, y=y, width=self.width, height=self.height)
        frame = self.frame
        return Display(Size(frame.width, frame.height) if frame else Size(self.width, self.height), screen)

    @property
    def frame(self) -> Frame | None:
        return self.look.frame

    @property
    def listed(self) -> str:
        """Hash of the listed elements with what they hold, numbers aside; empty when there are none."""
        lines = self.elements.lines()
        return hashlib.sha256("\n".join(lines).encode(errors="replace")).hexdigest()[:16] if lines else ""

    @property
    def cursor(self) -> str | None:
        """Of the file journal; None: this machine keeps none."""
        return self.look.files.cursor if self.look.files else None


def parts_of(info: MachineInfo) -> frozenset[LookPart]:
    """What can be observed of a machine; evidence is gathered whatever the model is shown."""
    parts: set[LookPart] = {"frame", "windows"}
    parts.update(part for capability, part in _OPTIONAL.items() if capability in info.capabilities)
    return frozenset(parts)


def observed(look: Look, info: MachineInfo, *, ref: FrameRef | None, limit: int) -> Observation:
    """`limit`: most elements to number."""
    elements = list_elements(look.tree, limit=limit, hidden=_hidden(look)) if look.tree else ElementList()
    return Observation(look, info.width, info.height, elements, ref, info.origin)


def covered_by(windows: Sequence[Window], title: str, x: int, y: int) -> str | None:
    """The window that a click at a pixel of the window `title` would hit instead; None: none, or it is not known."""
    there = [w for w in windows if w.box.contains(x, y) and not w.minimized]
    own = [i for i, w in enumerate(there) if w.title == title]
    if not title or not own or own[-1] == len(there) - 1:
        return None
    return squeeze(there[-1].title or there[-1].app, 80)


def _hidden(look: Look) -> frozenset[str]:
    """Titles that only minimized windows have."""
    windows = look.windows or ()
    return frozenset(w.title for w in windows if w.minimized) - {w.title for w in windows if not w.minimized}
