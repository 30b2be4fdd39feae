"""Oracles: for each task a scripted rollout that does it, by the same loop and actions that a model uses.

An oracle file holds what the worker decides (actions with their thoughts) and what the coding agent replies. A step
may name what must be shown before it is taken, such as the title of a dialog; until then the oracle waits, as anyone
would. The no-op says at once that it is done. A task is sound when its oracle scores 1 and the no-op scores 0.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.desktop_mini.suite import ROOT
from llm.chat import Abilities, Request
from llm.scripted import Answer, Reply, ScriptedModel

PATIENCE = 20
"""Most waits of one rollout; their steps come on top of the task's own limit."""

_WAIT: Mapping[str, Any] = {"thought": "It is not there yet.", "action": "wait", "time": 0.5}
_SUMMARY = "The outputs show what was changed."
_TEXT_ONLY = Abilities(tools=True, schema=True, logprobs=True, context_tokens=1_000_000)
"""It reads the windows and elements, all actions are offered to it, and it has no eyes."""


class OracleStep(BaseModel):
    """One decision of the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs: tuple[str, ...] = ()
    """Texts that must all be in what the worker is shown; until then it waits."""
    gone: tuple[str, ...] = ()
    """Texts that must not be in it any more, such as the title of a dialog that was closed."""
    decision: Mapping[str, Any]
    """The action with its `thought`, as in `agent_s3.actions`: in the file these are the fields beside `needs`."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: object) -> object:
        if not isinstance(value, dict) or "decision" in value:
            return cast("object", value)
        fields = cast("dict[str, Any]", value)
        conditions = {key: fields[key] for key in ("needs", "gone") if key in fields}
        return {**conditions, "decision": {key: item for key, item in fields.items() if key not in conditions}}

    def fits(self, shown: str) -> bool:
        """Whether the step can be taken in the state of the desktop that the worker is shown."""
        return all(text in shown for text in self.needs) and not any(text in shown for text in self.gone)


class Oracle(BaseModel):
    """A scripted rollout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: tuple[OracleStep, ...] = Field(min_length=1)
    code: tuple[str, ...] = ()
    """Replies of the coding agent in order: fenced snippets, then DONE."""

    def model(self, name: str) -> ScriptedModel:
        """A model that gives these replies once, in order."""
        return ScriptedModel([_Player(self).answer], name=f"scripted:{name}", abilities=_TEXT_ONLY)


class _Player:
    """Where one rollout is in its script."""

    def __init__(self, oracle: Oracle) -> None:
        self._steps = list(oracle.worker)
        self._waits = PATIENCE
        self._code: Iterator[str] = iter(oracle.code)

    def answer(self, request: Request, role: str) -> Answer | None:
        """None when the script is over: the scripted model then says so, loudly."""
        if role == "code":
            return next(self._code, _SUMMARY)
        if role != "worker" or not self._steps:
            return None
        if self._waits and not self._steps[0].fits(request.messages[-1].text):
            self._waits -= 1
            return Reply(json=_WAIT)
        return Reply(json=self._steps.pop(0).decision)


NOOP = Oracle(worker=(OracleStep(decision={"thought": "I do nothing.", "action": "done"}),))


def oracle_path(task_id: str) -> Path:
    return ROOT / "oracles" / f"{task_id}.json"


def load_oracle(task_id: str) -> Oracle:
    """Raises: `OSError`, `pydantic.ValidationError`: the file ships with its task."""
    return Oracle.model_validate_json(oracle_path(task_id).read_bytes())
