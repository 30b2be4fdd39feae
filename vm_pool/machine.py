"""The seam to one running computer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self, runtime_checkable

from vm_pool.events import InputEvent
from vm_pool.types import Completed, Frame, Look, LookPart, MachineInfo, Performed, Settled, Tree, Window

DEFAULT_OUTPUT_LIMIT = 256 * 1024


class Machine(Protocol):
    """What one can do to a running computer, wherever it runs.

    Every method raises `vm_pool.errors.MachineLost` when the machine is gone, `GuestTimeout` when it did not answer
    in time and `GuestError` when it answered with a refusal or nonsense.
    """

    @property
    def info(self) -> MachineInfo: ...

    async def screenshot(self) -> Frame:
        """The screen now, pointer included."""
        ...

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        """Send a batch of input events, all or none begun; the same request id is never executed twice.

        None for `request_id` makes a fresh one. Raises: `GuestError` when a key name is unknown or a coordinate
        lies outside the screen (then nothing was sent).
        """
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 120.0,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
        request_id: str | None = None,
    ) -> Completed:
        """Run a command as the desktop's user and wait; its whole process group is killed at the timeout.

        `cwd` None is the home directory; `env` is added to the session's own; `output_limit` is in bytes per stream.
        """
        ...

    async def launch(self, argv: Sequence[str], *, cwd: str | None = None) -> int:
        """Start a program detached from the caller, on the desktop; returns its pid. It is remembered for forks."""
        ...

    async def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        """Content of a file. Raises: `GuestFileNotFound`; `GuestError` when it is larger than `max_bytes`."""
        ...

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Create or replace a file atomically, making parent directories."""
        ...

    async def tree(self) -> Tree:
        """The accessibility tree of all applications."""
        ...

    async def windows(self) -> tuple[Window, ...]:
        """Top-level windows, topmost last."""
        ...

    async def look(self, parts: frozenset[LookPart], *, files_since: str | None = None) -> Look:
        """Several observations in one round trip; `files_since` None reports changes since the machine started."""
        ...

    async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:
        """Wait until the screen has been still for `quiet_ms`, carets aside; at most `timeout_ms`."""
        ...


@runtime_checkable
class WithClipboard(Protocol):
    """What a machine with the capability `clipboard` does besides."""

    async def clipboard(self) -> str | None:
        """Text of the clipboard; None when there is none or its owner does not answer."""
        ...

    async def set_clipboard(self, text: str) -> None: ...


class Address(NamedTuple):
    """Where a guest server listens: by a socket of this host or by a URL, and what it asks for."""

    socket: Path | None
    url: str | None
    token: str
    """Empty: it asks for none."""


@runtime_checkable
class Reachable(Protocol):
    """A machine whose guest server other programs of the user can be told of."""

    @property
    def address(self) -> Address: ...


@runtime_checkable
class Losable(Protocol):
    """A machine whose user can be told why it is gone."""

    def lose(self, reason: str) -> None:
        """From now on every call raises `MachineLost` with this reason; the machine itself is stopped by others."""
        ...


@runtime_checkable
class Shareable(Protocol):
    """A machine that more than one client can speak to at once."""

    def another_client(self, *, token: str | None = None) -> Self:
        """A further client of the same machine; `token` None takes this one's, "" sends none."""
        ...

    async def aclose(self) -> None:
        """Close this client's connections; idempotent."""
        ...
