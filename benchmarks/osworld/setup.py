"""Carry out `config` and `postconfig` steps on a machine.

Upstream only logs a failed launch, command or window step and goes on; here it becomes a note that the outcome
carries, or, with `strict`, a `SetupFailed`: our own task sets leave nothing to luck.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from benchmarks.osworld.assets import Assets
from benchmarks.osworld.cache import Cache
from benchmarks.osworld.errors import AssetMissing, EvaluationFailed, SetupFailed
from benchmarks.osworld.steps import (
    Download,
    Execute,
    FindWindow,
    Launch,
    Open,
    Sleep,
    UploadFile,
    absolute,
    argv,
    fill,
    parse_step,
)
from benchmarks.osworld.tasks import SetupStep
from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.machine import Machine
from vm_pool.types import Completed

COMMAND_TIMEOUT_S = 120.0
"""Limit of upstream's guest server for one command."""
OPEN_TIMEOUT_S = 60.0
"""Until a window names the opened file; upstream waits 30 minutes."""
WINDOW_TIMEOUT_S = 5.0
"""Until the window to activate is there; upstream tries once."""
UNTIL_TIMEOUT_S = 120.0
"""For a command that is repeated; upstream repeats without end."""
POLL_S = 0.3
OUTPUT_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Stage:
    """The machine to prepare and what the steps may draw on."""

    machine: Machine
    assets: Assets
    cache: Cache
    client_password: str = "password"  # noqa: S105 - the public default of upstream's images
    strict: bool = False
    """A step that upstream would only log as failed raises `SetupFailed`."""

    @property
    def home(self) -> str:
        return self.machine.info.home


async def set_up(steps: Sequence[SetupStep], stage: Stage) -> tuple[str, ...]:
    """Carry the steps out in order; answers with a note for each that did not fully work.

    Raises: `Unsupported`, `SetupFailed`, and `vm_pool.errors.MachineLost`.
    """
    parsed = [(step.type, parse_step(step)) for step in steps]
    notes: list[str] = []
    for number, (name, step) in enumerate(parsed, start=1):
        note = await _one(name, step, stage)
        if note is not None:
            text = f"setup step {number} ({name}): {note}"
            if stage.strict:
                raise SetupFailed(text)
            notes.append(text)
    return tuple(notes)


async def _one(name: str, step: object, stage: Stage) -> str | None:
    try:
        match step:
            case Download():
                return await _download([(file.url, file.path) for file in step.files], stage)
            case UploadFile():
                return await _download([(file.local_path, file.path) for file in step.files], stage)
            case Launch():
                return await _launch(step, stage)
            case Open():
                return await _open(step, stage)
            case Execute():
                return await _execute(step, stage)
            case FindWindow():
                return await (_close_window if name == "close_window" else _activate_window)(step, stage)
            case Sleep():
                return await asyncio.sleep(step.seconds)  # what the task asks for, not a wait for a condition
            case _:
                raise SetupFailed(f"setup step {name!r} has no implementation")
    except (GuestError, GuestTimeout, AssetMissing, EvaluationFailed) as error:
        raise SetupFailed(f"setup step {name!r}: {error}") from error


async def _download(files: Sequence[tuple[str, str]], stage: Stage) -> None:
    for url, path in files:
        await stage.machine.write(absolute(path, stage.home), await stage.assets.read(url))


async def _launch(step: Launch, stage: Stage) -> str | None:
    command = fill(step.command, stage.machine.info, stage.client_password)
    try:
        await stage.machine.launch(argv(command, shell=step.shell, home=stage.home))
    except GuestError as error:
        return str(error)
    return None


async def _open(step: Open, stage: Stage) -> None:
    path = absolute(step.path, stage.home)
    name = PurePosixPath(path).name.casefold()
    await stage.machine.launch(["xdg-open", path])

    async def named() -> bool:
        return any(name in window.title.casefold() for window in await stage.machine.windows())

    if not await _wait(named, OPEN_TIMEOUT_S):
        raise SetupFailed(f"no window names {path!r} {OPEN_TIMEOUT_S:.0f} s after it was opened")


async def _execute(step: Execute, stage: Stage) -> str | None:
    command = argv(fill(step.command, stage.machine.info, stage.client_password), shell=step.shell, home=stage.home)
    done = await stage.machine.run(command, timeout_s=COMMAND_TIMEOUT_S, output_limit=OUTPUT_LIMIT)
    deadline = time.monotonic() + UNTIL_TIMEOUT_S
    while not _satisfied(step, done) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        done = await stage.machine.run(command, timeout_s=COMMAND_TIMEOUT_S, output_limit=OUTPUT_LIMIT)
    _keep(step, done, stage.cache)
    return _complaint(step, done)


def _satisfied(step: Execute, done: Completed) -> bool:
    until = step.until
    if until.returncode is None and until.stdout is None and until.stderr is None:
        return True
    return (
        done.returncode == until.returncode
        or (until.stdout is not None and until.stdout in done.stdout)
        or (until.stderr is not None and until.stderr in done.stderr)
    )


def _keep(step: Execute, done: Completed, cache: Cache) -> None:
    for name, text in ((step.stdout, done.stdout), (step.stderr, done.stderr)):
        if name:
            cache.write(name, text.encode())


def _complaint(step: Execute, done: Completed) -> str | None:
    if done.timed_out:
        return f"{step.command!r} did not end within {COMMAND_TIMEOUT_S:.0f} s"
    if not _satisfied(step, done):
        return f"{step.command!r} never met its `until` within {UNTIL_TIMEOUT_S:.0f} s"
    if done.returncode != 0 and step.until.returncode != done.returncode:
        return f"{step.command!r} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
    return None


async def _activate_window(step: FindWindow, stage: Stage) -> str | None:
    async def activated() -> bool:
        return (await stage.machine.run(_wmctrl(step, "a"))).returncode == 0

    if await _wait(activated, WINDOW_TIMEOUT_S):
        return None
    return f"no window {step.window_name!r} to activate"


async def _close_window(step: FindWindow, stage: Stage) -> str | None:
    done = await stage.machine.run(_wmctrl(step, "c"))
    return None if done.returncode == 0 else f"no window {step.window_name!r} to close"


def _wmctrl(step: FindWindow, verb: str) -> tuple[str, ...]:
    flags = ("-x" if step.by_class else "", "-F" if step.strict else "")
    return ("wmctrl", *(flag for flag in flags if flag), f"-{verb}", step.window_name)


async def _wait(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Whether the condition came true before the deadline; it is asked at least once."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True
