"""Both ends of virtual machines' control channel, joined by a socket in place of a serial port."""

import asyncio
import json
import os
import select
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from vm_pool.errors import MachineLost
from vm_pool.guest.channel import Calls, Channel
from vm_pool.guest.channel_wire import (
    CREDIT,
    DATA,
    HELLO,
    LONGEST_PAYLOAD,
    OPEN,
    RESYNC,
    WELCOME,
    WINDOW,
    Decoder,
    Frame,
    encode,
    welcome,
)
from vm_pool.providers.vm_channel import HostChannel, Identity

IDENTITY = Identity(token="secret", machine_id="0" * 32, hostname="desktop-1", size="800x600")
BIG = os.urandom(3 * WINDOW + 12345)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="s3c-") as path:
        yield Path(path)


class Guest:
    """A guest's end in a thread of its own, and an echoing server in the guest server's place.

    The port is a socket to which one host after another may connect.
    """

    def __init__(self, folder: Path):
        self.hellos: list[dict[str, object]] = []
        self.clocks: list[float] = []
        self.port, self.server, self.other = folder / "port", folder / "server", folder / "other"
        self._port_end, self._inner = socket.socketpair()
        self._listeners = [_listening(self.port), _listening(self.server), _listening(self.other)]
        self._wake, self._wakes = os.pipe()
        self._closed = False

    def start(self) -> None:
        calls = Calls(self._hear, self.clocks.append, self._look)
        channel = Channel(self._inner.fileno(), str(self.server), calls, {b"other": str(self.other)})
        turns = (lambda: channel.serve(self._wake), self._carry, self._echo, self._greet)
        self._threads = [_in_thread(turn) for turn in turns]

    def close(self) -> None:
        self._closed = True
        os.write(self._wakes, b"x")
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
        self._port_end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (*self._listeners, self._port_end, self._inner):
            end.close()
        os.close(self._wake)
        os.close(self._wakes)

    def _hear(self, text: bytes) -> None:
        self.hellos.append(json.loads(text))

    def _look(self) -> None:
        if self._closed:
            raise OSError("the guest ends")

    def _carry(self) -> None:
        """As QEMU does: the port goes on when its other end changes hands."""
        while True:
            host, _ = self._listeners[0].accept()
            with host:
                while self._carry_some(host):
                    pass

    def _carry_some(self, host: socket.socket) -> bool:
        """False when this host has gone. One thread for both ways: none may take what is for the next host."""
        for source in select.select([host, self._port_end], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return False
            try:
                (self._port_end if source is host else host).sendall(data)
            except OSError:
                return False
        return True

    def _echo(self) -> None:
        while True:
            connection, _ = self._listeners[1].accept()
            _in_thread(lambda connection=connection: _repeat(connection))

    def _greet(self) -> None:
        while True:
            connection, _ = self._listeners[2].accept()
            with connection:
                connection.sendall(b"the other one")


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    def quietly() -> None:
        try:
            work()
        except OSError:
            return

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    return thread


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def _repeat(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


@asynccontextmanager
async def joined(guest: Guest, listen: Path):
    channel = HostChannel(guest.port, listen, clock=lambda: 1234.5)
    await channel.open(IDENTITY)
    await asyncio.wait_for(channel.ready(), 20)
    try:
        yield channel
    finally:
        await channel.close()


async def echoed(listen: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(listen))
    writer.write(data)
    got = await asyncio.wait_for(reader.readexactly(len(data)), 60)
    await _close(writer)
    return got


@pytest.fixture
def guest(folder):
    made = Guest(folder)
    made.start()
    yield made
    made.close()


async def test_a_connection_that_comes_as_the_machine_ends_ends_too(guest, folder):
    """It is what tells a client that the machine is gone."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        async with joined(guest, folder / "listen") as channel:
            client.connect(str(folder / "listen"))
            await asyncio.sleep(0)  # accepted, and no task has seen it yet
            await channel.close()
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(loop.sock_recv(client, 1), 10) == b""


async def test_the_guest_hears_who_it_is_before_anything_else(guest, folder):
    async with joined(guest, folder / "listen"):
        assert guest.hellos == [IDENTITY.model_dump()]
        await _until(lambda: bool(guest.clocks))
        assert guest.clocks == [1234.5]
        assert (folder / "listen").stat().st_mode & 0o777 == 0o600


async def test_a_machine_hears_who_it_is_again_and_its_connections_end(guest, folder):
    other = IDENTITY.model_copy(update={"token": "another", "hostname": "desktop-2"})
    async with joined(guest, folder / "listen") as channel:
        reader, writer = await asyncio.open_unix_connection(str(folder / "listen"))
        writer.write(b"of the first session")
        assert await reader.readexactly(2) == b"of"
        await channel.open_again(other)
        await asyncio.wait_for(channel.ready(), 20)
        assert guest.hellos == [IDENTITY.model_dump(), other.model_dump()]
        await asyncio.wait_for(reader.read(), 20)
        await _close(writer)
        await _until(lambda: len(guest.clocks) == 2)
        assert await echoed(folder / "listen", BIG) == BIG


async def test_many_connections_carry_more_than_a_window_at_once(guest, folder):
    async with joined(guest, folder / "listen"):
        answers = await asyncio.gather(*(echoed(folder / "listen", BIG) for _ in range(4)))
        assert all(answer == BIG for answer in answers)


async def test_a_client_that_does_not_read_does_not_hold_up_the_others(guest, folder):
    async with joined(guest, folder / "listen"):
        reader, writer = await asyncio.open_unix_connection(str(folder / "listen"), limit=1024)
        writer.write(BIG)
        assert await echoed(folder / "listen", b"meanwhile") == b"meanwhile"
        assert await asyncio.wait_for(reader.readexactly(len(BIG)), 60) == BIG
        await _close(writer)


async def test_a_new_host_ends_the_connections_of_the_last_one_and_starts_clean(guest, folder):
    async with joined(guest, folder / "first"):
        reader, writer = await asyncio.open_unix_connection(str(folder / "first"))
        writer.write(b"half of something")
        assert await reader.readexactly(4) == b"half"
    assert await asyncio.wait_for(reader.read(), 20) in (b" of something", b"")
    await _close(writer)
    async with joined(guest, folder / "second"):
        assert await echoed(folder / "second", BIG) == BIG
    assert len(guest.hellos) == 2


async def test_connections_can_lead_to_another_server_of_the_machine(guest, folder):
    others = {b"other": folder / "to-other", b"unknown": folder / "to-unknown"}
    channel = HostChannel(guest.port, folder / "listen", others=others)
    await channel.open(IDENTITY)
    await asyncio.wait_for(channel.ready(), 20)
    said = []
    for path in others.values():
        reader, writer = await asyncio.open_unix_connection(str(path))
        said.append(await asyncio.wait_for(reader.read(-1), 20))
        await _close(writer)
    assert said == [b"the other one", b""]
    assert await echoed(folder / "listen", b"x") == b"x"
    await channel.close()
    assert not any(path.exists() for path in others.values())


async def test_a_closed_channel_leaves_no_socket(guest, folder):
    async with joined(guest, folder / "listen"):
        pass
    assert not (folder / "listen").exists()


@asynccontextmanager
async def hostile(folder: Path, answer: Callable[[bytes], bytes], then: bytes = b""):
    """A guest that answers a session's id, and a new connection, with whatever it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await converse(reader, writer)
        writer.close()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(RESYNC))
        decoder = Decoder()
        while data := await reader.read(65536):
            for frame in decoder.feed(data):
                if frame.kind == HELLO:
                    writer.write(answer(frame.payload[:16]))
                elif frame.kind == OPEN:
                    writer.write(then)

    async with await asyncio.start_unix_server(serve, str(folder / "port")):
        channel = HostChannel(folder / "port", folder / "listen")
        await channel.open(IDENTITY)
        try:
            yield channel
        finally:
            await channel.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        encode(Frame(WELCOME, 0, b"again")),
        b"\xffnonsense" * 10,
        encode(Frame(CREDIT, 1, b"\xff\xff\xff\xff")),
        encode(Frame(DATA, 1, bytes(LONGEST_PAYLOAD))) * 256,
    ],
)
async def test_a_guest_that_breaks_the_protocol_loses_its_connections(folder, nonsense):
    async with hostile(folder, welcome, nonsense) as channel:
        await asyncio.wait_for(channel.ready(), 20)
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(folder / "listen"))
        await _until(lambda: not (folder / "listen").exists())  # and it takes nothing meanwhile
        with client, suppress(ConnectionResetError):
            while await asyncio.to_thread(client.recv, 1 << 20):
                pass


def _welcome_another(_session: bytes) -> bytes:
    return welcome(bytes(16)) * 3


async def test_only_the_answer_to_this_session_opens_it(folder):
    async with hostile(folder, _welcome_another) as channel:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.ready(), 0.2)
        assert not (folder / "listen").exists()


async def test_a_machine_that_ends_before_it_answers_is_lost(folder):
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, str(folder / "port")):
        channel = HostChannel(folder / "port", folder / "listen")
        await channel.open(IDENTITY)
        with pytest.raises(MachineLost, match="ended before the machine answered"):
            await asyncio.wait_for(channel.ready(), 20)
        await channel.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0.005)
