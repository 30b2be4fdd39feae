"""Requests to a guest server, with limits on what comes back: the guest is not trusted.

All failures become `vm_pool.errors`: no connection is `MachineLost`, no answer in time `GuestTimeout`, a refusal or
nonsense `GuestError`.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from vm_pool.errors import GuestError, GuestFileNotFound, GuestTimeout, MachineLost
from vm_pool.gate import Gate
from vm_pool.guest_json import read_json
from vm_pool.machine import Address
from vm_pool.output import one_line

ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes; more than any answer but files and pictures has."""
FILE_LIMIT = 1 << 30
"""Bytes; larger files are refused unless the caller names a larger limit."""
DEFAULT_TIMEOUT_S = 30.0
_MESSAGE_LIMIT = 300
_KINDS: dict[str, type[GuestError | MachineLost]] = {"not_found": GuestFileNotFound, "display_gone": MachineLost}

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


class _Refusal(BaseModel):
    """What our own guest server answers instead of 200."""

    model_config = ConfigDict(extra="ignore")

    message: str = ""
    kind: str = ""


class SocketFile:
    """A guest's socket as the file it was at first.

    The guest may replace it by a link to a socket of this host, to which we must not speak in its place.
    """

    def __init__(self, path: Path):
        self.path = path
        self._fd = -1

    def address(self) -> str:
        """Where to connect to. Raises: `OSError` when there is no socket yet, or a link."""
        if self._fd < 0:
            fd = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)
                raise ConnectionRefusedError(f"{self.path} is no socket")
            self._fd = fd
        return f"/proc/self/fd/{self._fd}"

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _SocketTransport(httpx2.AsyncBaseTransport):
    """HTTP over a socket file that need not be there from the start."""

    def __init__(self, socket: SocketFile):
        self._socket = socket
        self._http: httpx2.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._http is None:
            try:
                address = self._socket.address()
            except OSError as error:
                raise httpx2.ConnectError(str(error)) from error
            # Reading the system's certificates takes 100 ms, a third of a machine's start, and a socket needs none.
            self._http = httpx2.AsyncHTTPTransport(uds=address, verify=False)
        return await self._http.handle_async_request(request)

    async def aclose(self) -> None:
        """It can be used again, then on the socket that is there."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        self._socket.close()


class GuestWire:
    """One guest server, by unix socket or URL. Several requests may be under way at once."""

    def __init__(self, machine_id: str, *, socket: Path | None, url: str | None, token: str):
        if (socket is None) == (url is None):
            raise ValueError("a guest has either a socket or a URL")
        self._machine_id = machine_id
        self._place: dict[str, Any] = {"socket": socket, "url": url}
        self._token = token
        self._closed = False
        self._lost: str | None = None
        self._gate = Gate()
        self.socket = None if socket is None else SocketFile(socket)
        self._transport = httpx2.AsyncHTTPTransport() if self.socket is None else _SocketTransport(self.socket)
        self._headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._base_url = url or "http://guest"

    def lose(self, reason: str) -> None:
        """What is sent from now on, and what is under way when the guest goes, finds it lost for that reason."""
        self._lost = reason

    async def aclose(self) -> None:
        """For good: what is sent afterwards finds the machine lost."""
        self._closed = True
        await self._transport.aclose()

    @asynccontextmanager
    async def apart(self, timeout_s: float) -> AsyncGenerator[None]:
        """No connection to the guest is open meanwhile: requests under way end first, others wait.

        Raises: `TimeoutError` when one is still under way after `timeout_s`.
        """
        async with self._gate.closed(timeout_s):
            await self._transport.aclose()
            yield

    @property
    def address(self) -> Address:
        return Address(**self._place, token=self._token)

    def place_and_token(self, token: str | None) -> dict[str, Any]:
        """Arguments for another client of the same guest; None for `token` means this one's."""
        return {**self._place, "token": self._token if token is None else token}

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json_body: object = None,
        body: bytes | None = None,
        files: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        answer_limit: int = ANSWER_LIMIT,
        repeatable: bool = True,
    ) -> Answer:
        """Any status is an answer. `repeatable`: safe to send once more after a dropped connection."""
        if self._lost is not None:
            raise MachineLost(self._lost)
        if self._closed:
            raise MachineLost(f"{self._machine_id}: {method} {path}: this client was closed")
        # By hand and not by a client, which would keep the guest's cookies and go where it says.
        try:
            request = httpx2.Request(
                method,
                self._base_url + path,
                params=query,
                headers=self._headers,
                json=json_body,
                content=body,
                files=files,
                data=form,
                extensions={"timeout": httpx2.Timeout(None).as_dict()},
            )
        except UnicodeEncodeError as error:
            reason = "half a character (a lone surrogate) cannot be sent"
            raise GuestError(f"{self._machine_id}: {method} {path}: {reason}") from error
        try:
            async with self._gate.through(), asyncio.timeout(timeout_s):
                return await self._exchange(request, answer_limit, repeatable)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise GuestTimeout(f"{self._machine_id}: no answer to {method} {path} within {timeout_s:g} s") from error
        except httpx2.NetworkError as error:
            reason = f"{self._machine_id}: {method} {path}: {one_line(str(error)) or 'disconnected'}"
            raise MachineLost(self._lost or reason) from error
        except httpx2.RemoteProtocolError as error:
            raise self._broken_protocol(f"{method} {path}", str(error)) from error
        except httpx2.HTTPError as error:
            raise GuestError(f"{self._machine_id}: {method} {path}: {one_line(str(error))}") from error

    async def get_json(self, path: str, model: type[Model], **options: Any) -> Model:
        return self.parse(await self.ok("GET", path, **options), model)

    async def post_json(self, path: str, json_body: object, model: type[Model], **options: Any) -> Model:
        return self.parse(await self.ok("POST", path, json_body=json_body, **options), model)

    async def ok(self, method: str, path: str, **options: Any) -> bytes:
        """Body of a 200 answer. Raises: `GuestError`, `GuestFileNotFound` with the guest's own reason."""
        answer = await self.send(method, path, **options)
        if answer.status != 200:
            raise self.refusal(answer)
        return answer.body

    def parse(self, body: bytes, model: type[Model]) -> Model:
        """Raises: `GuestError` when the body is not JSON of that form."""
        try:
            return model.model_validate(read_json(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "answer"
            raise self._malformed(f"{where}: {first['msg']}") from error
        except ValueError as error:
            raise self._malformed(str(error)) from error

    def refusal(self, answer: Answer) -> GuestError | MachineLost:
        """The guest's reason as an error; its words are cut to one line. Without its display a machine is lost."""
        try:
            said = _Refusal.model_validate(read_json(answer.body))
        except ValueError:
            said = _Refusal(message=answer.body[:_MESSAGE_LIMIT].decode(errors="replace"))
        kind = _KINDS.get(said.kind, GuestError)
        return kind(f"{self._machine_id}: {one_line(said.message) or f'HTTP {answer.status}'}")

    def _malformed(self, reason: str) -> GuestError:
        return GuestError(one_line(f"{self._machine_id}: the guest's answer is malformed: {reason}"))

    async def _exchange(self, request: httpx2.Request, answer_limit: int, repeatable: bool) -> Answer:
        try:
            return await self._exchange_once(request, answer_limit)
        except httpx2.ConnectError:
            raise
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            if not repeatable or not _was_dropped(error):
                raise
        return await self._exchange_once(request, answer_limit)

    async def _exchange_once(self, request: httpx2.Request, answer_limit: int) -> Answer:
        response = await self._transport.handle_async_request(request)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > answer_limit:
                    raise GuestError(f"{self._machine_id}: the answer is longer than {answer_limit} bytes")
        finally:
            await response.aclose()
        return Answer(response.status_code, bytes(body), response.headers)

    def _broken_protocol(self, what: str, reason: str) -> MachineLost | GuestError:
        if "disconnected" in reason or "closed" in reason:
            return MachineLost(self._lost or f"{self._machine_id}: {what}: {one_line(reason)}")
        return GuestError(f"{self._machine_id}: {what}: the guest does not speak HTTP: {one_line(reason)}")


def _was_dropped(error: Exception) -> bool:
    return isinstance(error, httpx2.NetworkError) or "disconnected" in str(error) or "closed" in str(error)
