"""Recorded benchmark runs made small enough to ship: what a judge needs, and nothing of the host it was made on.

OUT/ is a benchmark folder as any other, so all that reads one reads it. Left out are logs, inputs, crops, files that
rollouts changed, state for a resume and earlier attempts. Frames keep their names, which are hashes of the pixels as
they were; the pictures themselves have few colours, and are scaled down where they are wider than asked. Each distinct
frame takes its room once.
"""

import io
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from agent_s3.paths import RunPaths
from agent_s3.record import RecordError, read_lines, read_model, write_atomically
from agent_s3.types import FrameRef, RolloutResult, Step
from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab.run_folders import is_bench, one_fault
from benchmarks.results import AttemptPaths, BenchPaths, TaskPaths, TaskResult

LIMIT_MB = 60.0
"""A set is refused when it grows beyond this."""
_KEYS = re.compile(r"\b(?:(?:sk|gh[a-z]|xox[a-z])[-_][-_A-Za-z0-9]{16,}|AKIA[A-Z0-9]{16})\b")
"""What looks like a key of one of the usual providers."""
GUEST_HOME = "/home/user"
"""Paths inside desktops are evidence."""
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_MANIFEST = "pack.json"
_OF_A_ROLLOUT = ("trajectory.jsonl", "narrative.jsonl", "result.json")
_OF_A_RUN = ("config.json", "verdict.json", "result.json")


@dataclass(frozen=True)
class Trim:
    """How pictures are made smaller."""

    width: int = 1920
    """Widest, in pixels; narrower ones keep their size."""
    colours: int = 128


class Packed(BaseModel):
    """What a set holds: `pack.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    tasks: int
    rollouts: int
    frames: int
    mb: float
    width: int
    """Widest picture in pixels; frames in the records keep the size of the screen."""
    colours: int
    faults: tuple[str, ...]
    """What could not be taken along, a line each."""


@dataclass
class _Counts:
    tasks: int = 0
    rollouts: int = 0
    faults: list[str] = field(default_factory=list[str])
    frames: dict[str, Path] = field(default_factory=dict[str, Path])
    """Hash -> where the packed picture lies; in further runs the same picture is a hard link to it."""


def pack(folders: Sequence[Path], out: Path, trim: Trim | None = None, *, limit_mb: float = LIMIT_MB) -> Packed:
    """Copy what judging needs of benchmark folders into the new folder `out`.

    Raises: `BenchmarkError` when `out` is not empty, a folder is no benchmark's, two hold the same task, or the set
    grows beyond `limit_mb`; `RecordError`.
    """
    trim = trim or Trim()
    if out.exists() and any(out.iterdir()):
        raise BenchmarkError(f"{out} is not empty; name a new folder for the set")
    if strange := [str(folder) for folder in folders if not is_bench(folder)]:
        raise BenchmarkError(f"{', '.join(strange)} holds no benchmark run; name a folder of agent-s3 bench mini")
    counts = _Counts()
    for folder in folders:
        words = Scrub.of_host(folder)
        _copy_text(BenchPaths(folder).config, BenchPaths(out).config, words)
        for task in sorted(path for path in (folder / "tasks").iterdir() if path.is_dir()):
            _pack_task(folder, TaskPaths(task), out, words, trim, counts)
    return _finished(out, trim, counts, limit_mb)


def _finished(out: Path, trim: Trim, counts: _Counts, limit_mb: float) -> Packed:
    size = sum(path.stat().st_size for path in {p.stat().st_ino: p for p in out.rglob("*") if p.is_file()}.values())
    packed = Packed(
        tasks=counts.tasks,
        rollouts=counts.rollouts,
        frames=len(counts.frames),
        mb=round(size / 1e6, 2),
        width=trim.width,
        colours=trim.colours,
        faults=tuple(counts.faults),
    )
    if packed.mb > limit_mb:
        raise BenchmarkError(f"the set takes {packed.mb} MB, more than {limit_mb:g}: ask for a smaller --width")
    write_atomically(out / _MANIFEST, packed.model_dump_json(indent=2).encode() + b"\n")
    return packed


def _pack_task(folder: Path, task: TaskPaths, out: Path, words: "Scrub", trim: Trim, counts: _Counts) -> None:
    try:
        result = read_model(task.result, TaskResult)
    except RecordError as error:
        counts.faults.append(words.text(f"{task.root.name}: left out: {one_fault(error)}"))
        return
    target = out / result.run_dir
    if target.exists():
        raise BenchmarkError(f"two folders hold the task {task.root.name!r}; pack them one by one")
    counts.tasks += 1
    _copy_text(task.result, BenchPaths(out).task(task.root.name).result, words)
    _pack_run(folder / result.run_dir, target, result, words, trim, counts)


def _pack_run(source: Path, target: Path, result: TaskResult, words: "Scrub", trim: Trim, counts: _Counts) -> None:
    for name in _OF_A_RUN:
        if (source / name).is_file():
            _copy_text(source / name, target / name, words)
    for rollout in result.rollouts:
        ours, theirs = RunPaths(source).rollout(rollout.index).root, RunPaths(target).rollout(rollout.index).root
        try:
            refs = frames_of(ours)
        except RecordError as error:
            counts.faults.append(words.text(f"{result.task_id} rollout {rollout.index}: left out: {one_fault(error)}"))
            continue
        counts.rollouts += 1
        for name in (name for name in _OF_A_ROLLOUT if (ours / name).is_file()):
            _copy_text(ours / name, theirs / name, words)
        outcome = AttemptPaths(source).outcome(rollout.index)
        if outcome.is_file():
            _copy_text(outcome, AttemptPaths(target).outcome(rollout.index), words)
        _pack_frames(RunPaths(source), RunPaths(target), refs, trim, counts)


def frames_of(rollout: Path) -> set[str]:
    """Hashes of all frames that the records of a rollout name. Raises: `RecordError`."""
    result = read_model(rollout / "result.json", RolloutResult)
    steps = read_lines(rollout / "trajectory.jsonl", Step)
    refs: Iterable[FrameRef | None] = [result.first, result.last, *(r for s in steps for r in (s.before, s.after))]
    return {ref.sha256 for ref in refs if ref is not None}


def _pack_frames(source: RunPaths, target: RunPaths, hashes: Iterable[str], trim: Trim, counts: _Counts) -> None:
    for name in sorted(hashes):
        path = target.frame(name)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in counts.frames:
            os.link(counts.frames[name], path)
            continue
        try:
            write_atomically(path, trimmed(source.frame(name).read_bytes(), trim))
        except (OSError, UnidentifiedImageError) as error:
            counts.faults.append(f"frame {name[:12]} left out: {type(error).__name__}")
            continue
        counts.frames[name] = path


def trimmed(png: bytes, trim: Trim) -> bytes:
    """A picture scaled down, with few colours and none of its metadata, as a PNG."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    if picture.width > trim.width:
        high = round(picture.height * trim.width / picture.width)
        picture = picture.resize((trim.width, high), Image.Resampling.LANCZOS)
    few = picture.quantize(trim.colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


# --- words ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scrub:
    """What must not be in a set, and what stands there instead. Longest first."""

    instead: tuple[tuple[str, str], ...]

    @classmethod
    def of_host(cls, folder: Path, env: Mapping[str, str] | None = None) -> "Scrub":
        """Paths of this host, its name, and values of variables that are named like secrets."""
        env = os.environ if env is None else env
        paths = {folder.resolve(), folder.absolute()}
        paths |= {Path(env[name]) for name in ("AGENT_S3_STATE", "AGENT_S3_CACHE", "VIRTUAL_ENV") if env.get(name)}
        found = {str(path): "." for path in paths if len(path.parts) > 1}
        if (home := str(Path.home())) != GUEST_HOME:
            found[home] = "~"
        found |= {value: "(secret)" for name, value in env.items() if _SECRET_NAMES.search(name) and len(value) > 7}
        if len(socket.gethostname()) > 3:
            found[socket.gethostname()] = "host"
        return cls(tuple(sorted(found.items(), key=lambda item: -len(item[0]))))

    def text(self, text: str) -> str:
        for what, stands in self.instead:
            text = text.replace(what, stands)
        return _KEYS.sub("(secret)", text)

    def value(self, value: object) -> object:
        """The same for every string in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in cast("list[object]", value)]
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in cast("dict[str, object]", value).items()}
        return value


def _copy_text(source: Path, target: Path, words: Scrub) -> None:
    """A JSON or JSON-lines file without what must not be in a set; torn lines are left out. Raises: `RecordError`."""
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot read {source}: {error.strerror or error}") from error
    if source.suffix == ".json":
        write_atomically(target, json.dumps(words.value(json.loads(text)), indent=1, ensure_ascii=False).encode())
        return
    kept: list[str] = []
    for line in text.splitlines():
        try:
            kept.append(json.dumps(words.value(json.loads(line)), ensure_ascii=False))
        except ValueError:
            continue
    write_atomically(target, "".join(f"{line}\n" for line in kept).encode())
