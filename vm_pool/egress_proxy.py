"""The way out of machines: an HTTP proxy that reaches what a `Network` admits, and nothing on this host or near it.

It is handed connections and listens nowhere. Names are resolved here and the address that was checked is the one that
is connected to, so that a name which resolves to something else a moment later gains nothing. What it notes are names
of hosts, never paths or content.
"""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from vm_pool.addresses import why_unreachable
from vm_pool.egress_request import LONGEST_HEAD, Asked, BadRequest, parse_request
from vm_pool.network import Network, Server
from vm_pool.types import Frozen

_CHUNK = 65536
_READY = b"HTTP/1.1 200 Connection established\r\n\r\n"

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Note = Callable[[str, str], None]
"""Called with a host's name and what became of the request for it."""


class Limits(Frozen):
    """Of one machine."""

    connections: int = 32
    """At once; more wait inside the machine."""
    total_bytes: int = 2 << 30
    """In both directions, while it runs."""
    head_s: float = 15.0
    """For the head of a request, once it has begun."""
    connect_s: float = 15.0
    idle_s: float = 120.0
    """Without a byte in either direction."""


async def resolve(name: str, port: int) -> Sequence[str]:
    """Addresses of a name, best first. Raises: `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Proxy:
    """Serves one machine. Raises nothing that a machine or a server could cause."""

    def __init__(
        self, network: Network, *, note: Note, limits: Limits | None = None, resolve: Resolve = resolve
    ) -> None:
        self._network = network
        self._note = note
        self._resolve = resolve
        self.limits = limits or Limits()
        self.bytes_left = self.limits.total_bytes

    async def serve(self, begun: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, of which the first bytes were read; closes it."""
        try:
            await self._serve(begun, reader, writer)
        except BadRequest as refusal:
            with suppress(OSError):
                writer.write(_answer(refusal))
                await writer.drain()
        except (OSError, TimeoutError):
            return  # one side went away or said nothing for too long: closing is all there is to say
        finally:
            writer.close()

    async def _serve(self, begun: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        head, rest = await self._read_head(begun, reader)
        asked = parse_request(head)
        try:
            to_server = await self._connect(asked)
        except BadRequest as refusal:
            self._note(asked.name, f"refused: {refusal}")
            raise
        self._note(asked.name, "allowed")
        try:
            if asked.head:
                await self._exchange(asked, rest, (reader, writer), to_server)
            else:
                writer.write(_READY)
                to_server[1].write(self._counted(rest))
                await self._relay((reader, writer), to_server)
        finally:
            to_server[1].close()

    async def _read_head(self, begun: bytes, reader: StreamReader) -> tuple[bytes, bytes]:
        """Up to its empty line, and what came after. Raises: `BadRequest`, `TimeoutError`."""
        held = begun
        async with asyncio.timeout(self.limits.head_s):
            while b"\r\n\r\n" not in held:
                data = await reader.read(_CHUNK)
                if not data or len(held) > LONGEST_HEAD:
                    raise BadRequest(431, "the head of the request is cut short or too long")
                held += data
        head, end, rest = held.partition(b"\r\n\r\n")
        return head + end, rest

    async def _connect(self, asked: Asked) -> tuple[StreamReader, StreamWriter]:
        """Raises: `BadRequest` with the reason that the machine hears."""
        if not self._network.admits(asked.name):
            raise BadRequest(403, f"{asked.name} is not among the names that this machine may reach")
        if self.bytes_left <= 0:
            raise BadRequest(429, "this machine has used up what it may send and receive")
        server = self._network.servers.get(asked.name) or await self._public_server(asked)
        try:
            async with asyncio.timeout(self.limits.connect_s):
                return await asyncio.open_connection(server.address, server.port)
        except (OSError, TimeoutError) as error:
            raise BadRequest(502, f"{asked.name} cannot be reached") from error

    async def _public_server(self, asked: Asked) -> Server:
        try:
            async with asyncio.timeout(self.limits.connect_s):
                addresses = await self._resolve(asked.name, asked.port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise BadRequest(502, f"{asked.name} has no address") from error
        for address in addresses:
            if why_unreachable(address) is None:
                return Server(address, asked.port)
        reason = why_unreachable(addresses[0]) if addresses else "it has none"
        raise BadRequest(403, f"the address of {asked.name} may not be reached: {reason}")

    async def _exchange(
        self,
        asked: Asked,
        rest: bytes,
        client: tuple[StreamReader, StreamWriter],
        server: tuple[StreamReader, StreamWriter],
    ) -> None:
        """One request and its answer; what the client sends beyond its body goes nowhere."""
        server[1].write(self._counted(asked.head + rest[: asked.body_bytes]))
        missing = asked.body_bytes - len(rest)
        while missing > 0:
            data = await self._read(client[0], min(missing, _CHUNK))
            if not data:
                return
            missing -= len(data)
            server[1].write(data)
            await server[1].drain()
        await self._pump(server[0], client[1])

    async def _relay(
        self, client: tuple[StreamReader, StreamWriter], server: tuple[StreamReader, StreamWriter]
    ) -> None:
        """Both ways, until one side ends. What was read by then is written."""
        ways = [
            asyncio.create_task(self._pump(client[0], server[1])),
            asyncio.create_task(self._pump(server[0], client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, source: StreamReader, target: StreamWriter) -> None:
        while data := await self._read(source, _CHUNK):
            target.write(data)
            await target.drain()

    async def _read(self, source: StreamReader, most: int) -> bytes:
        """Empty at the end, and when the machine has used up its bytes. Raises: `TimeoutError`, `OSError`."""
        async with asyncio.timeout(self.limits.idle_s):
            return self._counted(await source.read(most))

    def _counted(self, data: bytes) -> bytes:
        if self.bytes_left < len(data):
            self.bytes_left = 0
            return b""
        self.bytes_left -= len(data)
        return data


def _answer(refusal: BadRequest) -> bytes:
    body = f"agent-s3: {refusal}\n".encode()
    head = f"HTTP/1.1 {refusal.status} Refused\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
