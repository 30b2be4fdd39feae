"""A simulated desktop: one window with a form, some of whose buttons are traps. Elements and input, no pictures."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from vm_pool.events import Chord, Click, InputEvent, Text
from vm_pool.providers.fake import FakeMachine, fake_info
from vm_pool.providers.fake_desktop import FakeDesktop
from vm_pool.types import Box, Node, Tree, Window

TITLE = "Customer - Form"
_ROW, _WIDTH, _HEIGHT = 20, 300, 18
_USABLE = frozenset({"enabled", "sensitive", "showing"})


@dataclass
class Form:
    """State of the form, and what its elements do."""

    dead: frozenset[str] = frozenset()
    """Buttons that do nothing."""
    fields: dict[str, str] = field(default_factory=lambda: {"Name": "", "City": ""})
    subscribed: bool = False
    panel: bool = False
    """Whether the options are shown."""
    page: int = 1
    focus: str = "Name"
    chosen: bool = False
    """Whether all text of the focused field is selected."""
    saved: dict[str, str] | None = None
    """What was saved last; None: nothing was."""

    def elements(self) -> list[tuple[str, str, str | None]]:
        """Role, name and text of what shows, from top to bottom."""
        shown: list[tuple[str, str, str | None]] = [("text", name, text) for name, text in self.fields.items()]
        shown += [("check-box", "Subscribe", None)]
        shown += [("push-button", name, None) for name in ("Apply", "Save", "Options", "Next", "Back")]
        shown += [("push-button", "Close panel", None), ("label", "There are no options", None)] if self.panel else []
        saved = "nothing is saved" if self.saved is None else "saved: " + ", ".join(self.saved.values())
        return [*shown, ("label", f"Page {self.page}", None), ("label", saved, None)]

    def take(self, event: InputEvent) -> None:
        """What input does."""
        match event:
            case Click():
                row = event.y // _ROW
                names = [name for _, name, _ in self.elements()]
                self._press(names[row] if row < len(names) else "")
            case Text():
                before = "" if self.chosen else self.fields[self.focus]
                self.fields[self.focus], self.chosen = before + event.text, False
            case Chord(keys=("ctrl", "s")):
                self._save()
            case Chord(keys=("ctrl", "a")):
                self.chosen = True
            case Chord(keys=("backspace",)) if self.chosen:
                self.fields[self.focus], self.chosen = "", False
            case _:
                pass

    def _press(self, name: str) -> None:
        deeds: dict[str, Callable[[], None]] = {
            "Subscribe": lambda: setattr(self, "subscribed", not self.subscribed),
            "Save": self._save,
            "Options": lambda: setattr(self, "panel", True),
            "Close panel": lambda: setattr(self, "panel", False),
            "Next": lambda: setattr(self, "page", self.page + 1),
            "Back": lambda: setattr(self, "page", max(1, self.page - 1)),
        }
        if name in self.fields:
            self.focus, self.chosen = name, False
        elif name in deeds and name not in self.dead:
            deeds[name]()

    def _save(self) -> None:
        self.saved = {**self.fields, "Subscribe": "subscribed" if self.subscribed else "not subscribed"}


def machine_with(form: Form) -> FakeMachine:
    """A desktop that shows the form; equal states look equal."""
    machine = FakeMachine(fake_info())

    def react(desktop: FakeDesktop, event: InputEvent) -> None:
        form.take(event)
        _show(desktop, form)

    machine.script.on_event = react
    _show(machine.desktop, form)
    return machine


def _show(desktop: FakeDesktop, form: Form) -> None:
    elements = form.elements()
    nodes = [_node(form, row, *element) for row, element in enumerate(elements)]
    window = Box(x=0, y=0, width=_WIDTH, height=200)
    frame = Node(
        id="f/window", role="frame", name=TITLE, box=window, states=frozenset({"active"}), children=tuple(nodes)
    )
    app = Node(id="f", role="application", name="Form", children=(frame,))
    desktop.tree = Tree(root=Node(id="root", role="desktop-frame", children=(app,)))
    desktop.windows = (Window(id="0x1", title=TITLE, app="Form", pid=7, box=window, active=True),)
    colour = hashlib.sha256(repr((elements, form.subscribed)).encode()).digest()
    desktop.paint(window, (colour[0], colour[1], colour[2]))


def _node(form: Form, row: int, role: str, name: str, text: str | None) -> Node:
    states = set(_USABLE)
    states |= {"editable"} if role == "text" else set()
    states |= {"checked"} if name == "Subscribe" and form.subscribed else set()
    box = Box(x=4, y=row * _ROW, width=_WIDTH - 8, height=_HEIGHT)
    return Node(id=f"f/{row}/{name}", role=role, name=name, text=text, box=box, states=frozenset(states))
