"""The actions of Agent S3, fifteen and `ask_user`, as typed data: the one source for schema, prompts and execution.

An action is data from the model's reply to the record of the step; nothing is ever evaluated. Elements are named in
words (or by `#number` from the numbered element list); pixels come from a grounder, just before execution.

Source: Agent S3 (arXiv 2510.02250, section 3 and the action list of its appendix); argument names as in
simular-ai/Agent-S `gui_agents/s3/agents/grounding.py`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from vm_pool.events import Button
from vm_pool.types import Box

Element = Annotated[str, Field(min_length=1, max_length=500)]
"""An element in words, e.g. `the Save button in the toolbar`, or `#12`: its number in the element list."""
Keys = Annotated[tuple[str, ...], Field(max_length=8)]
"""pyautogui key names."""


class _Action(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ends_rollout: ClassVar[bool] = False
    """Whether the rollout is over after this action."""


class Click(_Action):
    """Click an element."""

    action: Literal["click"] = "click"
    element_description: Element = Field(description="the element to click, in words or as #number")
    num_clicks: int = Field(default=1, ge=1, le=3, description="2 for a double click, 3 for a triple click")
    button_type: Button = "left"
    hold_keys: Keys = Field(default=(), description="keys held while clicking, e.g. ctrl, shift")


class Type(_Action):
    """Type text, into an element if one is named, else where the focus is."""

    action: Literal["type"] = "type"
    element_description: Element | None = Field(default=None, description="the element to click first; null: none")
    text: str = Field(default="", max_length=100_000, description="the text, in any script")
    overwrite: bool = Field(default=False, description="select all and delete what is there first")
    enter: bool = Field(default=False, description="press Enter afterwards")


class Scroll(_Action):
    """Turn the mouse wheel over an element."""

    action: Literal["scroll"] = "scroll"
    element_description: Element = Field(description="the element to scroll, in words or as #number")
    clicks: int = Field(ge=-100, le=100, description="notches; positive scrolls up (with shift: left), negative down")
    shift: bool = Field(default=False, description="scroll sideways")


class DragAndDrop(_Action):
    """Drag from one element to another."""

    action: Literal["drag_and_drop"] = "drag_and_drop"
    starting_description: Element = Field(description="where to press")
    ending_description: Element = Field(description="where to let go")
    hold_keys: Keys = Field(default=(), description="keys held during the drag")


class HighlightTextSpan(_Action):
    """Select text on the screen from the first phrase to the end of the second."""

    action: Literal["highlight_text_span"] = "highlight_text_span"
    starting_phrase: Element = Field(description="words at the start of the span, exactly as shown")
    ending_phrase: Element = Field(description="words at the end of the span, exactly as shown")
    button: Button = "left"


class Hotkey(_Action):
    """Press a key or a combination once."""

    action: Literal["hotkey"] = "hotkey"
    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)] = Field(description='e.g. ["ctrl", "s"]')


class HoldAndPress(_Action):
    """Hold some keys down while pressing others one after the other."""

    action: Literal["hold_and_press"] = "hold_and_press"
    hold_keys: Keys = Field(description="keys held throughout")
    press_keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)] = Field(description="pressed in order")


class Open(_Action):
    """Open an application or a file."""

    action: Literal["open"] = "open"
    app_or_filename: str = Field(min_length=1, max_length=500, description="application name, or path of a file")


class SwitchApplications(_Action):
    """Bring a window that is already open to the front."""

    action: Literal["switch_applications"] = "switch_applications"
    app_code: str = Field(min_length=1, max_length=200, description="application name or part of the window title")


CellValue = str | Annotated[float, Field(allow_inf_nan=False)] | bool | None
"""Neither a record nor a sheet can hold an infinite number or none at all."""


class SetCellValues(_Action):
    """Write cells of a spreadsheet that is open in LibreOffice Calc."""

    action: Literal["set_cell_values"] = "set_cell_values"
    cell_values: dict[str, CellValue] = Field(
        min_length=1,
        max_length=1000,
        description='e.g. {"A2": "hello", "B2": 3, "C2": "=SUM(A1:A9)", "D2": "2026-03-14"}',
    )
    app_name: str = Field(min_length=1, description="title of the document window, e.g. Sales.xlsx")
    sheet_name: str = Field(min_length=1, description="name of the sheet, e.g. Sheet1")

    @field_validator("cell_values")
    @classmethod
    def _cells_are_named_like_cells(cls, cells: dict[str, CellValue]) -> dict[str, CellValue]:
        for name in cells:
            column = name.rstrip("0123456789")
            row = name[len(column) :]
            if not (1 <= len(column) <= 3 and column.isascii() and column.isalpha() and row and row[0] != "0"):
                raise ValueError(f"{name!r} is no cell; cells are written like A1 or AB12")
        return cells


class SaveToKnowledge(_Action):
    """Keep notes that are shown to you at every later step."""

    action: Literal["save_to_knowledge"] = "save_to_knowledge"
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)] = Field(description="the notes")


class CallCodeAgent(_Action):
    """Let the coding agent do work with Python and shell on this same machine; best for files, data and bulk edits."""

    action: Literal["call_code_agent"] = "call_code_agent"
    task: str | None = Field(default=None, max_length=10_000, description="the part to do; null: the whole task")


class AskUser(_Action):
    """Ask the user what the task leaves open and you cannot find out; waits for the answer."""

    action: Literal["ask_user"] = "ask_user"
    question: str = Field(
        min_length=1, max_length=1000, description="one short question, with the choices if it has any"
    )


class Wait(_Action):
    """Do nothing for some seconds."""

    action: Literal["wait"] = "wait"
    time: float = Field(gt=0, le=60, description="seconds")


class Done(_Action):
    """The task is complete."""

    action: Literal["done"] = "done"
    ends_rollout: ClassVar[bool] = True


class Fail(_Action):
    """The task cannot be done."""

    action: Literal["fail"] = "fail"
    ends_rollout: ClassVar[bool] = True


class MovePointer(_Action):
    """Put the pointer over an element without pressing anything."""

    action: Literal["move_pointer"] = "move_pointer"
    element_description: Element = Field(description="the element, in words")


class Look(_Action):
    """Look at the screen again, or closer at a part of it."""

    action: Literal["look"] = "look"
    part: Box | None = Field(default=None, description="in pixels of the frame; null: all of it")


Action = Annotated[
    Click
    | Type
    | Scroll
    | DragAndDrop
    | HighlightTextSpan
    | Hotkey
    | HoldAndPress
    | Open
    | SwitchApplications
    | SetCellValues
    | SaveToKnowledge
    | CallCodeAgent
    | AskUser
    | Wait
    | Done
    | Fail
    | MovePointer
    | Look,
    Field(discriminator="action"),
]

ACTIONS: tuple[type[_Action], ...] = (
    Click,
    Type,
    Scroll,
    DragAndDrop,
    HighlightTextSpan,
    Hotkey,
    HoldAndPress,
    Open,
    SwitchApplications,
    SetCellValues,
    SaveToKnowledge,
    CallCodeAgent,
    AskUser,
    Wait,
    Done,
    Fail,
)
"""The fifteen, in the order in which they are shown to the model. `MovePointer` and `Look` are not among them: only the
providers' own computer tools ask for those."""

ACTION: TypeAdapter[Action] = TypeAdapter(Action)
"""Validates one action from a mapping with the tag `action`."""
