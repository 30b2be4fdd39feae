"""Getters: the two sides of a comparison, fetched from the machine, the task's assets, its rule or its cache.

Source: `desktop_env/evaluators/getters` of xlang-ai/OSWorld, for names and parameters.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, cast

from pydantic import ConfigDict, ValidationError

from benchmarks.osworld.a11y_xml import to_xml
from benchmarks.osworld.errors import AssetMissing, EvaluationFailed, Unsupported
from benchmarks.osworld.setup import COMMAND_TIMEOUT_S, OUTPUT_LIMIT, Stage
from benchmarks.osworld.steps import Command, absolute, argv, fill
from benchmarks.osworld.tasks import Frozen, Getter
from benchmarks.osworld.values import MAX_FILE_BYTES, FileContent, Value
from vm_pool.errors import GuestError
from vm_pool.types import Completed

Fetch = Callable[[Getter, Stage], Awaitable[Value]]


class _Files(Frozen):
    """One path or, with `multi`, several, of which `gives` names the ones that are compared."""

    path: str | tuple[str, ...]
    dest: str | tuple[str, ...] = ""
    """Name under which upstream stores the file; here only a label."""
    multi: bool = False
    gives: tuple[int, ...] = (0,)
    time_suffix: bool = False
    """The name ends in the time at which the task is scored: `stem_TIME.ext`."""
    time_format: str = "%Y%m%d_%H%M%S"

    def wanted(self) -> tuple[str, ...]:
        paths = (self.path,) if isinstance(self.path, str) else self.path
        if not self.multi:
            return paths[:1]
        if any(not 0 <= index < len(paths) for index in self.gives):
            raise EvaluationFailed(f"`gives` {list(self.gives)} names files beyond the {len(paths)} of `path`")
        return tuple(paths[index] for index in self.gives)


class _Run(Frozen):
    command: Command
    shell: bool = False


class _Path(Frozen):
    path: str


class _Rule(Frozen):
    rules: Mapping[str, Any] | tuple[Any, ...]


class _Nothing(Frozen):
    model_config = ConfigDict(frozen=True, extra="ignore")


async def fetch(getter: Getter, stage: Stage) -> Value:
    """Raises: `Unsupported`, `EvaluationFailed`, and the errors of the machine."""
    known = GETTERS.get(getter.type)
    if known is None:
        raise Unsupported(f"getter {getter.type!r} is not supported; known: {', '.join(sorted(GETTERS))}")
    try:
        return await known(getter, stage)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise EvaluationFailed(f"getter {getter.type!r}: {where}: {fault['msg']}; correct the task file") from error
    except AssetMissing as error:
        raise EvaluationFailed(str(error)) from error


async def _vm_file(getter: Getter, stage: Stage) -> Value:
    wanted = _Files.model_validate(getter.parameters)
    paths = [_stamped(path, wanted) if wanted.time_suffix else path for path in wanted.wanted()]
    return _one_or_all([await _guest_file(absolute(path, stage.home), stage) for path in paths])


def _stamped(path: str, wanted: _Files) -> str:
    pure = PurePosixPath(path)
    stamp = datetime.now().astimezone().strftime(wanted.time_format)
    return str(pure.with_name(f"{pure.stem}_{stamp}{pure.suffix}"))


async def _guest_file(path: str, stage: Stage) -> FileContent | None:
    try:
        return FileContent(path, await stage.machine.read(path, max_bytes=MAX_FILE_BYTES))
    except GuestError:  # not there, a folder, unreadable, or huge: not the file that the task asks for
        return None


async def _cloud_file(getter: Getter, stage: Stage) -> Value:
    wanted = _Files.model_validate(getter.parameters)
    return _one_or_all([FileContent(url, await stage.assets.read(url)) for url in wanted.wanted()])


def _one_or_all(files: Sequence[FileContent | None]) -> Value:
    return files[0] if len(files) == 1 else tuple(files)


async def _rule(getter: Getter, stage: Stage) -> Value:
    del stage
    return _Rule.model_validate(getter.parameters).rules


async def _run(getter: Getter, stage: Stage) -> Completed:
    wanted = _Run.model_validate(getter.parameters)
    command = fill(wanted.command, stage.machine.info, stage.client_password)
    line = argv(command, shell=wanted.shell, home=stage.home)
    return await stage.machine.run(line, timeout_s=COMMAND_TIMEOUT_S, output_limit=OUTPUT_LIMIT)


async def _vm_command_line(getter: Getter, stage: Stage) -> Value:
    return (await _run(getter, stage)).stdout


async def _vm_command_error(getter: Getter, stage: Stage) -> Value:
    return (await _run(getter, stage)).stderr


async def _cache_file(getter: Getter, stage: Stage) -> Value:
    name = _Path.model_validate(getter.parameters).path
    data = await asyncio.to_thread(stage.cache.read, name)
    if data is None:
        raise EvaluationFailed(f"cache file {name!r} was never written; a setup step must save it")
    return FileContent(name, data)


_LIST = """
import json, os, sys
def tree(path, depth):
    name = os.path.basename(path.rstrip("/")) or path
    if os.path.islink(path) or not os.path.isdir(path):
        return {"type": "file", "name": name}
    below = sorted(os.listdir(path)) if depth else []
    return {"type": "directory", "name": name, "children": [tree(os.path.join(path, x), depth - 1) for x in below]}
json.dump(tree(sys.argv[1], 30), sys.stdout)
"""


async def _list_directory(getter: Getter, stage: Stage) -> Value:
    path = absolute(_Path.model_validate(getter.parameters).path, stage.home)
    done = await stage.machine.run(["python3", "-c", _LIST, path], output_limit=OUTPUT_LIMIT)
    try:
        tree = json.loads(done.stdout)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, Any]", tree) if isinstance(tree, dict) else None


async def _accessibility_tree(getter: Getter, stage: Stage) -> Value:
    _Nothing.model_validate(getter.parameters)
    return to_xml(await stage.machine.tree())


GETTERS: Mapping[str, Fetch] = {
    "vm_file": _vm_file,
    "cloud_file": _cloud_file,
    "rule": _rule,
    "vm_command_line": _vm_command_line,
    "vm_command_error": _vm_command_error,
    "cache_file": _cache_file,
    "list_directory": _list_directory,
    "accessibility_tree": _accessibility_tree,
}
"""Getters that this version knows, by the name in task files."""
