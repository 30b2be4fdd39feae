"""What decides how a rollout is run: one frozen model, written into the run's record."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agent_s3.risks import RiskRules
from agent_s3.types import ApprovalPolicy, Frozen
from llm.chat import Abilities

ObservationMode = Literal["screenshot", "a11y", "screenshot+a11y"]
_FORMER_POLICIES = {"on": "always", "off": "never", "auto": "on-evidence"}


def _policy_of(value: Any) -> Any:
    """Settings written before the policies were named as they are."""
    return _FORMER_POLICIES.get(value, value) if isinstance(value, str) else value


ReflectionPolicy = Annotated[Literal["always", "never", "on-evidence"], BeforeValidator(_policy_of)]
PromptStyle = Literal["full", "short"]
ActionMode = Literal["own", "native"]
RefineMode = Literal["never", "small", "always"]
GroundingForm = Literal["json-pixels", "json-1000", "point-pixels", "point-1000"]
"""See `agent_s3.grounding.forms`."""

SMALL_CONTEXT_TOKENS = 65_536
"""A text-only model whose context is below this gets the short prompts."""
ANSWER_TOKENS = 4096
"""Of an answer beside the worker's decisions: judge, narrator, reflection, grounding. Thinking counts as well."""
SHORT_ANSWER_TOKENS = 700
SHORT_REPLY_TOKENS = 512
"""A small model that writes more than this has lost its way."""


def answer_tokens(abilities: Abilities) -> int:
    """Most tokens to ask of a model for an answer beside the worker's decisions."""
    return SHORT_ANSWER_TOKENS if abilities.context_tokens < SMALL_CONTEXT_TOKENS else ANSWER_TOKENS


class AgentSettings(Frozen):
    """Settings of one rollout."""

    actions: ActionMode = "own"
    """`native`: the worker's provider's own computer tool instead of our actions by pointer and keyboard."""
    observe: ObservationMode | None = None
    """None: `screenshot+a11y` for models that take images, else `a11y`."""
    style: PromptStyle | None = None
    """None: `short` for text-only models with a small context, else `full`."""
    max_steps: int = Field(default=15, ge=1)
    images_kept: int = Field(default=8, ge=1)
    """How many of the newest screenshots stay in the messages."""
    elements_listed: int = Field(default=80, ge=1)
    """Most lines of the numbered element list; half of it in the short style."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """None: the provider's default."""
    seed: int | None = None
    """None: none sent. Each rollout and step derives its own from it."""
    max_tokens: int = Field(default=4096, ge=64)
    """Most tokens of one reply, reasoning included; at most `SHORT_REPLY_TOKENS` in the short style."""
    max_replies: int = Field(default=3, ge=1)
    """Most replies asked for one step, the first included."""
    bad_steps: int = Field(default=3, ge=1)
    """So many steps in a row without a usable reply end the rollout."""
    code_budget: int = Field(default=20, ge=1)
    """Most snippets in one call of the coding agent."""
    code_timeout_s: float = Field(default=60.0, gt=0)
    """Time limit of one snippet, in seconds."""
    reflection: ReflectionPolicy = "on-evidence"
    """`on-evidence`: only when the record shows that it is called for, see `agent_s3.evidence`."""
    reflection_beside: bool | None = None
    """Whether reflection runs beside the decision and is told to the next one; None: with `always` it does, and
    `on-evidence` reflects before the decision that is in question."""
    ask: bool = False
    """Whether the agent may ask its user with `ask_user`; never in benchmarks."""
    ask_timeout_s: float = Field(default=300.0, gt=0)
    """How long an answer is awaited, in seconds."""
    ground_form: GroundingForm | None = None
    """How the grounding model is asked, and in what it answers; None: told from its name."""
    refine: RefineMode = "small"
    """Which targets the grounding model is shown again on an enlarged crop around its first answer."""
    read_text: bool = True
    """Whether an element that was not found otherwise is looked for by its text on the picture of the screen."""
    quiet_ms: int = Field(default=150, ge=1)
    """The screen counts as settled after so many milliseconds without change."""
    settle_timeout_ms: int = Field(default=3000, ge=1)
    open_timeout_s: float = Field(default=15.0, gt=0)
    """How long `open` waits for a window, in seconds."""

    approve: ApprovalPolicy = "auto"
    """Who is asked before what; see `agent_s3.approval`."""
    approve_timeout_s: float = Field(default=300.0, gt=0)
    """After so many seconds without an answer an action counts as refused."""
    risk_rules: RiskRules = RiskRules()
    """The user's, on top of those that ship."""

    @property
    def reflects_beside(self) -> bool:
        return self.reflection == "always" if self.reflection_beside is None else self.reflection_beside

    def mode(self, abilities: Abilities) -> ObservationMode:
        """How this model observes; a model that takes no images never gets any."""
        if not abilities.images:
            return "a11y"
        if self.actions == "native" and self.observe is None:
            return "screenshot"  # it points to pixels; numbers of elements mean nothing to it
        return self.observe or "screenshot+a11y"

    def reply_tokens(self, abilities: Abilities) -> int:
        """Most tokens to ask of this model for one reply."""
        return min(self.max_tokens, SHORT_REPLY_TOKENS) if self.prompt_style(abilities) == "short" else self.max_tokens

    def prompt_style(self, abilities: Abilities) -> PromptStyle:
        if self.style is not None:
            return self.style
        return "short" if not abilities.images and abilities.context_tokens < SMALL_CONTEXT_TOKENS else "full"
