"""OSWorld task files as frozen models. Pure data; reading is at the end.

A task file is `<set>/examples/<domain>/<id>.json`; a list such as `test_all.json` is `{domain: [id, ...]}`.
Source: the 369 + 49 task files of xlang-ai/OSWorld, April 2026; the evaluator's contract is `DesktopEnv.evaluate`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmarks.osworld.errors import TaskFileError

INFEASIBLE = "infeasible"
"""The metric of tasks that cannot be done: right is to say so."""

_STRAY = frozenset({"hint", "env_may_change", "comments"})
"""Fields of a few files of OSWorld and WindowsAgentArena that no code reads; notes like `_comment` are others."""


class Frozen(BaseModel):
    """Base of the data of this package: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _without_notes(value: object) -> object:
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return {key: item for key, item in fields.items() if key not in _STRAY and not key.startswith("_")}


def _listed(value: object) -> object:
    return cast("object", value) if isinstance(value, list | tuple) else [value]


def _listed_if_given(value: object) -> object:
    return () if value is None else _listed(value)


def _getters(value: object) -> object:
    """Infeasible tasks of WindowsAgentArena write `{}` for a side that there is not."""
    return [None if item == {} else item for item in cast("list[object]", _listed(value))]


class SetupStep(Frozen):
    """One step of `config` or `postconfig`, as written; `setup.py` reads the parameters of the types it knows."""

    type: str = Field(min_length=1)
    parameters: Mapping[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _drop_notes(cls, value: object) -> object:
        return _without_notes(value)


class Getter(Frozen):
    """Where one side of a comparison comes from."""

    type: str = Field(min_length=1)
    parameters: Mapping[str, Any] = {}
    """All other fields of the getter."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: object) -> object:
        if not isinstance(value, dict) or "parameters" in value:
            return cast("object", value)
        fields = cast("dict[str, Any]", value)
        rest = {key: item for key, item in fields.items() if key != "type"}
        return {"type": fields["type"], "parameters": rest} if "type" in fields else {"parameters": rest}


class Check(NamedTuple):
    """One comparison: a metric with its two sides."""

    metric: str
    result: Getter | None
    """None: the metric looks at no result (only `infeasible`)."""
    expected: Getter | None
    """None: the metric takes the result alone."""
    options: Mapping[str, Any]


class Evaluator(Frozen):
    """How a machine is scored after a rollout; single values of the file are lists of one here."""

    postconfig: tuple[SetupStep, ...] = ()
    """Done before anything is read, e.g. saving the open document."""
    func: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]
    result: Annotated[tuple[Getter | None, ...], BeforeValidator(_getters)] = (None,)
    expected: Annotated[tuple[Getter | None, ...], BeforeValidator(_getters)] = (None,)
    options: Annotated[tuple[Mapping[str, Any] | None, ...], BeforeValidator(_listed)] = (None,)
    conj: Literal["and", "or"] = "and"

    @model_validator(mode="before")
    @classmethod
    def _drop_notes(cls, value: object) -> object:
        return _without_notes(value)

    @model_validator(mode="after")
    def _lengths_agree(self) -> "Evaluator":
        for name in ("result", "expected", "options"):
            have = cast("tuple[object, ...]", getattr(self, name))
            if len(have) != len(self.func) and have != (None,):
                raise ValueError(f"{name} has {len(have)} entries where func has {len(self.func)}; make them equal")
        return self

    @property
    def infeasible(self) -> bool:
        return self.func == (INFEASIBLE,)

    def checks(self) -> Iterator[Check]:
        """The comparisons in order."""
        count = len(self.func)
        result = self.result if len(self.result) == count else (None,) * count
        expected = self.expected if len(self.expected) == count else (None,) * count
        options = self.options if len(self.options) == count else (None,) * count
        for metric, left, right, extra in zip(self.func, result, expected, options, strict=True):
            yield Check(metric, left, right, extra or {})


class OSWorldTask(Frozen):
    """One task file."""

    id: str = Field(min_length=1)
    instruction: str = Field(min_length=1)
    domain: str = ""
    """Name of the folder that the file lies in."""
    snapshot: str = ""
    """Upstream ignores it; our own task sets name the image here."""
    source: Annotated[tuple[str, ...], BeforeValidator(_listed_if_given)] = ()
    trajectory: str = ""
    config: tuple[SetupStep, ...] = ()
    related_apps: tuple[str, ...] = ()
    evaluator: Evaluator
    proxy: bool = False
    fixed_ip: bool = False
    possibility_of_env_change: str = ""

    @model_validator(mode="before")
    @classmethod
    def _drop_notes(cls, value: object) -> object:
        return _without_notes(value)

    @property
    def setup_types(self) -> frozenset[str]:
        """All step types that it needs, before and after the rollout."""
        return frozenset(step.type for step in (*self.config, *self.evaluator.postconfig))

    @property
    def getter_types(self) -> frozenset[str]:
        getters = (getter for check in self.evaluator.checks() for getter in (check.result, check.expected))
        return frozenset(getter.type for getter in getters if getter is not None)

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(self.evaluator.func)


TaskList = Mapping[str, tuple[str, ...]]
"""Domain -> ids."""


class TaskSet(Frozen):
    """What a list names: the tasks that could be loaded, and one line for each that could not."""

    tasks: tuple[OSWorldTask, ...]
    faults: tuple[str, ...] = ()


def load_task(path: Path) -> OSWorldTask:
    """Raises: `TaskFileError` with file, field and next step in one line."""
    data = _read_object(path)
    try:
        task = OSWorldTask.model_validate({**data, "domain": path.parent.name})
    except ValidationError as error:
        raise TaskFileError(f"{path}: {_first_fault(error)}") from error
    if task.id.casefold() != path.stem.casefold():  # WindowsAgentArena has a few that differ in case
        raise TaskFileError(f"{path}: id: is {task.id!r}, the file name says {path.stem!r}; rename one of them")
    return task


def load_list(path: Path) -> TaskList:
    """A task list. Raises: `TaskFileError`."""
    data = _read_object(path)
    for domain, ids in data.items():
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in cast("list[object]", ids)):
            raise TaskFileError(f"{path}: {domain}: expected a list of task ids; write {{domain: [id, ...]}}")
    return {domain: tuple(ids) for domain, ids in data.items()}


def load_set(root: Path, list_name: str = "test_all.json", *, examples: str = "examples") -> TaskSet:
    """All tasks of a list; a broken file becomes a fault and stops nothing. Raises: `TaskFileError` for the list."""
    tasks: list[OSWorldTask] = []
    faults: list[str] = []
    for domain, ids in load_list(root / list_name).items():
        for task_id in ids:
            try:
                tasks.append(load_task(root / examples / domain / f"{task_id}.json"))
            except TaskFileError as error:
                faults.append(str(error))
    return TaskSet(tasks=tuple(tasks), faults=tuple(faults))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise TaskFileError(f"{path}: file: {error.strerror or error}; check the path and the list") from error
    except (ValueError, RecursionError) as error:
        raise TaskFileError(f"{path}: file: no valid JSON ({error}); mend it or fetch it again") from error
    if not isinstance(data, dict):
        raise TaskFileError(f"{path}: file: holds a {type(data).__name__}, not an object; is this a task file?")
    return cast("dict[str, Any]", data)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "file"
    match fault["type"]:
        case "missing":
            step = "add it"
        case "extra_forbidden":
            step = "remove it, or correct its spelling"
        case _:
            step = "correct it in the file"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}; {step}"
