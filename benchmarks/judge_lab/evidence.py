"""What a judge gets to read of a rollout, in five forms, so that they can be compared.

Only `narratives` is the evidence of a run. The other forms leave out what it measured: also which rollouts ended in
the same state, since nobody can tell that from captions or pictures.
Source: captions, summaries and screens as evidence are the ablation of arXiv 2510.02250, section 5.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from agent_s3.record import FrameStore
from agent_s3.settings import answer_tokens
from agent_s3.types import Delta, FrameRef, Step
from bbon.evidence import COMPARABLE
from bbon.facts import of_step
from bbon.quoting import one_line
from bbon.types import Candidate, Fact
from benchmarks.judge_lab.cases import Attempt, Case, Moment
from benchmarks.judge_lab.prompt import render
from llm.chat import ChatModel, ImagePart, Message, Request, Usage

Form = Literal["narratives", "visual-narratives", "captions", "summary", "screens"]
FORMS: tuple[Form, ...] = get_args(Form)
MEANINGS: dict[Form, str] = {
    "narratives": "facts as recorded: pixels, elements, windows, files, output of code",
    "visual-narratives": "the same without what is not on the screen: elements, windows, files, clipboard, output",
    "captions": "a model's caption of each step, without anything that was measured",
    "summary": "a model's summary of the whole rollout",
    "screens": "pictures alone: 50/N of each rollout",
}
MADE_BY_MODEL: frozenset[Form] = frozenset({"captions", "summary"})
PICTURES = 50
"""Shared out among the candidates in the form `screens`. Source: arXiv 2510.02250, section 5."""
_SUMMARY_PICTURES = 8
_UNMEASURED = ("What differs between start and end was not measured.",)
_ACTION_SHOWN, _THOUGHT_SHOWN, _CAPTION_SHOWN, _SUMMARY_SHOWN = 300, 600, 400, 2_000
_LINES_SHOWN = 60
_CAPTION_TOKENS, _SUMMARY_TOKENS = 160, 400


@dataclass(frozen=True)
class Shown:
    """A candidate in one form."""

    candidate: Candidate
    screens: tuple[FrameRef, ...] = ()
    """What is shown of it, in order; empty except in the form `screens`."""


@dataclass(frozen=True)
class Evidence:
    """All candidates of a case in one form."""

    form: Form
    shown: tuple[Shown, ...]
    usage: Usage = field(default_factory=Usage)
    """Of the model that made it."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(one.candidate for one in self.shown)


def form_of(text: str) -> Form:
    """Raises: `ValueError` that lists the known ones."""
    if text not in FORMS:
        raise ValueError(f"there is no evidence {text!r}; the forms are: {', '.join(FORMS)}")
    return text


async def make(form: Form, case: Case, model: ChatModel | None) -> Evidence:
    """The evidence of a case; `model` is asked for captions and summaries only.

    Raises: errors of `llm.errors`, `RecordError`.
    """
    match form:
        case "narratives":
            return Evidence(form, tuple(Shown(attempt.candidate) for attempt in case.attempts))
        case "visual-narratives":
            return Evidence(form, tuple(Shown(_told_less(a, _seen(a))) for a in case.attempts))
        case "screens":
            most = max(2, PICTURES // len(case.attempts))
            return Evidence(form, tuple(Shown(_told_less(a, ()), screens(a, most)) for a in case.attempts))
        case _:
            assert model is not None
            return await _written(form, case, model)


async def _written(form: Form, case: Case, model: ChatModel) -> Evidence:
    write = _captions if form == "captions" else _summary
    made = await asyncio.gather(*(write(case, attempt, model) for attempt in case.attempts))
    usage = sum((used for _, used in made), Usage())
    told = zip(case.attempts, made, strict=True)
    return Evidence(form, tuple(Shown(_told_less(attempt, facts)) for attempt, (facts, _) in told), usage)


def _told_less(attempt: Attempt, facts: Iterable[Fact]) -> Candidate:
    """A candidate of whom nothing else is known than these facts."""
    bare = {"changes": _UNMEASURED, "changed": True, "idle": False, "end_state": None}
    return attempt.candidate.model_copy(update={"facts": tuple(facts), **bare})


# --- visual narratives ---------------------------------------------------------------------------------------------


_ON_SCREEN = frozenset({"record", "screen", "text"})
"""What facts of this form may rest on: the step itself, pixels, and words read from them."""


def _seen(attempt: Attempt) -> tuple[Fact, ...]:
    """Facts computed from pixels alone, and those of a narrator that rest on nothing else."""
    computed = [fact for moment in attempt.moments if moment.step for fact in of_step(blinded(moment.step))]
    told = [fact for fact in attempt.candidate.facts if fact.source == "model" and _on_screen(fact)]
    return tuple(sorted([*computed, *told], key=lambda fact: fact.step))


def _on_screen(fact: Fact) -> bool:
    """False for facts of older records, which do not say what they rest on."""
    return bool(fact.evidence) and all(one.kind in _ON_SCREEN for one in fact.evidence)


def blinded(step: Step) -> Step:
    """The step as a camera would have recorded it."""
    delta = step.delta
    if delta is not None:
        delta = Delta(regions=delta.regions, changed_fraction=delta.changed_fraction, settled=delta.settled)
    return step.model_copy(update={"delta": delta, "code": None})


# --- screens -------------------------------------------------------------------------------------------------------


def screens(attempt: Attempt, most: int) -> tuple[FrameRef, ...]:
    """At most `most` of its different screens, evenly spread, the first and the last among them."""
    one = attempt.candidate
    every = [one.first, *(moment.after for moment in attempt.moments), one.last]
    seen = [ref for ref in every if ref is not None]
    seen = [ref for place, ref in enumerate(seen) if place == 0 or ref != seen[place - 1]]
    return tuple(seen[place] for place in spread(len(seen), most))


def spread(count: int, most: int) -> list[int]:
    """Places of at most `most` of `count` things, evenly spread, first and last included."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


# --- captions ------------------------------------------------------------------------------------------------------


async def _captions(case: Case, attempt: Attempt, model: ChatModel) -> tuple[tuple[Fact, ...], Usage]:
    made = await asyncio.gather(*(_caption(moment, case.frames, model) for moment in attempt.moments))
    return tuple(fact for fact, _ in made), sum((used for _, used in made), Usage())


async def _caption(moment: Moment, frames: FrameStore, model: ChatModel) -> tuple[Fact, Usage]:
    """One step, in the words of a model that knows nothing of what was measured."""
    picture = moment.after if model.abilities.images else None
    words = render(
        "caption",
        pictures=picture is not None,
        action=one_line(moment.action, _ACTION_SHOWN),
        thought=one_line(moment.thought, _THOUGHT_SHOWN),
    )
    parts = [words, *([ImagePart(await frames.png(picture), detail="high")] if picture else [])]
    request = Request(
        messages=(Message.of("user", *parts),), temperature=0.0, max_tokens=_tokens(model, _CAPTION_TOKENS)
    )
    answer = await model.complete(request, role="narrator")
    text = one_line(answer.text, _CAPTION_SHOWN) or "(the model wrote nothing)"
    return Fact(step=moment.index, text=text, source="model"), answer.usage


async def _summary(case: Case, attempt: Attempt, model: ChatModel) -> tuple[tuple[Fact, ...], Usage]:
    shown = screens(attempt, _SUMMARY_PICTURES) if model.abilities.images else ()
    words = render(
        "summary",
        pictures=bool(shown),
        task=one_line(case.instruction, 2_000),
        lines=[_line(moment) for moment in attempt.moments[-_LINES_SHOWN:]] or ["nothing"],
        ended=COMPARABLE.get(attempt.candidate.status, attempt.candidate.status),
    )
    parts = [words, *[ImagePart(await case.frames.png(ref), detail="high") for ref in shown]]
    request = Request(
        messages=(Message.of("user", *parts),), temperature=0.0, max_tokens=_tokens(model, _SUMMARY_TOKENS)
    )
    answer = await model.complete(request, role="narrator")
    text = one_line(answer.text, _SUMMARY_SHOWN) or "(the model wrote nothing)"
    return (Fact(step=max(0, attempt.candidate.steps - 1), text=text, source="model"),), answer.usage


def _line(moment: Moment) -> str:
    said = f", saying: {one_line(moment.thought, 200)}" if moment.thought else ""
    return f"step {moment.index + 1}: {one_line(moment.action, 200)}{said}"


def _tokens(model: ChatModel, wanted: int) -> int:
    """A small model gets a short answer; a large one may think before it writes."""
    return wanted if model.abilities.context_tokens < 65_536 else answer_tokens(model.abilities)
