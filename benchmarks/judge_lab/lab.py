"""A run of the laboratory: `agent-s3 judge`. Folders in, decisions of every judge, figures out.

A cell is a judge on a form of evidence with a model. All that models answer is kept in `OUT/cache`, so a run that was
stopped, or that its budget ended, goes on when it is started again, and costs nothing for what it knows.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent_s3.record import RecordError, write_model
from bbon import recorded
from bbon.errors import BestOfNError
from bbon.types import Ballot
from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab import evidence as forms
from benchmarks.judge_lab import judges, result_writing
from benchmarks.judge_lab.cache import CachedModel
from benchmarks.judge_lab.cases import Case, Collected
from benchmarks.judge_lab.cells import NONE, Named
from benchmarks.judge_lab.evidence import Evidence, Form
from benchmarks.judge_lab.folders import collect
from benchmarks.judge_lab.judges import BLIND, JUDGES, REUSING, Decision, Kind, kind_of
from benchmarks.judge_lab.prompt import prompt_hashes
from benchmarks.judge_lab.question import Question
from benchmarks.judge_lab.report import LabConfig, LabReport, Row
from benchmarks.judge_lab.subsets import windows
from llm.budget import Budget, Ledger, Metered
from llm.chat import ChatModel, Usage
from llm.errors import ConfigError, LLMError
from llm.pricing import Price
from llm.registry import open_model, parse_spec, price_of
from llm.settings import Settings

MOST_CANDIDATES = 10
"""Curves go up to here."""

Note = Callable[[str], None]
"""Told of each decision as a line; must return at once."""


@dataclass(frozen=True)
class Asked:
    """What a run of the laboratory is to find out."""

    folders: tuple[Path, ...]
    out: Path
    judges: tuple[Kind, ...] = ("mcq",)
    evidence: tuple[Form, ...] = ("narratives",)
    models: tuple[str, ...] = ("local",)
    narrator: str | None = None
    """Writes captions and summaries; None: the judge's model."""
    votes: int = 3
    sizes: tuple[int, ...] | None = None
    """Smaller numbers of candidates to judge as well; None: all from 2 to 10."""
    subsets: int = 1
    seed: int = 0
    concurrency: int = 4
    """Cases that are judged at a time."""
    budget_usd: float | None = None
    budget_tokens: int | None = None
    examples: Path | None = None
    """OSWorld's `evaluation_examples/examples`, for result folders that do not say what was asked."""


def asked(*, judges: Sequence[str], evidence: Sequence[str], models: Sequence[str], **options: Any) -> Asked:
    """From words of a command line.

    Raises: `BenchmarkError` for an unknown judge or form of evidence, `ConfigError` for an unknown model.
    """
    for spec in (*models, *filter(None, [options.get("narrator")])):
        parse_spec(spec)
    try:
        kinds: list[Kind] = [kind_of(name) for name in dict[str, None].fromkeys(judges)]
        chosen: list[Form] = [forms.form_of(name) for name in dict[str, None].fromkeys(evidence)]
    except ValueError as error:
        raise BenchmarkError(str(error)) from error
    return Asked(judges=tuple(kinds), evidence=tuple(chosen), models=tuple(dict[str, None].fromkeys(models)), **options)


@dataclass(frozen=True)
class _Decided:
    """A row and the questions behind it."""

    row: Row
    asked: tuple[tuple[Ballot, ...], ...] = ()


@dataclass
class _Run:
    """What the parts of a run share."""

    asked: Asked
    cases: Sequence[Case]
    models: Mapping[str, ChatModel]
    note: Note
    made: dict[tuple[str, Form, str], asyncio.Task[Evidence]] = field(
        default_factory=dict[tuple[str, Form, str], "asyncio.Task[Evidence]"]
    )
    making: dict[tuple[Form, str], Usage] = field(default_factory=dict[tuple[Form, str], Usage])

    async def give_up(self) -> None:
        """Stop making evidence that nobody waits for any more, as after Ctrl-C."""
        for task in self.made.values():
            task.cancel()
        await asyncio.gather(*self.made.values(), return_exceptions=True)


async def run(
    asked: Asked,
    *,
    models: Mapping[str, ChatModel] | None = None,
    results: Path | None = None,
    note: Note = lambda _line: None,
) -> LabReport:
    """Judge everything that was recorded, write `lab.json` and what went into it to `asked.out`, and return it.

    `models` by spec are used instead of those that the specs name, and are not closed. `results`: a folder for all
    rollouts and choices in the form of Agent S3's scripts.
    Raises: `BenchmarkError` where there is nothing to judge or scipy is missing, `ConfigError`, `RecordError`.
    """
    _needs_scipy()
    found = await asyncio.to_thread(collect, asked.folders, examples=asked.examples)
    report = await judge_cases(asked, found, models=models, note=note)
    write_model(asked.out / "lab.json", report)
    if results is not None:
        await _write_results(results, found.cases, report)
    return report


async def judge_cases(
    asked: Asked,
    found: Collected,
    *,
    models: Mapping[str, ChatModel] | None = None,
    note: Note = lambda _line: None,
) -> LabReport:
    """As `run`, about cases that were read already; nothing but the models' answers is written."""
    ledger = Ledger()
    async with _opened(asked, models, ledger) as ready:
        work = _Run(asked, found.cases, ready, note)
        cells = [_checked(cell, ready) for cell in _cells(asked)]
        try:
            decided = await _decide_all(work, cells)
        finally:
            await work.give_up()
    return _report(work, cells, decided, found.faults, ledger)


async def _write_results(folder: Path, cases: Sequence[Case], report: LabReport) -> None:
    await result_writing.write_results(folder, cases)
    rows = {cell.name: [row for row in report.rows if row.cell == cell.name] for cell in report.cells if cell.model}
    result_writing.write_verdicts(folder, cases, rows)


def _needs_scipy() -> None:
    try:
        import scipy  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise BenchmarkError("the laboratory's statistics need scipy: pip install 'agent-s3[lab]'") from error


@asynccontextmanager
async def _opened(
    asked: Asked, given: Mapping[str, ChatModel] | None, ledger: Ledger
) -> AsyncGenerator[Mapping[str, ChatModel]]:
    """Every model once, behind the cache and the budget. Raises: `ConfigError`, `PriceUnknown`."""
    asking = any(kind not in BLIND for kind in asked.judges)
    named = [*asked.models, *([asked.narrator] if asked.narrator else [])]
    specs = dict[str, None].fromkeys(named) if asking else {}
    budget = Budget(usd=asked.budget_usd, tokens=asked.budget_tokens)
    settings = Settings()
    async with AsyncExitStack() as stack:
        ready: dict[str, ChatModel] = {}
        for spec in specs:
            model = (given or {}).get(spec)
            if model is None:
                model = open_model(spec, settings=settings)
                stack.push_async_callback(model.aclose)
            metered = Metered(model, budget=budget, ledger=ledger, price=_price(spec))
            ready[spec] = cached = CachedModel(metered, asked.out / "cache")
            stack.push_async_callback(cached.aclose)
        yield ready


def _price(spec: str) -> Price | None:
    try:
        return price_of(spec)
    except ConfigError:  # a model of a test or a plug-in, whose name is no spec
        return None


# --- which cells ---------------------------------------------------------------------------------------------------


def _cells(asked: Asked) -> list[Named]:
    """Every judge on every evidence with every model; those that ask nobody once, and random and oracle always."""
    full = [
        Named(_name(kind, form, spec, asked), kind, form, spec)
        for spec in asked.models
        for kind in asked.judges
        if kind not in BLIND
        for form in asked.evidence
    ]
    named = [kind for kind in BLIND if kind in asked.judges or kind in ("random", "oracle")]
    return [*full, *(Named(kind, kind, "", "") for kind in named)]


def _name(kind: Kind, form: Form, spec: str, asked: Asked) -> str:
    model = f" · {public_spec(spec)}" if len(asked.models) > 1 else ""
    return f"{kind} · {form}{model}"


def public_spec(spec: str) -> str:
    """A model spec without the folders of this host."""
    provider, colon, rest = spec.partition(":")
    return f"{provider}:{Path(rest).name}" if colon and rest.startswith(("/", ".", "~")) else spec


def _checked(cell: Named, models: Mapping[str, ChatModel]) -> Named:
    """Say why a cell cannot be tried."""
    if cell.evidence == "screens" and not models[cell.model].abilities.images:
        return replace(cell, skipped=f"{public_spec(cell.model)} cannot see pictures")
    return cell


# --- deciding ------------------------------------------------------------------------------------------------------


async def _decide_all(work: _Run, cells: Sequence[Named]) -> dict[str, list[_Decided]]:
    """All decisions of all cells, by cell; case after case, so that a stopped run leaves whole cases in the cache."""
    places = asyncio.Semaphore(work.asked.concurrency)

    async def one(case: Case) -> dict[str, list[_Decided]]:
        async with places:
            made = {c.name: [await _decide(work, c, case, part) for part in _parts(work, c, case)] for c in cells}
        work.note(f"{case.id}: {len(case.attempts)} rollouts judged")
        return made

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(one(case)) for case in work.cases]
    return {cell.name: [each for made in asking for each in made.result()[cell.name]] for cell in cells}


def _parts(work: _Run, cell: Named, case: Case) -> Iterable[tuple[int, ...]]:
    """Which candidates a cell is asked about, by place: all of them, and sets of the smaller sizes."""
    total = len(case.attempts)
    if cell.skipped:
        return []
    if cell.judge in ("random", "oracle"):
        return [tuple(range(total))]
    count = total if cell.judge in (*REUSING, *BLIND) else work.asked.subsets
    seed = f"{work.asked.seed} {case.id}"
    smaller = [part for size in smaller_sizes(work.asked, total) for part in windows(total, size, count, seed=seed)]
    return [*smaller, tuple(range(total))]


def smaller_sizes(asked: Asked, total: int) -> list[int]:
    """Those sizes that are asked for and are less than all."""
    wanted = range(2, MOST_CANDIDATES + 1) if asked.sizes is None else asked.sizes
    return [size for size in wanted if 2 <= size < total]


async def _decide(work: _Run, cell: Named, case: Case, part: tuple[int, ...]) -> _Decided:
    """One decision; what goes wrong is in the row."""
    some = case.only(part)
    row = Row(
        task=case.id,
        cell=cell.name,
        n=len(part),
        candidates=tuple(attempt.index for attempt in some.attempts),
        whole=len(part) == len(case.attempts),
    )
    try:
        decision = await _decision(work, cell, case, some)
    except (LLMError, BestOfNError, RecordError, ValueError) as error:
        said = without_paths(" ".join(str(error).split()), work.asked.folders)
        reason = f"{type(error).__name__}: {said}"[:300]
        return _Decided(row.model_copy(update={"error": reason}))
    return _Decided(_filled(row, decision, case), decision.asked)


async def _decision(work: _Run, cell: Named, case: Case, some: Case) -> Decision:
    if cell.judge in BLIND:
        return judges.blind(kind_of(cell.judge), some)
    form: Form = forms.form_of(cell.evidence)
    shown = (await _evidence(work, form, case, cell.model)).shown
    asked_about = {attempt.index for attempt in some.attempts}
    question = Question(
        task=case.instruction,
        form=form,
        shown=tuple(one for one in shown if one.candidate.index in asked_about),
        frames=case.frames,
        model=work.models[cell.model],
        seed=work.asked.seed,
        votes=work.asked.votes,
    )
    return await JUDGES[kind_of(cell.judge)](question)


async def _evidence(work: _Run, form: Form, case: Case, judge: str) -> Evidence:
    """Made once for all judges of a case; only models that write it make a difference."""
    maker = (work.asked.narrator or judge) if form in forms.MADE_BY_MODEL else ""
    key = (case.id, form, maker)
    if key not in work.made:
        work.made[key] = asyncio.create_task(forms.make(form, case, work.models.get(maker)))
        made = await asyncio.shield(work.made[key])
        work.making[(form, maker)] = work.making.get((form, maker), Usage()) + made.usage
    return await asyncio.shield(work.made[key])


def _filled(row: Row, decision: Decision, case: Case) -> Row:
    scores = {attempt.index: attempt.score for attempt in case.attempts}
    known = [(0.0 if index is None else scores[index]) for index in decision.chances]
    score = None
    if case.scores is not None:
        weighed = zip(known, decision.chances.values(), strict=True)
        score = sum(share * (value or 0.0) for value, share in weighed)
    shares = {NONE if index is None else str(index): share for index, share in decision.chances.items()}
    update = {
        "pick": decision.pick,
        "shares": shares,
        "label": _label(decision.pick, case),
        "score": score,
        "usage": decision.usage,
    }
    return row.model_copy(update=update)


def _label(pick: int | None, case: Case) -> str:
    """Equal for rollouts that ended in the same state."""
    if pick is None:
        return NONE
    ends = {attempt.index: attempt.candidate.end_state for attempt in case.attempts}
    same = [index for index, end in ends.items() if end is not None and end == ends[pick]]
    return str(min([pick, *same]))


# --- the report ----------------------------------------------------------------------------------------------------


def _report(
    work: _Run, cells: Sequence[Named], decided: Mapping[str, Sequence[_Decided]], faults: Sequence[str], ledger: Ledger
) -> LabReport:
    from benchmarks.judge_lab.conclusion import conclude  # scipy takes a while to load

    asked = work.asked
    return LabReport(
        config=config_of(asked),
        tasks=len(work.cases),
        rollouts=sum(len(case.attempts) for case in work.cases),
        decidable=sum(case.decidable for case in work.cases),
        scored=sum(case.scores is not None for case in work.cases),
        **conclude(
            cells,
            {name: [one.row for one in some] for name, some in decided.items()},
            {name: _ballots(some) for name, some in decided.items()},
            work.cases,
            making={cell.name: _making(work, cell) for cell in cells},
            sizes=curve_sizes(work.cases),
            seed=asked.seed,
        ),
        words={**judges.MEANINGS, **forms.MEANINGS},
        faults=tuple(without_paths(fault, asked.folders) for fault in faults),
        spent=ledger.by_role,
        versions=recorded.versions(),
        prompts=recorded.prompt_hashes() | {f"judge_lab/{name}": digest for name, digest in prompt_hashes().items()},
        commit=recorded.commit(),
    )


def _ballots(decided: Sequence[_Decided]) -> list[tuple[tuple[Ballot, ...], ...]]:
    """Of the questions over all candidates; the smaller sets are other questions."""
    return [one.asked for one in decided if one.row.whole and one.asked]


def _making(work: _Run, cell: Named) -> Usage:
    form, maker = cell.evidence, work.asked.narrator or cell.model
    return next((usage for (made, by), usage in work.making.items() if made == form and by == maker), Usage())


def without_paths(text: str, folders: Sequence[Path]) -> str:
    """A message in which the folders that were named stand by their names alone: reports are passed on."""
    for folder in sorted(folders, key=lambda path: -len(str(path))):
        for path in {str(folder), str(folder.absolute()), str(folder.resolve())}:
            text = text.replace(path, folder.resolve().name)
    return text


def curve_sizes(cases: Sequence[Case]) -> range:
    """From 1 to the most candidates of a task, at most 10."""
    return range(1, min(MOST_CANDIDATES, max(len(case.attempts) for case in cases)) + 1)


def config_of(asked: Asked) -> LabConfig:
    """What goes into the report: no path of this host."""
    return LabConfig(
        folders=tuple(folder.resolve().name for folder in asked.folders),
        judges=asked.judges,
        evidence=asked.evidence,
        models=tuple(map(public_spec, asked.models)),
        narrator=asked.narrator and public_spec(asked.narrator),
        votes=asked.votes,
        sizes=tuple(range(2, MOST_CANDIDATES + 1)) if asked.sizes is None else asked.sizes,
        subsets=asked.subsets,
        seed=asked.seed,
        budget_usd=asked.budget_usd,
        budget_tokens=asked.budget_tokens,
    )
