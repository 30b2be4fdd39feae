"""Guests that answer with more than anybody asked for, a byte at a time, or never: time and memory stay bounded."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vm_pool.errors import GuestError, GuestTimeout, MachineError
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_wire import ANSWER_LIMIT
from vm_pool.machine import Machine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.providers.fake import fake_info

INFO = fake_info("guest-0", width=800, height=600)
OK = b"HTTP/1.1 200 OK\r\n"
PIECE = b"x" * 65536
MEBIBYTE = 1 << 20


class Flood:
    """A guest that answers every request with the same pieces; counts what it got rid of."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], pause_s: float):
        self._pieces = pieces
        self._pause_s = pause_s
        self.sent = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in self._pieces():
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
                await asyncio.sleep(self._pause_s)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def flooding(
    socket: Path, pieces: Callable[[], Iterator[bytes]], *, pause_s: float = 0
) -> AsyncGenerator[tuple[Flood, GuestMachine]]:
    flood = Flood(pieces, pause_s)
    server = await asyncio.start_unix_server(flood.serve, socket)
    machine = GuestMachine(INFO, socket=socket, token="t")
    try:
        yield flood, machine
    finally:
        await machine.aclose()
        server.close()
        for task in flood.tasks:
            task.cancel()
        await asyncio.gather(*flood.tasks, return_exceptions=True)


def without_end() -> Iterator[bytes]:
    return itertools.chain([OK, b"\r\n"], itertools.repeat(PIECE))


def ten_gigabytes() -> Iterator[bytes]:
    return itertools.chain([OK, b"Content-Length: 10737418240\r\n\r\n"], itertools.repeat(PIECE, 163_840))


def chunks_without_end() -> Iterator[bytes]:
    return itertools.chain(
        [OK, b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"10000\r\n" + PIECE + b"\r\n")
    )


def headers_without_end() -> Iterator[bytes]:
    return itertools.chain([OK], (b"X-%d: y\r\n" % number for number in itertools.count()))


def one_header_without_end() -> Iterator[bytes]:
    return itertools.chain([OK, b"X: "], itertools.repeat(PIECE))


CALLS: dict[str, Callable[[Machine], Awaitable[object]]] = {
    "windows": lambda machine: machine.windows(),
    "a picture": lambda machine: machine.screenshot(),
    "a command": lambda machine: machine.run(["true"]),
    "a small file": lambda machine: machine.read("/x", max_bytes=1000),
}


@pytest.mark.parametrize(
    "pieces", [without_end, ten_gigabytes, chunks_without_end, headers_without_end, one_header_without_end]
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_of_an_answer_without_end_no_more_is_taken_than_its_limit(tmp_path, pieces, call):
    async with flooding(tmp_path / "s", pieces) as (flood, machine):
        with pytest.raises(GuestError):
            await call(machine)
        assert flood.sent < ANSWER_LIMIT + 4 * MEBIBYTE


@pytest.mark.parametrize(
    "beginning",
    [b"", OK, OK + b"X: ", OK + b"Content-Length: 1000000\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"],
)
async def test_an_answer_that_comes_a_byte_at_a_time_has_no_more_time_than_another(tmp_path, beginning):
    """The time is that of the whole answer: a byte now and then does not extend it."""

    def drops() -> Iterator[bytes]:
        return itertools.chain([beginning] if beginning else [], itertools.repeat(b"1"))

    async with flooding(tmp_path / "s", drops, pause_s=0.01) as (flood, machine):
        with pytest.raises(GuestTimeout, match=r"no answer to GET /v1/frame within 0.3 s"):
            await machine._wire.ok("GET", "/v1/frame", timeout_s=0.3)
        assert flood.sent > 0


async def test_promises_of_an_answer_without_end_are_no_answer(tmp_path):
    def interim() -> Iterator[bytes]:
        return itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")

    async with flooding(tmp_path / "s", interim) as (_, machine):
        with pytest.raises(GuestTimeout):
            await machine._wire.ok("GET", "/v1/frame", timeout_s=0.3)


async def test_a_guest_that_closes_and_closes_again_is_asked_twice_and_then_lost(tmp_path):
    async with flooding(tmp_path / "s", lambda: iter([b""])) as (_, machine):
        with pytest.raises(MachineError):
            await machine.windows()


@pytest.mark.parametrize("pieces", [without_end, ten_gigabytes, chunks_without_end, headers_without_end])
async def test_osworlds_routes_are_no_more_generous(tmp_path, pieces):
    async with flooding(tmp_path / "s", pieces) as (flood, _):
        machine = OSWorldMachine(INFO, socket=tmp_path / "s")
        for call in (machine.screenshot(), machine.tree(), machine.read("/x", max_bytes=1000)):
            with pytest.raises(GuestError):
                await call
        await machine.aclose()
        assert flood.sent < 100 * MEBIBYTE
