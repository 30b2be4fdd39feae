"""What setup steps say, as typed data: parameters per type, placeholders, command lines. Pure.

Source: the parameters in upstream's task files and `desktop_env/controllers/setup.py`; the command semantics are
those of upstream's guest server (`/execute`): a string is split like a shell would, a list with `shell` is a script
and its `$0 $1 ...`.
"""

import shlex
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from benchmarks.osworld.errors import SetupFailed, Unsupported
from benchmarks.osworld.tasks import Frozen, SetupStep
from vm_pool.types import MachineInfo

Command = str | tuple[str, ...]


class AssetFile(Frozen):
    url: str = Field(min_length=1)
    path: str = Field(min_length=1)


class Download(Frozen):
    """Put assets into the machine."""

    files: tuple[AssetFile, ...]


class LocalFile(Frozen):
    local_path: str = Field(min_length=1)
    path: str = Field(min_length=1)


class UploadFile(Frozen):
    """Put files of the task set into the machine."""

    files: tuple[LocalFile, ...]


class Launch(Frozen):
    """Start a program and go on."""

    command: Command
    shell: bool = False


class Open(Frozen):
    """Open a file with its application and wait for a window that names it."""

    path: str = Field(min_length=1)


class Until(Frozen):
    """Any of these ends the repetition."""

    returncode: int | None = None
    stdout: str | None = None
    """Substring of the output."""
    stderr: str | None = None


class Execute(Frozen):
    """Run a command and wait for it."""

    command: Command
    shell: bool = False
    stdout: str = ""
    """Name in the task cache that receives the output; empty: not kept."""
    stderr: str = ""
    until: Annotated[Until, BeforeValidator(lambda value: value or {})] = Until()


class FindWindow(Frozen):
    """Bring a window to the front, or close it."""

    window_name: str = Field(min_length=1)
    strict: bool = False
    """Whole title and case must agree; else a part of it in any case."""
    by_class: bool = False
    """Look at WM_CLASS instead of the title."""


class Sleep(Frozen):
    """Let the machine alone."""

    seconds: float = Field(ge=0, le=600)


StepModel = Download | UploadFile | Launch | Open | Execute | FindWindow | Sleep

STEP_MODELS: dict[str, type[StepModel]] = {
    "download": Download,
    "upload_file": UploadFile,
    "launch": Launch,
    "open": Open,
    "execute": Execute,
    "command": Execute,
    "activate_window": FindWindow,
    "close_window": FindWindow,
    "sleep": Sleep,
}
"""Step types that this version knows."""

StepT = TypeVar("StepT", bound=Frozen)


def parse_step(step: SetupStep) -> StepModel:
    """Raises: `Unsupported` for a type we do not know, `SetupFailed` for wrong parameters."""
    model = STEP_MODELS.get(step.type)
    if model is None:
        raise Unsupported(f"setup type {step.type!r} is not supported; known: {', '.join(sorted(STEP_MODELS))}")
    try:
        return model.model_validate(step.parameters)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise SetupFailed(f"setup step {step.type!r}: {where}: {fault['msg']}; correct the task file") from error


def fill(command: Command, info: MachineInfo, client_password: str) -> Command:
    """Put the values of the machine into the placeholders of a command."""
    values = {
        "{CLIENT_PASSWORD}": client_password,
        "{SCREEN_WIDTH_HALF}": str(info.width // 2),
        "{SCREEN_HEIGHT_HALF}": str(info.height // 2),
        "{SCREEN_WIDTH}": str(info.width),
        "{SCREEN_HEIGHT}": str(info.height),
    }

    def one(text: str) -> str:
        for name, value in values.items():
            text = text.replace(name, value)
        return text

    return one(command) if isinstance(command, str) else tuple(one(word) for word in command)


def argv(command: Command, *, shell: bool, home: str) -> tuple[str, ...]:
    """The command line to run inside the machine. Raises: `SetupFailed` for an empty or unbalanced command."""
    if shell:
        return ("/bin/sh", "-c", *((command,) if isinstance(command, str) else command))
    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else command
    except ValueError as error:
        raise SetupFailed(f"command {command!r} cannot be split into words: {error}; correct the task file") from error
    if not words:
        raise SetupFailed("a command is empty; correct the task file")
    return tuple(expand_home(word, home) for word in words)


def expand_home(word: str, home: str) -> str:
    """`~` and a leading `~/` become the user's home folder, as in upstream's guest server."""
    return home + word[1:] if word == "~" or word.startswith("~/") else word


def absolute(path: str, home: str) -> str:
    """A path inside the machine; relative ones start at the home folder."""
    path = expand_home(path, home)
    return path if path.startswith("/") else f"{home}/{path}"
