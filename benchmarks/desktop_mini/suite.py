"""The tasks of desktop_mini as they lie in this folder: OSWorld task files, assets, and a table of what each needs."""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.errors import BenchmarkError
from benchmarks.osworld.assets import Assets
from benchmarks.osworld.benchmark import bench_task
from benchmarks.osworld.tasks import OSWorldTask, load_task
from benchmarks.task import BenchTask

ROOT = Path(__file__).parent
NAME = "desktop_mini"

Image = Literal["slim", "desktop"]
Kind = Literal["code", "gui", "multi"]
Difficulty = Literal["easy", "medium", "hard"]


class Entry(BaseModel):
    """What a task needs, from `suite.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    """Folder of the task file."""
    image: Image
    """Smallest image that has the programs of the task."""
    kind: Kind
    """`code`: a few lines of code do it. `gui`: it is work in one program's window. `multi`: in several programs."""
    difficulty: Difficulty
    max_steps: int = Field(ge=1)
    """Steps of one rollout."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: dict[str, Entry]


def entries() -> Mapping[str, Entry]:
    """Task id -> what it needs, in the order of the table."""
    return _Table.model_validate(tomllib.loads((ROOT / "suite.toml").read_text())).tasks


def load(task_id: str) -> OSWorldTask:
    """One task file. Raises: `TaskFileError`; `BenchmarkError` when there is no such task."""
    return load_task(ROOT / "tasks" / _entry(task_id).domain / f"{task_id}.json")


def bench_tasks(ids: Sequence[str] | None = None, *, image: Image | None = None) -> list[BenchTask]:
    """The tasks to run, all when `ids` is None; with `image` only those that it has the programs for.

    Raises: `BenchmarkError` when there is no such task, or none is left.
    """
    known = entries()
    chosen = [(task_id, _entry(task_id)) for task_id in (known if ids is None else ids)]
    fitting = [(task_id, entry) for task_id, entry in chosen if image != "slim" or entry.image == "slim"]
    if not fitting:
        raise BenchmarkError(f"none of the tasks {', '.join(ids or ())} runs on image {image!r}; choose another image")
    return [_bench_task(task_id, entry, image) for task_id, entry in fitting]


def sha256() -> str:
    """Hash of all task files and assets: results of different hashes cannot be compared."""
    digest = hashlib.sha256()
    files = [ROOT / "suite.toml", *(path for name in ("tasks", "assets") for path in (ROOT / name).rglob("*"))]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _entry(task_id: str) -> Entry:
    known = entries()
    if task_id not in known:
        raise BenchmarkError(f"there is no task {task_id!r}; the tasks are: {', '.join(known)}")
    return known[task_id]


def _bench_task(task_id: str, entry: Entry, image: Image | None) -> BenchTask:
    return bench_task(
        load(task_id),
        Assets(ROOT),
        image=image or entry.image,
        max_steps=entry.max_steps,
        difficulty=entry.difficulty,
        strict=True,
    )
