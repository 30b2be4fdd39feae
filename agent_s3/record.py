"""Writing and reading a run folder: records are on disk the moment they exist, and a torn last line is no disaster."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent_s3.types import FrameRef
from vm_pool.types import Frame

ModelT = TypeVar("ModelT", bound=BaseModel)


class RecordError(Exception):
    """A run folder cannot be read or written; the message names the file and what is wrong with it."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that readers and crashes see the old or the new content, never a part.

    Raises: `RecordError` when the disk is full or the folder is not writable; the old content stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where a parent is a file, there is nothing to remove
            part.unlink(missing_ok=True)
        raise RecordError(f"cannot write {path}: {error.strerror or error}") from error


def write_model(path: Path, model: BaseModel) -> None:
    """Write a model as indented JSON, atomically."""
    write_atomically(path, model.model_dump_json(indent=2).encode() + b"\n")


def read_model(path: Path, kind: type[ModelT]) -> ModelT:
    """Raises: `RecordError` when the file is missing, torn, or of another schema."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path} is no {kind.__name__}: {where or 'content'}: {first['msg']}") from error


def append_line(path: Path, model: BaseModel) -> None:
    """Append one JSON line in a single write, starting a fresh line if the last one was torn by a crash.

    Raises: `RecordError`.
    """
    line = model.model_dump_json().encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and _last_byte(path) != b"\n":
                line = b"\n" + line
            file.write(line)
    except OSError as error:
        raise RecordError(f"cannot append to {path}: {error.strerror or error}") from error


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def read_lines(path: Path, kind: type[ModelT]) -> list[ModelT]:
    """All whole lines of a JSON-lines file; lines torn by a crash are skipped; a missing file is an empty list.

    Raises: `RecordError` when a whole JSON line is not a `kind`.
    """
    if not path.exists():
        return []
    return [_parse(path, kind, number, data) for number, data in _whole_lines(path)]


def _whole_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            yield number, json.loads(line)
        except ValueError:  # empty, or torn by a crash in mid-write
            continue


def _parse(path: Path, kind: type[ModelT], number: int, data: Any) -> ModelT:
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise RecordError(f"{path}:{number} is no {kind.__name__}: {error.errors()[0]['msg']}") from error


class FrameStore:
    """Pictures by hash: equal frames of all rollouts share one file. Encoding happens in threads, beside the step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing: dict[str, asyncio.Task[None]] = {}

    def put(self, frame: Frame) -> FrameRef:
        """Name a frame and start writing it; must be called in an event loop. `flush` waits for the disk."""
        sha256 = frame.sha256
        if sha256 not in self._writing:
            self._writing[sha256] = asyncio.create_task(asyncio.to_thread(self._write, frame))
        return FrameRef(sha256=sha256, width=frame.width, height=frame.height)

    async def png(self, ref: FrameRef) -> bytes:
        """The picture as a PNG file, encoded once for disk and model alike.

        Raises: `RecordError` when it could not be written or is not there.
        """
        if ref.sha256 in self._writing:
            await asyncio.shield(self._writing[ref.sha256])
        try:
            return await asyncio.to_thread(self.path(ref).read_bytes)
        except OSError as error:
            raise RecordError(f"cannot read {self.path(ref)}: {error.strerror or error}") from error

    async def flush(self) -> None:
        """Wait until all frames put so far are on disk. Raises: `RecordError` when one could not be written."""
        await asyncio.gather(*self._writing.values())

    def path(self, ref: FrameRef) -> Path:
        return self._folder / f"{ref.sha256}.png"

    def _write(self, frame: Frame) -> None:
        path = self._folder / f"{frame.sha256}.png"
        if not path.exists():
            write_atomically(path, frame.png())
