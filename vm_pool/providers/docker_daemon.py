"""The connection to a Docker daemon of this machine. All of it blocks; callers keep it off the event loop.

Every use opens its own connection (3 ms): the library's sessions are not made for several threads, and nothing stays
open between uses.
"""

import asyncio
import importlib
import os
import socket
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from vm_pool.errors import ConfigError, HostUnfit

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_HOST = "unix:///var/run/docker.sock"
_TIMEOUT_S = 60
"""Between two bytes of an answer; starts and removals on a busy host take seconds."""
_REASON_LIMIT = 300

_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="docker")


async def aside(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run what blocks in a thread of its own kind: calls to a busy daemon must not hold up the frames of machines."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(work, *args, **options))


class _Library(NamedTuple):
    """An optional extra without types, so by name."""

    docker: Any
    errors: Any
    requests: Any


def _load() -> _Library:
    """Raises: `HostUnfit` when the extra is not installed."""
    try:
        names = ("docker", "docker.errors", "requests.exceptions")
        return _Library(*(importlib.import_module(name) for name in names))
    except ModuleNotFoundError as error:
        raise HostUnfit(f"containers need {error.name!r}; run: pip install 'agent-s3[docker]'") from error


class NotInDocker(HostUnfit):
    """The container, image or network is not there."""


class DockerConflict(HostUnfit):
    """It cannot be done now: in use, already under way, or not running."""


class Daemon:
    """A daemon by its address, `unix:///PATH`. None: `DOCKER_HOST`, else Docker's usual socket.

    Raises on making: `ConfigError` for an address that is not a socket of this machine, `HostUnfit` without the extra.
    """

    def __init__(self, host: str | None = None) -> None:
        self._library = _load()
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        if not self.host.startswith("unix://"):
            raise ConfigError(
                f"the Docker daemon {self.host!r} is not on this machine, where desktops are controlled;"
                f" run: export DOCKER_HOST={DEFAULT_HOST}"
            )
        self._api_version: str | None = None
        self._fit = False

    @contextmanager
    def client(self, doing: str, *, timeout_s: int = _TIMEOUT_S) -> Generator[Any]:
        """A connection; `doing` completes "Docker could not ..." in an error.

        Raises: `NotInDocker` and `DockerConflict` as the daemon answers, `HostUnfit` for all else.
        """
        self._knock()
        try:
            version = self._api_version or "auto"
            client = self._library.docker.APIClient(base_url=self.host, version=version, timeout=timeout_s)
            self._api_version = client.api_version
            try:
                yield client
            finally:
                client.close()
        except self._library.errors.APIError as error:
            raise _refusal(doing, error) from error
        except self._library.requests.Timeout as error:
            raise HostUnfit(f"Docker could not {doing}: no answer from {self.host} within {timeout_s} s") from error
        except (self._library.errors.DockerException, self._library.requests.RequestException) as error:
            raise self._silent() from error

    def check(self) -> None:
        """Raises: `HostUnfit` when no daemon answers, or one whose containers could not use our sockets."""
        if self._fit:
            return
        with self.client("say what it is") as client:
            facts = client.info()
        for option in facts.get("SecurityOptions") or ():
            if option.startswith(("name=rootless", "name=userns")):
                mend = f"export DOCKER_HOST={DEFAULT_HOST}  (a daemon without rootless mode and userns-remap)"
                reason = "maps user ids, so desktops in it could not be controlled"
                raise HostUnfit(f"the Docker daemon at {self.host} {reason}; run: {mend}")
        self._fit = True

    def version(self) -> str:
        with self.client("say its version") as client:
            return str(client.version()["Version"])

    def _knock(self) -> None:
        """The library forgets to close a socket that it cannot connect. Raises: `HostUnfit` when nobody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            try:
                door.connect(self.host.removeprefix("unix://"))
            except PermissionError as error:
                mend = "sudo usermod -aG docker $USER  (and log in again)"
                raise HostUnfit(f"no permission for the Docker daemon at {self.host}; run: {mend}") from error
            except OSError as error:
                raise self._silent() from error

    def _silent(self) -> HostUnfit:
        mend = "sudo systemctl start docker  (or name another by DOCKER_HOST)"
        return HostUnfit(f"no Docker daemon answers at {self.host}; run: {mend}")


def _refusal(doing: str, error: Any) -> HostUnfit:
    status = error.response.status_code if error.response is not None else 0
    kind = {404: NotInDocker, 409: DockerConflict}.get(status, HostUnfit)
    reason = " ".join(str(error.explanation or error).split())[:_REASON_LIMIT]
    return kind(f"Docker could not {doing}: {reason}")
