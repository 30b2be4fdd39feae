"""The data of a rollout: task, observation, delta, step, result. Pure data; a leaf that every room above may import.

Pictures are named by the sha256 of their pixels and lie in the run folder; their bytes never enter JSON.
Boxes and points are screen pixels, origin at the top left.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent_s3.actions import Action
from llm.chat import ComputerDialect, Usage
from vm_pool.events import InputEvent
from vm_pool.types import Box, FileChange

SCHEMA_VERSION = 1
"""Written into every file of a run folder."""


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(Frozen):
    """What is asked of the agent."""

    id: str = Field(min_length=1)
    instruction: str = Field(min_length=1)
    domain: str = "user"
    """Group in a benchmark, e.g. `os`; `user` for tasks from the command line."""


class FrameRef(Frozen):
    """A picture in the run folder."""

    sha256: str
    """Of size and pixels, see `vm_pool.types.Frame`."""
    width: int
    height: int


class Region(Frozen):
    """A rectangle of the screen in which pixels changed."""

    box: Box
    changed_pixels: int


class TreeChange(Frozen):
    """One element of the accessibility tree that appeared, went away or changed."""

    kind: Literal["added", "removed", "changed"]
    role: str
    name: str
    app: str = ""
    box: Box | None = None
    field: str | None = None
    """What changed: `name`, `text`, `value`, `states`; None for added and removed."""
    before: str | None = None
    after: str | None = None


class WindowChange(Frozen):
    """A top-level window that opened, closed, changed its title or became the active one."""

    kind: Literal["opened", "closed", "retitled", "activated"]
    title: str
    app: str
    title_before: str | None = None


class ClipboardChange(Frozen):
    """The clipboard's text before and after, shortened; None: no text."""

    before: str | None
    after: str | None


class Delta(Frozen):
    """What verifiably changed between the observations before and after one action."""

    regions: tuple[Region, ...] = ()
    changed_fraction: float = Field(default=0.0, ge=0, le=1)
    """Changed pixels over all pixels."""
    tree: tuple[TreeChange, ...] = ()
    tree_dropped: int = 0
    """How many further tree changes were left out."""
    windows: tuple[WindowChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    files_dropped: int = 0
    clipboard: ClipboardChange | None = None
    output: str | None = None
    """What code printed, shortened; None: no code ran."""
    settled: bool = True
    """False: the screen still moved at the deadline, so the delta may be incomplete."""

    @property
    def empty(self) -> bool:
        """True when nothing at all was seen to change."""
        return not (
            self.regions or self.tree or self.windows or self.files or self.clipboard or self.output is not None
        )


class Question(Frozen):
    """A picture that a grounding model was shown, and what it said."""

    model: str
    """Its spec."""
    part: Box
    """What of the frame it was shown, in pixels of the frame."""
    width: int
    """Of the picture as it was sent, in its own pixels."""
    height: int
    reply: str
    """Verbatim, shortened."""
    x: int | None = None
    """Where that is, in pixels of the frame; None: it found nothing, or nothing that can be used."""
    y: int | None = None


class Tried(Frozen):
    """One grounder that was asked for a phrase."""

    by: Literal["tree", "model", "ocr"]
    reason: str = ""
    """Why it did not find the element; empty: it did."""
    questions: tuple[Question, ...] = ()
    """What models were asked, in order; empty: it asked none."""


class Grounding(Frozen):
    """A phrase and the pixel that it was resolved to."""

    phrase: str
    x: int
    """In pixels of the screen, as events are given in."""
    y: int
    box: Box | None = None
    """The element, when it is known, in pixels of the screen."""
    by: str
    """What answered: `number`, `tree`, `model`, `ocr`; or `given`: the worker's model itself gave the point."""
    element: str = ""
    """Role and name of the element found, or the text that was read."""
    score: float | None = None
    """How well it fits, 0 to 1, in the grounder's own units; None: it gives none."""
    tried: tuple[Tried, ...] = ()
    """All grounders asked, in order; the last one found it. Empty in runs recorded before they were kept."""


class SafetyNotice(Frozen):
    """A provider's doubt about what its model asked for."""

    id: str
    code: str = ""
    message: str = ""


class NativeCall(Frozen):
    """The call of a provider's own computer tool that a step carries out a part of."""

    id: str
    """Equal for all steps of one call."""
    actions: tuple[Mapping[str, Any], ...]
    """All that was asked for, in the provider's words; points are in pixels of the picture that was sent."""
    dialect: ComputerDialect
    part: int = 0
    """Which of the typed actions that the call amounts to this step is, from 0."""
    parts: int = 1
    """How many these are."""
    width: int
    """Of the picture that was sent, in its own pixels."""
    height: int
    checks: tuple[SafetyNotice, ...] = ()
    acknowledged: bool = False
    """Whether somebody said that the call may be carried out all the same; False as well when there were no checks."""
    echo: tuple[Mapping[str, Any], ...] = ()
    """Wire items that are sent back with the result; of the first step of a call only."""


class Risk(Frozen):
    """A rule of `agent_s3.risks` that an action matches."""

    rule: str
    """Id of the rule."""
    kind: str
    """`delete`, `send`, `pay`, `leave`, `sudo`, `secret`, `system`, or a word of the user's rules."""
    why: str
    evidence: str
    """What the rule was found in, shortened, on one line."""


ApprovalPolicy = Literal["auto", "ask-on-risk", "ask", "dry-run"]
"""`auto`: nobody is asked. `ask-on-risk`: before what a rule calls risky. `ask`: before everything that is sent to the
machine. `dry-run`: nothing is sent to it."""


Arbiter = Literal["policy", "user", "nobody"]
"""Who ruled on an action; `nobody`: there was no answer in time, or nobody who could be asked."""


class Approval(Frozen):
    """Whether an action might be executed, and who said so."""

    policy: ApprovalPolicy
    allowed: bool
    by: Arbiter
    reason: str = ""
    """What the user said besides."""


class CodeTurn(Frozen):
    """One snippet that the coding agent ran, and what came of it."""

    language: Literal["python", "bash"]
    code: str
    returncode: int | None
    """None: it did not finish in time."""
    output: str
    """Standard output and error, shortened to a limit, beginning and end kept."""
    seconds: float
    risks: tuple[Risk, ...] = ()
    approval: Approval | None = None
    """None: nobody had to be asked."""


class CodeReport(Frozen):
    """What one call of the coding agent did."""

    task: str
    turns: tuple[CodeTurn, ...]
    ended: Literal["done", "fail", "budget", "bad_replies", "error", "interrupted"]
    """`interrupted`: the run was stopped meanwhile; the turns are those that it had begun."""
    summary: str
    verify: str = ""
    """What should be checked in the programs' own windows; empty: nothing was named."""


class UserMessage(Frozen):
    """What a user said to rollouts that were under way; a line of the run's `inbox.jsonl`."""

    schema_version: int = SCHEMA_VERSION
    id: str = Field(min_length=1)
    at: datetime
    rollout: int | None = None
    """To which one; None: to all."""
    text: str = Field(min_length=1, max_length=8000)


class UserAnswer(Frozen):
    """What came of a question to the user."""

    text: str | None
    """None: nobody answered in time."""
    message: str | None = None
    """Id of the message that was the answer."""
    seconds: float
    """How long it was waited for."""


StepErrorKind = Literal[
    "bad_reply",
    "not_found",
    "refused",
    "dry_run",
    "refused_by_guest",
    "interrupted",
    "model",
    "machine",
    "safety_check",
]


class StepError(Frozen):
    """Why a step did not do what was decided; goes back to the model."""

    kind: StepErrorKind
    message: str

    @property
    def nothing_done(self) -> bool:
        """True when it failed before anything was sent to the machine."""
        return self.kind in ("not_found", "bad_reply", "refused", "dry_run", "safety_check")


class Thinking(Frozen):
    """What the model thought before its reply, as its provider signed or encrypted it; goes back to it unchanged."""

    provider: Literal["anthropic", "openai"]
    data: Mapping[str, Any]


class Step(Frozen):
    """One turn of the loop, as it happened."""

    schema_version: int = SCHEMA_VERSION
    index: int = Field(ge=0)
    """0 for the first step."""
    started_at: datetime
    thought: str = ""
    action: Action | None = None
    """None: no valid action came out of the model's replies."""
    reply: str = ""
    """The model's last reply, verbatim."""
    replies: int = Field(default=1, ge=0)
    """How many replies it took; more than 1 means that it was re-asked."""
    thinking: tuple[Thinking, ...] = ()
    """Sent back with the reply in later questions; empty: the provider gave none."""
    grounding: tuple[Grounding, ...] = ()
    missed: tuple[Tried, ...] = ()
    """Who was asked for the phrase that was not found, all in vain."""
    native: NativeCall | None = None
    """What the action was read from, when the worker used its provider's own computer tool."""
    events: tuple[InputEvent, ...] = ()
    """What was really sent to the machine."""
    before: FrameRef | None = None
    after: FrameRef | None = None
    delta: Delta | None = None
    """None: nothing could be observed afterwards. Of a step that did nothing: what earlier ones brought about late."""
    listed: str = ""
    """Hash of the elements listed after the step; equal for equal lists. Empty: none were."""
    code: CodeReport | None = None
    told: tuple[UserMessage, ...] = ()
    """What the user had said since the step before; shown to the model before it decided."""
    answer: UserAnswer | None = None
    """Of the user, when the action was a question."""
    risks: tuple[Risk, ...] = ()
    """Of the action; those of snippets stand in `code`."""
    approval: Approval | None = None
    """None: nobody had to be asked."""
    reflection: str | None = None
    """What the model was told of its progress before it decided."""
    reflected: str | None = None
    """Found out beside this step's decision; the next decision is told it."""
    error: StepError | None = None
    usage: Mapping[str, Usage] = {}
    """Tokens and money of this step by role."""
    seconds: Mapping[str, float] = {}
    """Wall time of this step by phase: observe, decide, ground, act, settle, record."""


RolloutStatus = Literal[
    "done",  # the agent says it is complete
    "fail",  # the agent says it cannot be done
    "step_limit",
    "stopped",  # it got nowhere while others were done
    "bad_replies",  # the model gave no valid action in a row of steps
    "budget",  # a budget of money, tokens or steps is spent, the run's or the rollout's own
    "safety_check",  # the provider doubts what its model asked for, and nobody said to go on
    "timeout",  # a limit of wall time is over, the run's or the rollout's own
    "model_error",  # the model's provider failed
    "machine_lost",  # infrastructure: the only status that is retried
    "interrupted",  # Ctrl-C; goes on with --resume
    "crashed",  # a fault of ours; the traceback is in the run's log
]


class RolloutResult(Frozen):
    """How one rollout ended."""

    schema_version: int = SCHEMA_VERSION
    index: int
    """Which of the N, from 0."""
    status: RolloutStatus
    reason: str
    steps: int
    attempt: int = 1
    """2 or more: earlier machines were lost."""
    model: str = ""
    """Spec of its worker; empty in records of versions that did not say."""
    usage: Mapping[str, Usage] = {}
    seconds: float
    first: FrameRef | None = None
    last: FrameRef | None = None
    files: tuple[FileChange, ...] = ()
    """What differs from the snapshot at the end; their content is in the rollout's `files/`."""
    windows: tuple[WindowChange, ...] = ()
    """Windows opened and closed from first to last observation."""
