"""A part of a terminal that is drawn anew all the time. In a pipe there is none, and lines are all that is shown."""

from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

REFRESH_PER_SECOND = 8


class LiveDisplay(ABC):
    """A context manager. Never raises from a call: a terminal that went away must not stop a run."""

    transient: ClassVar[bool] = False
    """Whether the display is gone when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    @abstractmethod
    def _render(self) -> RenderableType:
        """What is shown now."""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESH_PER_SECOND,
                vertical_overflow="crop",
                transient=self.transient,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()

    def stopping(self, first: bool) -> None:
        """Say that a signal was heard."""
        self.say("stopping: saving the record and the machines" if first else "still stopping; this takes seconds")

    def say(self, line: str) -> None:
        """Show a line, above the display if there is one. It must be plain."""
        with suppress(OSError):
            self._console.print(Text(line), soft_wrap=True)

    def _refresh(self) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.refresh()
