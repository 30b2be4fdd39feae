"""What getters bring to metrics. Files are bytes in memory, never paths: nothing of a guest is opened or run here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_FILE_BYTES = 32 * 1024 * 1024
"""Largest file that is fetched from a machine to be scored."""


@dataclass(frozen=True)
class FileContent:
    """A file of the machine or of the task."""

    name: str
    data: bytes

    @property
    def text(self) -> str:
        """The content as UTF-8, with U+FFFD for what is none."""
        return self.data.decode("utf-8", errors="replace")


Value = str | FileContent | Mapping[str, Any] | tuple[Any, ...] | None
"""None: it does not exist, e.g. a file the agent never made."""


def text_of(value: Value) -> str | None:
    """Text of a command's output or of a file; None for anything else."""
    match value:
        case str():
            return value
        case FileContent():
            return value.text
        case _:
            return None
