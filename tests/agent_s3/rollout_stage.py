"""A fake desktop with a small window, and a rollout on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_s3.agent import run_rollout
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step, Task
from llm.chat import Abilities, ChatModel
from llm.scripted import Reply
from vm_pool.providers.fake import FakeMachine, fake_info
from vm_pool.types import Box, Frame, Node, Tree, Window

BLIND = Abilities(tools=True, schema=True, logprobs=True, context_tokens=8192)
"""What the embedded model can do."""


def node(id_: str, role: str, name: str = "", box: tuple[int, int, int, int] | None = None, **more: Any) -> Node:
    children = tuple(more.pop("children", ()))
    place = Box(x=box[0], y=box[1], width=box[2], height=box[3]) if box else None
    states = frozenset(more.pop("states", {"enabled", "sensitive"}))
    return Node(id=id_, role=role, name=name, box=place, states=states, children=children, **more)


def editor_tree(*extra: Node, text: str = "old words", title: str = "notes.txt - Editor") -> Tree:
    """One application with one window: Save, Cancel, two fields and a text area."""
    inside = [
        node("e/save", "push-button", "Save", (10, 10, 60, 20)),
        node("e/cancel", "push-button", "Cancel", (80, 10, 60, 20)),
        node("e/name", "text", "Name", (10, 40, 100, 20), text="", states={"enabled", "editable"}),
        node("e/area", "text", "", (10, 70, 200, 100), text=text, states={"enabled", "editable", "focused"}),
        node("e/hidden", "menu-item", "Hidden"),
        *extra,
    ]
    frame = node("e/frame", "frame", title, (0, 0, 300, 190), states={"active"}, children=inside)
    app = node("e", "application", "Editor", children=[frame])
    return Tree(root=node("root", "desktop-frame", children=[app]))


def editor_window(**changes: Any) -> Window:
    window = Window(
        id="0x1", title="notes.txt - Editor", app="Editor", pid=7, box=Box(x=0, y=0, width=300, height=190), active=True
    )
    return window.model_copy(update=changes)


def act(action: str, **arguments: Any) -> Reply:
    """A worker's reply in text."""
    return Reply.model_validate({"role": "worker", "json": {"thought": "so", "action": action, **arguments}})


def says(role: str, text: str, **more: Any) -> Reply:
    return Reply.model_validate({"role": role, "text": text, **more})


@dataclass
class Stage:
    """Where a rollout plays: machine, run folder, and what the listener was told."""

    machine: FakeMachine
    paths: RunPaths
    settings: AgentSettings = field(default_factory=lambda: AgentSettings(seed=7))
    told: list[tuple[Step, Frame | None, Frame | None]] = field(default_factory=list)

    def _hear(self, step: Step, before: Frame | None, after: Frame | None) -> None:
        self.told.append((step, before, after))

    async def play(self, model: ChatModel, **more: Any) -> RolloutResult:
        arguments: dict[str, Any] = {
            "index": 0,
            "paths": self.paths,
            "frames": FrameStore(self.paths.frames),
            "settings": self.settings,
            "on_step": self._hear,
            **more,
        }
        task = Task(id="t", instruction="Save the notes")
        return await run_rollout(task, arguments.pop("machine", self.machine), model, **arguments)


def new_stage(folder: Path) -> Stage:
    machine = FakeMachine(fake_info(), files={"/home/user/Documents/notes.txt": b"old words"})
    machine.desktop.tree = editor_tree()
    machine.desktop.windows = (editor_window(),)
    return Stage(machine, RunPaths(folder / "run"))
