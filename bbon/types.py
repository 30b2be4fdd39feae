"""The data of a best-of-N run: what was asked, facts, candidates, verdict, result, and the events on the way."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from agent_s3.risks import RiskRules
from agent_s3.settings import ActionMode, GroundingForm, RefineMode, ReflectionPolicy
from agent_s3.types import SCHEMA_VERSION, ApprovalPolicy, FrameRef, RolloutResult, Step
from llm.chat import Usage
from vm_pool.types import Box

ObservationMode = Literal["screenshot", "a11y", "screenshot+a11y"]


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunConfig(Frozen):
    """Everything that decides a run; written to `config.json` before it starts."""

    schema_version: int = SCHEMA_VERSION
    instruction: str = Field(min_length=1)
    n: int = Field(default=4, ge=1, le=32)
    """How many rollouts."""
    max_n: int | None = Field(default=None, ge=1, le=32)
    """Up to how many while the judge is unsure; None: no more than `n`. See `bbon.growing`."""
    confidence: float = Field(default=0.7, ge=0, le=1)
    """The judge is unsure when it chooses none or is less sure than this; only with `max_n`."""
    stop_hopeless: bool = False
    """Stop rollouts that get nowhere once another one is done. See `bbon.hopeless`."""
    provider: str = "sandbox"
    image: str = "desktop"
    network: str = "none"
    """What the desktops may reach, in the words of `vm_pool.network`."""
    width: int = Field(default=1920, ge=320, le=7680)
    height: int = Field(default=1080, ge=240, le=4320)
    model: str = "local"
    """Model spec of the worker, see `llm.registry`, or a mixture, see `bbon.mixture`."""
    judge: str | None = None
    """Model spec of the judge; None: the worker's, of a mixture the first one's."""
    narrator: str | None = None
    """Model spec of the narrator; None: the worker's, of a mixture the first one's."""
    ground: str | None = None
    """Model spec of the grounding model, which finds elements on pictures; None: the worker's."""
    ground_form: GroundingForm | None = None
    """How that model is asked and in what it answers; None: told from its name, see `agent_s3.grounding.forms`."""
    refine: RefineMode = "small"
    """Which targets that model is asked for again on an enlarged crop around its first answer."""
    read_text: bool = True
    """Whether elements that are not found otherwise are looked for by their text on the picture of the screen."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Of the workers; None: 0.7 for the local model, else the provider's default."""
    actions: ActionMode = "own"
    """`native`: workers use their provider's own computer tool instead of our actions by pointer and keyboard."""
    observe: ObservationMode | None = None
    """None: `screenshot+a11y` for models that take images, else `a11y`."""
    max_steps: int = Field(default=15, ge=1, le=1000)
    images_kept: int = Field(default=8, ge=1)
    """How many of the newest screenshots stay in a worker's history (the paper's setting is 8)."""
    reflection: ReflectionPolicy = "on-evidence"
    """When a second model call looks at the way so far, see `agent_s3.settings`."""
    reflection_beside: bool | None = None
    """Whether it runs beside the decision and is told to the next one; None: with `always` only."""
    ask: bool = False
    """Whether the agents may ask the user questions."""
    ask_timeout_s: float = Field(default=300.0, gt=0)
    """How long an answer is awaited."""
    concurrency: int | None = Field(default=None, ge=1)
    """Rollouts at one time; None: all N."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Of the whole run; None: no limit."""
    budget_tokens: int | None = Field(default=None, gt=0)
    """Of the whole run, input and output together; None: no limit."""
    budget_steps: int | None = Field(default=None, gt=0)
    """Of all rollouts together; None: no limit but `max_steps` for each."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Wall time of all rollouts together, judging not counted; None: no limit."""
    rollout_budget_usd: float | None = Field(default=None, gt=0)
    """Of each rollout, narrating not counted; None: no limit but the run's."""
    rollout_budget_tokens: int | None = Field(default=None, gt=0)
    """Of each rollout, input and output together, narrating not counted; None: no limit but the run's."""
    rollout_max_minutes: float | None = Field(default=None, gt=0)
    """Wall time of each rollout; None: no limit but the run's."""
    votes: int = Field(default=1, ge=1, le=25)
    """Written answers of the judge, each over another order; a judge by letters is asked in every order anyway."""
    approve: ApprovalPolicy = "auto"
    """Before which actions the user is asked, see `agent_s3.approval`."""
    approve_timeout_s: float = Field(default=300.0, gt=0)
    """After so many seconds without an answer an action counts as refused."""
    risk_rules: RiskRules = RiskRules()
    """The user's, on top of those that ship."""
    seed: int = 0
    """Of the judge's shuffles and of models that take a seed."""
    files: tuple[str, ...] = ()
    """Names in the run's `inputs/` that are put into the desktop's Documents folder."""
    deliver: Literal["export", "promote"] = "export"
    """`export`: the winner's changed files. `promote`: its machine stays up as well, lent to the user."""
    promote_minutes: float = Field(default=60.0, gt=0)
    """How long a promoted machine stays up."""
    out: str | None = None
    """Folder on this host that receives the winner's changed files; None: they stay in the run folder."""

    @field_validator("max_n")
    @classmethod
    def _grows(cls, max_n: int | None, info: ValidationInfo) -> int | None:
        if max_n is not None and max_n < info.data.get("n", 1):
            raise ValueError(f"{max_n} is fewer than the {info.data['n']} rollouts at the start")
        return max_n


class RecordedConfig(RunConfig):
    """`config.json`: what was asked, and with which code and prompts; `plain` gives the config back for a resume."""

    started_at: datetime
    versions: Mapping[str, str]
    """Of Python, this package and the libraries that talk to models."""
    prompts: Mapping[str, str]
    """sha256 of each prompt file, as `agent_s3/NAME` and `bbon/NAME`."""
    commit: str | None = None
    """Of the checkout this code runs from, with `+` when it has changes; None: not a git checkout."""

    @property
    def plain(self) -> RunConfig:
        return RunConfig.model_validate({name: getattr(self, name) for name in RunConfig.model_fields})


class Evidence(Frozen):
    """What a fact rests on. Names are as they were measured: foreign text."""

    kind: Literal["record", "screen", "text", "tree", "window", "file", "clipboard", "output"]
    """`record`: the step itself, e.g. that its action failed. `screen`: pixels. `text`: words read from the screen by
    OCR. `tree`: an element of the accessibility tree. `output`: of code."""
    box: Box | None = None
    """Where on the screen, in its pixels; None: nowhere, or not known."""
    name: str = Field(default="", max_length=500)
    """Path of the file, title of the window, role and name of the element, or the words that were read."""


class Fact(Frozen):
    """One thing that was seen to happen at one step."""

    schema_version: int = SCHEMA_VERSION
    step: int
    text: str
    """One sentence, present or past tense, no claim of success."""
    source: Literal["delta", "model", "note"]
    """`delta`: computed. `model`: a language model described the pictures or the changes. `note`: about the narration
    itself, e.g. that the model failed; the judge does not see it."""
    evidence: tuple[Evidence, ...] = ()
    """What it rests on; empty in notes and in records of versions that did not say."""
    dropped: str | None = None
    """Of a note: a model told this, and why it is not believed. None: not dropped. See `bbon.contradictions`."""


class Candidate(Frozen):
    """A trajectory under comparison."""

    index: int
    """Which rollout, from 0."""
    status: str
    facts: tuple[Fact, ...]
    first: FrameRef | None
    last: FrameRef | None
    steps: int
    changes: tuple[str, ...] = ()
    """What differs between its start and its end, one sentence each."""
    changed: bool = True
    """False: no file, noise aside, and no window differs."""
    idle: bool = False
    """True: it ended exactly as it started, on the same screen, and did not say that the task is impossible."""
    end_state: str | None = None
    """Equal for candidates whose ends cannot be told apart; None: it equals no other."""
    dropped: int = 0
    """How many facts of its narrator were dropped because they contradicted what was measured."""


class Citation(Frozen):
    """A fact that the judge relied on."""

    candidate: int
    step: int


class Ballot(Frozen):
    """One question to the judge model and what came of it."""

    order: tuple[int | None, ...]
    """Rollout index of option A, B, C ...; None: the option that none of them did it."""
    choice: int | None
    """Rollout index; None: none of these."""
    probabilities: Mapping[str, float] | None = None
    """By option: rollout index as text, or `none`; None: the model gave no logprobs."""
    reply: str = ""
    """What the model said, verbatim."""
    confidence: float | None = Field(default=None, ge=0, le=1)
    """What a written answer claims; None: the answer was a letter, see `probabilities`."""
    rejected: tuple[str, ...] = ()
    """Replies before it that could not be used, verbatim."""
    usage: Usage = Usage()
    """Of this question with all its replies."""


class Verdict(Frozen):
    """What the judge decided."""

    schema_version: int = SCHEMA_VERSION
    winner: int | None
    """Rollout index; None: none of the candidates did the task."""
    confidence: float = Field(ge=0, le=1)
    """Of the choice made, in the judge's own units: see `method`."""
    reasons: str
    citations: tuple[Citation, ...] = ()
    method: Literal["mcq", "mcq_votes", "mcq_logprobs", "single", "all_equal", "no_candidate"]
    """`mcq`: one written answer. `mcq_votes`: several, see `bbon.votes`. `mcq_logprobs`: letter probabilities averaged
    over orders. `single`: there was one outcome to judge, and the question was whether it is right. `all_equal` (the
    same end everywhere; without a winner: nothing was done anywhere) and `no_candidate` asked no model."""
    ballots: tuple[Ballot, ...] = ()
    model: str = ""
    usage: Usage = Usage()
    """Of this verdict; what `earlier` ones took is with them."""
    earlier: tuple["Verdict", ...] = ()
    """On fewer rollouts, when the judge was unsure and more were run; oldest first."""


class Delivered(Frozen):
    """A file of the winner."""

    path: str
    """Path inside the desktop."""
    kind: Literal["created", "modified", "deleted"]
    host_path: str | None
    """Where its content is on this host; None for deleted files."""
    bytes: int = 0
    note: str = ""
    """Why it is not in the folder that was asked for; empty when it is, or when none was."""


class Promotion(Frozen):
    """The winner's machine, which stays up for its user."""

    machine_id: str
    url: str
    """Of its server, for programs of this host; empty: this provider's machines cannot be reached from outside."""
    token_file: str
    """Where the token lies that the server asks for; empty: it asks for none."""
    until: datetime
    """When it is stopped."""


class RunResult(Frozen):
    """The machine-readable answer of a run: `--json` and `result.json`."""

    schema_version: int = SCHEMA_VERSION
    run_dir: str
    instruction: str
    winner: int | None
    verdict: Verdict | None
    """None: the run ended before judging; `error` says why."""
    rollouts: tuple[RolloutResult, ...]
    delivered: tuple[Delivered, ...] = ()
    promoted: Promotion | None = None
    """None: it was not asked for, or there is no winner."""
    usage: Mapping[str, Usage]
    """By role: worker, code, reflection, narrator, judge."""
    seconds: Mapping[str, float]
    """By phase: image, boot, setup, snapshot, fork, rollouts, judge, deliver, total."""
    model: str
    """Spec of the worker model, of a mixture all of them; `scripted:...` marks a run that no model decided."""
    error: str | None = None


class PhaseBegan(Frozen):
    type: Literal["phase"] = "phase"
    name: str
    detail: str = ""


class RolloutBegan(Frozen):
    type: Literal["began"] = "began"
    rollout: int
    machine_id: str
    attempt: int
    model: str = ""
    """Of its worker."""


class StepTaken(Frozen):
    type: Literal["step"] = "step"
    rollout: int
    step: Step


class FactsFound(Frozen):
    type: Literal["facts"] = "facts"
    rollout: int
    facts: tuple[Fact, ...]


class Asked(Frozen):
    """A rollout asks the user and waits."""

    type: Literal["asked"] = "asked"
    rollout: int
    question: str
    timeout_s: float


class RolloutOver(Frozen):
    type: Literal["over"] = "over"
    result: RolloutResult


class Judged(Frozen):
    type: Literal["judged"] = "judged"
    verdict: Verdict


class Promoted(Frozen):
    type: Literal["promoted"] = "promoted"
    rollout: int
    promotion: Promotion


RunEvent = Annotated[
    PhaseBegan | RolloutBegan | StepTaken | Asked | FactsFound | RolloutOver | Judged | Promoted,
    Field(discriminator="type"),
]
Listener = Callable[[RunEvent], None]
"""Told of events as they happen; must return at once and must not raise."""


def nobody(_event: RunEvent) -> None:
    """The listener that ignores all."""
