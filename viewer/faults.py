"""Errors as people meet them: one line with the next step, and an exit code."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, cast

import typer

from viewer.exits import BREAKDOWN, MISTAKE, STOPPED
from viewer.plain import plain, plain_lines


class UserMistake(Exception):
    """The command line asks for something that cannot be; the message is one line that ends with the next step."""


class Stopped(Exception):
    """A signal stopped the work, and its cleanup is over."""


class Fault(NamedTuple):
    """How an error is reported."""

    code: int
    line: str


def explain(error: BaseException) -> Fault | None:
    """The report for an error that we know; None for one that nobody expected."""
    if isinstance(error, BaseExceptionGroup):
        parts = cast("BaseExceptionGroup[BaseException]", error).exceptions
        known = [fault for fault in map(explain, parts) if fault]
        return known[0] if len(known) == len(parts) else None
    if isinstance(error, Stopped):
        return Fault(STOPPED, "stopped")
    if isinstance(error, UserMistake):
        return Fault(MISTAKE, str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return Fault(BREAKDOWN, f"the disk is full{where}; free some space and try again")
    return _of_packages(error)


def _of_packages(error: BaseException) -> Fault | None:
    from agent_s3.record import RecordError
    from bbon.errors import BestOfNError, RunFolderError
    from llm.errors import ConfigError as ModelConfigError
    from llm.errors import LLMError, PriceUnknown
    from vm_pool.errors import ConfigError as PoolConfigError
    from vm_pool.errors import HostUnfit, VMPoolError

    mistakes = (PoolConfigError, HostUnfit, ModelConfigError, PriceUnknown, RunFolderError)
    if isinstance(error, mistakes):
        return Fault(MISTAKE, str(error))
    if isinstance(error, VMPoolError | LLMError | RecordError | BestOfNError):
        return Fault(BREAKDOWN, str(error) or type(error).__name__)
    return None


@contextmanager
def reporting(log: Path | None = None) -> Generator[None]:
    """Turn errors of the block into one line on standard error and an exit code.

    The traceback of an error that nobody expected goes to `log` (None: the log in the state folder).
    Raises: `typer.Exit`.
    """
    try:
        yield
    except typer.Exit:
        raise
    except typer.TyperException as error:
        tell(_usage_line(error))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        fault = explain(error) or _crash(error, log or default_log())
        tell(f"agent-s3: {plain_lines(fault.line)}")
        raise typer.Exit(fault.code) from error


def tell(line: str) -> None:
    """A line on standard error; nothing where that is closed, since what follows may be more important."""
    with suppress(OSError):
        typer.echo(line, err=True)


def _usage_line(error: typer.TyperException) -> str:
    """One line for bad flags; for a group without a command the message is its help page."""
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "agent-s3"
    message = error.format_message()
    return message if "\n" in message else f"{command}: {message.rstrip('.')}; see {command} -h"


def _crash(error: Exception, log: Path) -> Fault:
    kept = log_crash(error, log, datetime.now(UTC))
    where = f"the traceback is in {log}" if kept else "the traceback could not be kept: its log is not writable"
    return Fault(BREAKDOWN, f"a fault of agent-s3: {type(error).__name__}: {plain(str(error), 200)}; {where}")


def default_log() -> Path:
    """Where crashes outside of a run are logged."""
    if chosen := os.environ.get("AGENT_S3_STATE"):
        return Path(chosen).expanduser() / "agent-s3.log"
    state = Path("/var/lib/agent-s3") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "agent-s3"
    return state / "agent-s3.log"


def keep_logs_off_the_screen() -> None:
    """A log that cannot be written, as on a full disk, is not reported line by line on standard error."""
    import logging  # not at the top: `agent-s3 --help` does without

    logging.raiseExceptions = False


def tolerate_narrow_encodings() -> None:
    """Let characters that the terminal's encoding lacks be shown as escapes instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def log_crash(error: BaseException, log: Path, now: datetime) -> bool:
    """Append the traceback to a log; False when that cannot be written."""
    lines = "".join(traceback.format_exception(error))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{now.isoformat(timespec='seconds')} CRASH\n{lines}\n")
    except OSError:
        return False
    return True
