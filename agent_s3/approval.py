"""Whether an action may be executed: asked in one place, before anything of it is announced or sent.

The user is asked through an `Asker`; no answer in time, or nobody who could be asked, is a refusal. What was refused
goes back to the worker as the outcome of the step, and the rollout goes on.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import Field

from agent_s3.actions import Action, AskUser, Done, Fail, SaveToKnowledge, Wait
from agent_s3.elements import name_of, squeeze
from agent_s3.observation import Observation
from agent_s3.risks import RiskRules, Situation, code_risks, risks, shipped
from agent_s3.types import (
    SCHEMA_VERSION,
    Approval,
    ApprovalPolicy,
    Arbiter,
    Frozen,
    Grounding,
    Risk,
    SafetyNotice,
    StepError,
)
from agent_s3.words import action_words
from vm_pool.types import Node

ASK_TIMEOUT_S = 300.0
_NAME_SHOWN = 80
_DOUBT_SHOWN = 300
_DOUBTED = "is doubted by the model's provider"
_HARMLESS = Wait, SaveToKnowledge, AskUser, Done, Fail
"""Actions of which nothing reaches the machine."""


class Question(Frozen):
    """What a user is asked. All texts come from a model or a guest: show them as text only."""

    schema_version: int = SCHEMA_VERSION
    id: str
    """Of this very action at this place; another action at the same step has another."""
    rollout: int
    step: int
    what: str
    """The action in a clause, as `click "Delete"`."""
    code: str | None = None
    """The whole snippet; None: it is not about one."""
    risks: tuple[Risk, ...] = ()
    timeout_s: float
    """Seconds after which no answer counts as no."""


class Answer(Frozen):
    """What the user says."""

    allowed: bool
    reason: str = Field(default="", max_length=2000)
    """Told to the worker; empty: none was given."""


class Asker(Protocol):
    """A way to a user."""

    async def ask(self, question: Question) -> Answer:
        """Wait for the answer; cancelled when the time for it is over or another way was quicker. Must not raise."""
        ...


class ScriptedAsker:
    """Gives answers in order, and waits for ever when there are none left; keeps the questions in `asked`."""

    def __init__(self, answers: Sequence[bool | Answer] = ()) -> None:
        self._answers = list(answers)
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        if not self._answers:
            await asyncio.get_running_loop().create_future()
        answer = self._answers.pop(0)
        return answer if isinstance(answer, Answer) else Answer(allowed=answer)


class Askers:
    """Several ways to a user at once; the first answer counts."""

    def __init__(self, askers: Sequence[Asker]) -> None:
        self._askers = tuple(askers)

    async def ask(self, question: Question) -> Answer:
        tasks = [asyncio.create_task(asker.ask(question)) for asker in self._askers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Ruling:
    """What came of a check, for the record and for whoever wanted to act."""

    risks: tuple[Risk, ...] = ()
    approval: Approval | None = None
    """None: nobody had to be asked, and it is allowed."""
    error: StepError | None = None
    """The outcome of the step when it is not allowed; None: it is."""

    @property
    def allowed(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Approver:
    """Of one rollout. `rules` are the user's, on top of the shipped ones; `asker` None: nobody can be asked."""

    policy: ApprovalPolicy = "auto"
    rules: RiskRules = field(default_factory=RiskRules)
    asker: Asker | None = None
    rollout: int = 0
    timeout_s: float = ASK_TIMEOUT_S

    async def action(self, action: Action, places: Sequence[Grounding], seen: Observation, *, step: int) -> Ruling:
        """An action that was grounded and not sent."""
        if isinstance(action, _HARMLESS):
            return Ruling()
        situation = self.situation(seen, places)
        found = risks(action, places, situation)
        return await self._ruled(_what(action, places, situation), found, step=step)

    async def code(self, code: str, *, step: int) -> Ruling:
        """A snippet that the coding agent wants to run."""
        found = code_risks(code, Situation(shipped() + self.rules))
        return await self._ruled("run code", found, step=step, code=code)

    async def acknowledges(self, checks: Sequence[SafetyNotice], actions: Sequence[Action], *, step: int) -> bool:
        """Whether the user allows what the model's provider doubts; False where the policy asks nobody."""
        if not self.policy.startswith("ask"):
            return False
        found = tuple(
            Risk(
                rule=check.code or check.id,
                kind="provider",
                why=_DOUBTED,
                evidence=squeeze(check.message, _DOUBT_SHOWN),
            )
            for check in checks
        )
        what = ", then ".join(action_words(action) for action in actions)
        return (await self._ruled(what, found, step=step)).allowed

    def situation(self, seen: Observation, places: Sequence[Grounding]) -> Situation:
        """What the rules are matched on."""
        windows = seen.look.windows or ()
        active = next((window for window in windows if window.active), None)
        focused = seen.elements.focused
        return Situation(
            shipped() + self.rules,
            window=f"{active.title} {active.app}" if active else "",
            focus=_named(focused.node) if focused else "",
            under=tuple(name for place in places if (name := _under(seen, place))),
        )

    async def _ruled(self, what: str, found: tuple[Risk, ...], *, step: int, code: str | None = None) -> Ruling:
        if self.policy == "dry-run":
            message = f"this is a dry run; it would {what}"
            return self._refused(found, "policy", StepError(kind="dry_run", message=message))
        if self.policy == "auto" or (self.policy == "ask-on-risk" and not found):
            return Ruling(found)
        if self.asker is None:
            return self._refused(found, "nobody", _refusal("nobody can be asked whether it may be done"))
        question = Question(
            id=_question_id(self.rollout, step, what, code),
            rollout=self.rollout,
            step=step,
            what=what,
            code=code,
            risks=found,
            timeout_s=self.timeout_s,
        )
        return await self._asked(question, self.asker)

    async def _asked(self, question: Question, asker: Asker) -> Ruling:
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await asker.ask(question)
        except TimeoutError:
            return self._refused(question.risks, "nobody", _refusal("the user was asked and did not answer in time"))
        if answer.allowed:
            said = Approval(policy=self.policy, allowed=True, by="user", reason=answer.reason)
            return Ruling(question.risks, said)
        why = f"the user did not allow it: {answer.reason}" if answer.reason else "the user did not allow it"
        return self._refused(question.risks, "user", _refusal(why), answer.reason)

    def _refused(self, found: tuple[Risk, ...], by: Arbiter, error: StepError, reason: str = "") -> Ruling:
        return Ruling(found, Approval(policy=self.policy, allowed=False, by=by, reason=reason), error)


def _what(action: Action, places: Sequence[Grounding], situation: Situation) -> str:
    """The action in words, with what it was grounded to: `click '#5' (push-button Delete)`."""
    there = dict.fromkeys(
        squeeze(name, _NAME_SHOWN) for name in (*(p.element for p in places), *situation.under) if name
    )
    return action_words(action) + (f" ({', '.join(there)})" if there else "")


def _refusal(message: str) -> StepError:
    return StepError(kind="refused", message=message)


def _question_id(rollout: int, step: int, what: str, code: str | None) -> str:
    """An answer that lies about from an earlier question fits no other action."""
    digest = hashlib.sha256(f"{what}\0{code or ''}".encode(errors="replace")).hexdigest()
    return f"{rollout}-{step}-{digest[:8]}"


def _named(node: Node) -> str:
    return f"{node.role} {name_of(node)}".strip()


def _under(seen: Observation, place: Grounding) -> str:
    """The smallest element of the accessibility tree at a place, whatever it was called by; empty: there is none."""
    if seen.look.tree is None:
        return ""
    there = [n for n in seen.look.tree.root.walk() if n.box and n.box.contains(place.x, place.y) and name_of(n)]
    return _named(min(there, key=lambda n: n.box.width * n.box.height if n.box else 0)) if there else ""
