"""The proxy by which machines reach out, against real servers on this machine that are allowed by name for the test."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import pytest_asyncio

from vm_pool.egress_proxy import Limits, Proxy, Resolve
from vm_pool.network import parse_network

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


class Server(NamedTuple):
    port: int
    heard: list[bytes]


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[Server]:
    """Answers each connection once, and keeps what it heard."""
    heard: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield Server(listening.sockets[0].getsockname()[1], heard)


class Client(NamedTuple):
    proxy: Proxy
    notes: list[tuple[str, str]]

    async def ask(self, data: bytes) -> bytes:
        """Everything that comes back until the end."""
        async with self.connection() as (reader, writer):
            writer.write(data)
            async with asyncio.timeout(10):
                return await reader.read(-1)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[tuple[StreamReader, StreamWriter]]:
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=near)
        its_reader, its_writer = await asyncio.open_unix_connection(sock=far)
        serving = asyncio.create_task(self._serve(its_reader, its_writer))
        try:
            yield reader, writer
        finally:
            writer.close()
            async with asyncio.timeout(10):
                await serving

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        await self.proxy.serve(await reader.read(10), reader, writer)


def client(network: str, *, limits: Limits | None = None, resolved: Sequence[str] = ()) -> Client:
    """`resolved` are the addresses that all names have."""

    async def resolve(name: str, port: int) -> Sequence[str]:
        return resolved

    return resolving(network, resolve, limits)


def resolving(network: str, resolve: Resolve, limits: Limits | None = None) -> Client:
    notes: list[tuple[str, str]] = []

    def note(name: str, outcome: str) -> None:
        notes.append((name, outcome))

    return Client(Proxy(parse_network(network), note=note, limits=limits, resolve=resolve), notes)


async def test_a_page_of_an_allowed_name_arrives_and_its_name_alone_is_noted(server):
    one = client(f"allow:shop.test=127.0.0.1:{server.port}")
    assert await one.ask(b"GET http://shop.test/secret/path HTTP/1.1\r\nHost: x\r\n\r\n") == ANSWER
    assert server.heard == [b"GET /secret/path HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"]
    assert one.notes == [("shop.test", "allowed")]


async def test_a_tunnel_carries_bytes_both_ways(server):
    one = client(f"allow:shop.test=127.0.0.1:{server.port}")
    async with one.connection() as (reader, writer):
        writer.write(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        writer.write(b"\x16\x03not really TLS")
        assert await reader.read(-1) == ANSWER
    assert server.heard == [b"\x16\x03not really TLS"]


async def test_a_second_request_on_a_connection_goes_nowhere(server):
    one = client(f"allow:shop.test=127.0.0.1:{server.port}")
    first = b"POST http://shop.test/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
    assert await one.ask(first + b"GET http://other.test/ HTTP/1.1\r\n\r\n") == ANSWER
    assert server.heard[0].endswith(b"\r\n\r\nab")


@pytest.mark.parametrize("ask", [b"GET http://evil.test/ HTTP/1.1\r\n\r\n", b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n"])
async def test_other_names_are_refused(server, ask):
    one = client(f"allow:shop.test=127.0.0.1:{server.port}", resolved=["127.0.0.1"])
    said = await one.ask(ask)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"evil.test is not among the names that this machine may reach" in said
    assert one.notes[0][0] == "evil.test"
    assert one.notes[0][1].startswith("refused: ")
    assert server.heard == []


@pytest.mark.parametrize("network", ["allow:rebound.test", "open"])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_into_this_host_or_a_private_network_is_refused(network, address):
    one = client(network, resolved=[address, "192.168.1.1"])
    said = await one.ask(b"CONNECT rebound.test:443 HTTP/1.1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"it is no public address" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1", "127.1"])
async def test_no_way_to_write_this_hosts_address_leads_to_it(server, host):
    said = await resolving("open", as_the_system_would).ask(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 403 ")
    assert server.heard == []


async def as_the_system_would(name: str, port: int) -> Sequence[str]:
    """The C library takes all the odd ways to write an IPv4 address."""
    if name == "localhost" or ":" in name:
        return ["127.0.0.1" if name == "localhost" else name]
    return [socket.inet_ntoa(socket.inet_aton(name))]


async def test_a_name_without_an_address_and_a_server_that_is_away_are_said():
    assert (await client("open").ask(b"CONNECT a.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    away = client(f"allow:a.test=127.0.0.1:{port}")
    assert (await away.ask(b"CONNECT a.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


async def test_what_may_be_carried_is_bounded(server):
    limits = Limits(total_bytes=100)
    one = client(f"allow:shop.test=127.0.0.1:{server.port}", limits=limits)
    ask = b"GET http://shop.test/ HTTP/1.1\r\n\r\n"
    assert len(await one.ask(ask)) < len(ANSWER)
    assert (await one.ask(ask)).startswith(b"HTTP/1.1 429 ")
    assert len(server.heard) == 1


@pytest.mark.parametrize("data", [b"G" * 200_000, b"GET http://a.test/ HTTP/1.1\r\nA: b"])
async def test_a_head_that_never_ends_is_ended(data):
    one = client("open", limits=Limits(head_s=0.3))
    assert (await one.ask(data))[:13] in (b"", b"HTTP/1.1 431 ")


async def test_a_silent_connection_is_ended(server):
    one = client(f"allow:shop.test=127.0.0.1:{server.port}", limits=Limits(idle_s=0.2))
    assert (await one.ask(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
