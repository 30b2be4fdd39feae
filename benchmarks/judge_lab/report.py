"""What the laboratory finds out: `lab.json`. Pure data."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from agent_s3.types import SCHEMA_VERSION
from benchmarks.results import Estimate
from llm.chat import Usage


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabConfig(Frozen):
    """What was asked."""

    folders: tuple[str, ...]
    """Names of the folders, without the path on this host."""
    judges: tuple[str, ...]
    evidence: tuple[str, ...]
    models: tuple[str, ...]
    narrator: str | None
    """Model that writes captions and summaries; None: the judge's own."""
    votes: int
    sizes: tuple[int, ...]
    """Numbers of candidates that are judged beside all of them."""
    subsets: int
    """How many sets of candidates of each smaller size are judged for each task."""
    seed: int
    budget_usd: float | None = None
    budget_tokens: int | None = None


class Row(Frozen):
    """One decision of one judge on one set of candidates."""

    task: str
    cell: str
    n: int
    """How many candidates it was shown."""
    candidates: tuple[int, ...]
    """Their rollout indices."""
    whole: bool
    """Whether these are all candidates of the task."""
    pick: int | None = None
    """The choice, the likeliest one of a judge that answers with chances; None: none of them, or see `error`."""
    shares: Mapping[str, float] = {}
    """Rollout index as text, or `none` -> its chance of being the choice."""
    label: str = ""
    """Equal for choices that ended in the same state; see `agreement`."""
    score: float | None = None
    """Expected score of the choice, 0 for none of them; None: nobody scored, or there was no answer."""
    usage: Usage = Usage()
    """What the answers took when they were given, also those that came from the cache this time."""
    error: str = ""


class Comparison(Frozen):
    """One cell against another, over the tasks that both answered."""

    cell: str
    other: str
    difference: Estimate
    """Mean score of `cell` minus that of `other`, paired by task."""
    only_cell: int
    """Tasks in which `cell` succeeded and `other` did not; success is a score of 1."""
    only_other: int
    p: float
    """McNemar's exact test, two-sided; not corrected for the number of comparisons."""


class Positions(Frozen):
    """How often the option in each place was chosen, over all questions and orders."""

    cell: str
    questions: int
    picked: tuple[int, ...]
    expected: tuple[float, ...]
    """Without a bias for places, since every candidate stands in every place equally often."""
    p: float | None
    """Chi-square test of `picked` against `expected`; None: there is nothing to test. It takes the answers for
    independent, so it is too cautious for a judge that sticks to its choice in every order."""
    steady: float | None
    """Share of the tasks asked in several orders in which the same candidate was chosen in every order."""


class Agreement(Frozen):
    """Whether two judges choose the same, chance agreement taken out."""

    cell: str
    other: str
    tasks: int
    same: float
    """Share of the tasks in which both chose the same; rollouts that ended in the same state count as the same."""
    kappa: float | None
    """Cohen's; None: both always chose one and the same option."""


class CurvePoint(Frozen):
    """Success with n candidates."""

    n: int
    success: Estimate


class Cell(Frozen):
    """A judge on a form of evidence with a model."""

    name: str
    judge: str
    evidence: str
    """Empty for judges that read none."""
    model: str
    """Empty for judges that ask none."""
    skipped: str = ""
    """Why it was not tried, e.g. pictures for a model that sees none; empty when it was."""
    answered: int = 0
    """Tasks with an answer, over all candidates."""
    unanswered: int = 0
    none: int = 0
    """Tasks in which it chose none."""
    none_right: int = 0
    """Those of them in which no candidate had any score."""
    success: Estimate
    """Best of N: mean score of the choice over all scored tasks."""
    over_random: Estimate
    """The same minus the mean score of the candidates, paired by task."""
    accuracy: Estimate
    """Share of the decidable tasks in which a candidate with the best score was chosen."""
    gap: Estimate
    """Share of the way from random to oracle on decidable tasks; 0 is random, 1 oracle, below 0 worse than random."""
    curve: tuple[CurvePoint, ...] = ()
    usage: Usage = Usage()
    """Over all candidates of all tasks, evidence that was made for it included, as if nothing had been cached."""


class LabReport(Frozen):
    """`lab.json`, and what `--json` prints."""

    schema_version: int = SCHEMA_VERSION
    config: LabConfig
    tasks: int
    rollouts: int
    decidable: int
    """Tasks whose candidates differ in their scores."""
    scored: int
    """Tasks in which all candidates are scored."""
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    """Every cell against the first one that asks a model."""
    positions: tuple[Positions, ...]
    agreement: tuple[Agreement, ...]
    fleiss: float | None
    """Fleiss' kappa over all cells that ask a model and answered every task; None: fewer than two did."""
    rows: tuple[Row, ...]
    words: Mapping[str, str]
    """What the names of judges and of forms of evidence mean."""
    faults: tuple[str, ...]
    spent: Mapping[str, Usage]
    """By role, of this run alone: what came from the cache took nothing."""
    versions: Mapping[str, str]
    prompts: Mapping[str, str]
    commit: str | None
