"""What the judge gets to read: candidates, which of them ended alike, and facts shortened evenly. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from agent_s3.types import RolloutResult
from bbon import changes, facts
from bbon.quoting import one_line
from bbon.types import Candidate, Fact

COMPARABLE: Mapping[str, str] = {
    "done": "the agent declared the task done",
    "fail": "the agent declared the task impossible",
    "step_limit": "the agent was stopped at the step limit",
    "stopped": "the agent was stopped because it got nowhere while others were done",
    "bad_replies": "the agent broke off without a usable reply",
    "budget": "the agent was stopped because the budget was used up",
    "safety_check": "the agent was stopped because its model's provider doubted what it was about to do",
    "timeout": "the agent was stopped because its time was over",
}
"""Endings after which a desktop can be judged, in words. The others are faults of infrastructure or of ours."""


_LINE = 1_000
"""Most characters of one fact."""


class Outcome(NamedTuple):
    """Candidates that ended in the same state; one stands for all."""

    candidate: Candidate
    """The one with the fewest steps, then of the lowest index."""
    members: tuple[int, ...]
    """Rollout indices, the candidate's own included, ascending."""


def candidate(result: RolloutResult, told: Iterable[Fact]) -> Candidate:
    """A finished rollout as the judge sees it: facts in order of steps, the narrator's notes left out."""
    every = sorted(told, key=lambda fact: fact.step)
    known = [fact for fact in every if fact.source != "note"]
    return Candidate(
        index=result.index,
        status=result.status,
        facts=tuple(known),
        first=result.first,
        last=result.last,
        steps=result.steps,
        changes=facts.at_end(result),
        changed=_changed(result),
        idle=_idle(result),
        end_state=_end_state(result),
        dropped=sum(fact.dropped is not None for fact in every),
    )


def _changed(result: RolloutResult) -> bool:
    return changes.file_signature(result.files) != () or bool(changes.window_signature(result.windows))


def _idle(result: RolloutResult) -> bool:
    same_screen = result.first is not None and result.last is not None and result.first.sha256 == result.last.sha256
    return same_screen and not _changed(result) and result.status != "fail"


def _end_state(result: RolloutResult) -> str | None:
    """Equal for rollouts whose end states cannot be told apart.

    Without any changed file what was done is on the screen, e.g. a number in the calculator: then only equal screens
    count. A file that was not hashed equals nothing.
    Saying "impossible" is an outcome of its own.
    """
    files, windows = changes.file_signature(result.files), changes.window_signature(result.windows)
    if files is None:
        return None
    screen = None if files else (result.last and result.last.sha256)
    return hashlib.sha256(repr((files, windows, screen, result.status == "fail")).encode()).hexdigest()


def outcomes(candidates: Iterable[Candidate]) -> tuple[Outcome, ...]:
    """Candidates grouped by end state, in order of the lowest rollout index."""
    groups: dict[str, list[Candidate]] = {}
    for one in sorted(candidates, key=lambda c: c.index):
        groups.setdefault(one.end_state or f"only {one.index}", []).append(one)
    return tuple(
        Outcome(min(group, key=lambda c: (c.steps, c.index)), tuple(c.index for c in group))
        for group in groups.values()
    )


class Told(NamedTuple):
    """A candidate's evidence in lines, as shown."""

    ended: str
    changes: tuple[str, ...]
    facts: tuple[str, ...]


def told(candidates: Sequence[Candidate], limit: int) -> dict[int, Told]:
    """Evidence of all candidates in at most about `limit` bytes, shared out evenly; by rollout index.

    All of it is made harmless here, wherever the candidates come from: see `bbon.quoting`.
    """
    lines = {c.index: _lines(c) for c in candidates}
    shares = share_out({index: sum(map(_cost, (*t.changes, *t.facts))) for index, t in lines.items()}, limit)
    return {index: _within(t, shares[index]) for index, t in lines.items()}


def share_out(needs: Mapping[int, int], limit: int) -> dict[int, int]:
    """Split a limit evenly; what the short ones do not need goes to the long ones."""
    shares: dict[int, int] = {}
    for done, index in enumerate(sorted(needs, key=lambda i: needs[i])):
        shares[index] = min(needs[index], (limit - sum(shares.values())) // (len(needs) - done))
    return shares


def _lines(one: Candidate) -> Told:
    numbered = tuple(f"step {fact.step + 1}{_mark(fact)}: {one_line(fact.text, _LINE)}" for fact in one.facts)
    changed = tuple(one_line(line, _LINE) for line in one.changes)
    return Told(COMPARABLE.get(one.status, one_line(one.status, 80)), changed, numbered)


def _mark(fact: Fact) -> str:
    """What was described by a model weighs less than what was measured, and the prompt says so."""
    return " (seen)" if fact.source == "model" else ""


def _cost(line: str) -> int:
    """In bytes: scripts whose characters take more bytes take more tokens."""
    return len(line.encode()) + 3


def _within(full: Told, share: int) -> Told:
    """The end state first, at most half of the share unless the steps leave more; then first and last steps."""
    steps_need = sum(map(_cost, full.facts))
    kept_changes = _keep(full.changes, max(share // 2, share - steps_need), "changes")
    rest = share - sum(map(_cost, kept_changes))
    return Told(full.ended, kept_changes, _keep(full.facts, rest, "facts"))


def _keep(lines: Sequence[str], share: int, noun: str) -> tuple[str, ...]:
    """As many lines as fit, taken from the end and the beginning in turn, with a note where some are left out."""
    if sum(map(_cost, lines)) <= share:
        return tuple(lines)
    head: list[str] = []
    tail: list[str] = []
    left = share - _cost(f"({len(lines)} {noun} left out)")
    while len(head) + len(tail) < len(lines):
        from_tail = len(tail) <= len(head)
        line = lines[len(lines) - 1 - len(tail)] if from_tail else lines[len(head)]
        left -= _cost(line)
        if left < 0:
            break
        (tail if from_tail else head).append(line)
    return (*head, f"({len(lines) - len(head) - len(tail)} {noun} left out)", *reversed(tail))
