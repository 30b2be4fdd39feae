"""Reading the result folders of OSWorld's runners and of Agent S3's own scripts: one folder for each rollout.

RESULTS/DOMAIN/TASK_ID/
├── result.txt             the score, one number; missing when the evaluation broke
├── traj.jsonl             one JSON object per action: step_num, action or exec_code, screenshot_file
├── step_0.png             the first screen (Agent S3 only)
├── step_N_TIME.png        the screen after action N
├── instruction.txt        what was asked (Agent S3 only; else it is in OSWorld's examples)
└── fact_captions.jsonl    one JSON object per step: fact_thoughts, fact_answer, screenshot_num

RESULTS may also be the folder that the runner was given, with ACTION_SPACE/OBSERVATION/MODEL between.
Source: `lib_run_single.py` and `show_result.py` of xlang-ai/OSWorld; `osworld_setup/s3` of simular-ai/Agent-S.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from PIL import Image, UnidentifiedImageError

from agent_s3.record import FrameStore
from agent_s3.types import FrameRef
from bbon.quoting import one_line
from bbon.types import Candidate, Fact
from benchmarks.judge_lab.cases import Attempt, Case, Collected, Moment
from benchmarks.judge_lab.run_folders import one_fault

_STEP = re.compile(r"step[_-]?(\d+)(?:[_.-].*)?\.png", re.IGNORECASE)
_CAPTION_LEAD = re.compile(r"^Fact Caption from Screenshot \d+:\s*")
_LEVELS_ABOVE = 3
_ACTION_SHOWN = 300
_FACT_SHOWN = 1_500
_DAMAGED = (OSError, ValueError, UnidentifiedImageError)


class PictureFiles(FrameStore):
    """Frames that lie under names of their own, by the hash of the file."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._paths: dict[str, Path] = {}

    def add(self, path: Path) -> FrameRef:
        """Name a picture. Raises: `OSError`, `ValueError` when it is none."""
        with Image.open(path) as picture:
            width, height = picture.size
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._paths[digest] = path
        return FrameRef(sha256=digest, width=width, height=height)

    def path(self, ref: FrameRef) -> Path:
        return self._paths[ref.sha256]


class _Place(NamedTuple):
    """A task in a result folder."""

    task: str
    """`DOMAIN/TASK_ID`."""
    folder: Path
    root: Path
    """The folder above the domains."""


def is_results(folder: Path) -> bool:
    """Whether tasks with a trajectory lie in it, at any of the two depths."""
    return any(True for _ in _places(folder))


def read_results(folders: Sequence[Path], *, examples: Path | None = None) -> Collected:
    """The tasks that all folders share, a rollout from each; `examples` is OSWorld's folder of task files."""
    found = Collected()
    by_task: dict[str, list[tuple[int, _Place]]] = defaultdict(list)
    for number, folder in enumerate(folders):
        for place in _places(folder):
            by_task[place.task].append((number, place))
    for task, places in sorted(by_task.items()):
        try:
            found += _read_task(task, places, examples)
        except _DAMAGED as error:
            found.faults.append(f"{task}: {one_fault(error)}")
    return found


def _places(folder: Path) -> Iterable[_Place]:
    """Tasks below DOMAIN/ID, or below ACTION_SPACE/OBSERVATION/MODEL/DOMAIN/ID."""
    for above in range(_LEVELS_ABOVE + 1):
        for trajectory in sorted(folder.glob("*/" * above + "*/*/traj.jsonl")):
            task = trajectory.parent
            yield _Place(f"{task.parent.name}/{task.name}", task, task.parents[1])


def _read_task(task: str, places: Sequence[tuple[int, _Place]], examples: Path | None) -> Collected:
    found = Collected()
    frames = PictureFiles()
    attempts: list[Attempt] = []
    for number, place in places:
        try:
            attempts.append(_read_attempt(number, place, frames))
        except _DAMAGED as error:
            found.faults.append(f"{place.folder}: {one_fault(error)}")
    domain, _, name = task.partition("/")
    if attempts:
        instruction = _instruction(domain, name, [place for _, place in places], examples)
        found.cases.append(Case(task, domain, instruction, tuple(attempts), frames))
    return found


def _instruction(domain: str, name: str, places: Sequence[_Place], examples: Path | None) -> str:
    """Raises: `ValueError` when nobody says what was asked."""
    told = next((path for place in places if (path := place.folder / "instruction.txt").is_file()), None)
    if told is not None:
        return told.read_text(encoding="utf-8").strip()
    file = examples and examples / domain / f"{name}.json"
    if file is None or not file.is_file():
        raise ValueError("nobody says what was asked: name OSWorld's evaluation_examples/examples with --examples")
    instruction = _object(file.read_text(encoding="utf-8")).get("instruction")
    if not isinstance(instruction, str):
        raise ValueError(f"{file} holds no instruction")  # noqa: TRY004
    return instruction.strip()


def _read_attempt(number: int, place: _Place, frames: PictureFiles) -> Attempt:
    score = _read_score(place.folder / "result.txt")
    lines = _objects(place.folder / "traj.jsonl")
    acted = [line for line in lines if "action" in line or "exec_code" in line]
    if not acted:
        raise ValueError("traj.jsonl holds no action")
    shown = _pictures(place.folder, frames)
    moments = tuple(_moment(index, line, shown) for index, line in enumerate(acted))
    captions = place.folder / "fact_captions.jsonl"
    facts = _facts(captions) if captions.is_file() else tuple(_plain(moment) for moment in moments)
    candidate = Candidate(
        index=number,
        status=_status(acted[-1]),
        facts=facts,
        first=shown.get(min(shown)) if shown else None,
        last=shown.get(max(shown)) if shown else None,
        steps=len(acted),
        changes=("The state at the end is known from the last picture only.",),
    )
    return Attempt(candidate, moments, score, place.root)


def _read_score(path: Path) -> float:
    """Raises: `ValueError` for a task that was not evaluated."""
    if not path.is_file():
        raise ValueError("it was not evaluated: there is no result.txt")
    score = float(path.read_text(encoding="utf-8").strip())
    if not math.isfinite(score):
        raise ValueError(f"its score is {score}")
    return score


def _pictures(folder: Path, frames: PictureFiles) -> dict[int, FrameRef]:
    """Step -> the screen after it, 0 is the first; a damaged picture is left out, like one that is missing."""
    shown: dict[int, FrameRef] = {}
    for path in sorted(folder.iterdir()):
        match = _STEP.fullmatch(path.name)
        if match is None:
            continue
        try:
            shown[int(match[1])] = frames.add(path)
        except _DAMAGED:
            continue
    return shown


def _moment(index: int, line: dict[str, Any], shown: dict[int, FrameRef]) -> Moment:
    number = line.get("step_num")
    after = number if isinstance(number, int) else index + 1
    said = line.get("plan") or line.get("response") or ""
    action = line.get("exec_code") or line.get("action") or ""
    return Moment(index, _text(action), _text(said), shown.get(after - 1), shown.get(after))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(moment: Moment) -> Fact:
    """What was sent to the desktop is all that is known of a step that nobody narrated."""
    text = f"This was sent to the desktop: {one_line(moment.action, _ACTION_SHOWN)}"
    return Fact(step=moment.index, text=text, source="delta")


def _facts(path: Path) -> tuple[Fact, ...]:
    """Raises: `ValueError` when there is none."""
    told = [(line.get("screenshot_num"), line.get("fact_answer")) for line in _objects(path)]
    known = [(n, text) for n, text in told if isinstance(n, int) and n > 0 and isinstance(text, str)]
    if not known:
        raise ValueError("fact_captions.jsonl holds no fact")
    return tuple(
        Fact(step=n - 1, text=one_line(_CAPTION_LEAD.sub("", text.strip()), _FACT_SHOWN), source="model")
        for n, text in sorted(known)
    )


def _status(last: dict[str, Any]) -> str:
    ends = {"DONE": "done", "FAIL": "fail"}
    action = last.get("action") or last.get("exec_code")
    name = cast("dict[str, Any]", action).get("action_type") if isinstance(action, dict) else action
    return ends.get(str(name).strip(), "step_limit")


def _objects(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines; torn lines are skipped."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(_object(line))
        except ValueError:
            continue
    return found


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004
    return cast("dict[str, Any]", value)
