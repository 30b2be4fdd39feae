"""Writing cases as result folders of Agent S3's scripts, and choices as their `BoN{n}.json`.

DIR/
├── rollout_K/DOMAIN/TASK_ID/    as in `result_folders`, with fact_captions.jsonl
├── examples/DOMAIN/TASK_ID.json what was asked
└── verdicts/CELL/BoN{n}.json    for n candidates: task -> selected_trajectory, answer, thoughts; and `score`

Source of both forms: `osworld_setup/s3/bbon` of simular-ai/Agent-S.
"""

import asyncio
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from agent_s3.record import write_atomically
from bbon.types import Fact
from benchmarks.judge_lab.cases import Attempt, Case
from benchmarks.judge_lab.cells import NONE
from benchmarks.judge_lab.report import Row

_UNSAFE = re.compile(r"[^\w.-]+")
_ENDS = {"done": "DONE", "fail": "FAIL"}


def rollout_name(place: int) -> str:
    return f"rollout_{place}"


def task_name(case: Case) -> tuple[str, str]:
    """Domain and id, each as the name of one folder."""
    return safe(case.domain), safe(case.id.rpartition("/")[2])


def safe(text: str) -> str:
    """A text as a file name."""
    return _UNSAFE.sub("_", text).strip("._") or "unnamed"


async def write_results(folder: Path, cases: Sequence[Case]) -> None:
    """Every rollout of every case, in the folder of its place. Raises: `RecordError`, `OSError`."""
    for case in cases:
        domain, name = task_name(case)
        _write_json(folder / "examples" / domain / f"{name}.json", {"id": name, "instruction": case.instruction})
        for place, attempt in enumerate(case.attempts):
            await _write_attempt(folder / rollout_name(place) / domain / name, case, attempt)


async def _write_attempt(folder: Path, case: Case, attempt: Attempt) -> None:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    one = attempt.candidate
    if one.first is not None:
        write_atomically(folder / "step_0.png", await case.frames.png(one.first))
    lines: list[dict[str, Any]] = []
    for moment in attempt.moments:
        number = moment.index + 1
        last = moment is attempt.moments[-1]
        picture = f"step_{number}.png"
        if moment.after is not None:
            write_atomically(folder / picture, await case.frames.png(moment.after))
        action = _ENDS.get(one.status, moment.action) if last else moment.action
        done: dict[str, Any] = {"done": last and one.status in _ENDS, "reward": 0, "info": {}}
        lines.append(
            {"step_num": number, "action": action, "exec_code": action, "plan": moment.thought, **done}
            | ({"screenshot_file": picture} if moment.after else {})
        )
    _write_lines(folder / "traj.jsonl", lines)
    _write_lines(folder / "fact_captions.jsonl", captions(one.facts))
    write_atomically(folder / "instruction.txt", case.instruction.encode())
    if attempt.score is not None:
        write_atomically(folder / "result.txt", f"{attempt.score}\n".encode())


def captions(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """Facts as lines of `fact_captions.jsonl`, one for each step."""
    by_step: dict[int, list[str]] = defaultdict(list)
    for fact in facts:
        by_step[fact.step].append(fact.text)
    return [
        {
            "fact_thoughts": "",
            "fact_answer": f"Fact Caption from Screenshot {step + 1}: {' '.join(texts)}",
            "screenshot_num": step + 1,
        }
        for step, texts in sorted(by_step.items())
    ]


def write_verdicts(folder: Path, cases: Sequence[Case], cells: Mapping[str, Sequence[Row]]) -> None:
    """`BoN{n}.json` for every cell and number of candidates; of several sets of a size the first.

    Raises: `RecordError`.
    """
    by_id = {case.id: case for case in cases}
    for cell, rows in cells.items():
        by_size: dict[int, dict[str, Row]] = defaultdict(dict)
        for row in rows:
            if not row.error:
                by_size[row.n].setdefault(row.task, row)
        for size, chosen in by_size.items():
            _write_json(folder / "verdicts" / safe(cell) / f"BoN{size}.json", verdicts(folder, by_id, chosen))


def verdicts(folder: Path, cases: Mapping[str, Case], rows: Mapping[str, Row]) -> dict[str, Any]:
    """One `BoN{n}.json`: `answer` counts from 1 among the candidates shown, as its writer does."""
    told: dict[str, Any] = {}
    for task, row in rows.items():
        case = cases[task]
        place = next((p for p, attempt in enumerate(case.attempts) if attempt.index == row.pick), None)
        told["/".join(task_name(case))] = {
            "selected_trajectory": None if place is None else str(folder / rollout_name(place)),
            "answer": NONE if row.pick is None else str(row.candidates.index(row.pick) + 1),
            "thoughts": "",
        }
    return told | {"score": _score(cases, rows)}


def _score(cases: Mapping[str, Case], rows: Mapping[str, Row]) -> dict[str, Any]:
    """Sums over tasks: `minimum` is what tasks give whose candidates are all alike; a choice of none gives 0."""
    shown = {task: [a.score for a in cases[task].attempts if a.index in row.candidates] for task, row in rows.items()}
    known = {task: [s for s in scores if s is not None] for task, scores in shown.items() if None not in scores}
    alike = {task for task, scores in known.items() if len(set(scores)) == 1}
    gained = sum(rows[task].score or 0.0 for task in known if task not in alike)
    minimum = sum(known[task][0] for task in alike)
    possible = sum(max(scores) for task, scores in known.items() if task not in alike)
    return {
        "optimal": sum(map(max, known.values())),
        "minimum": minimum,
        "expected_value": sum(map(fmean, known.values())),
        "res": [gained, possible],
        "actual score": minimum + gained,
    }


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, json.dumps(value, indent=2).encode() + b"\n")


def _write_lines(path: Path, lines: Sequence[object]) -> None:
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
