"""A loopback TCP port in front of a guest's unix socket, as `ssh -L` or a cloud's forwarding would make one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


class Front:
    """Relays connections; `header` is put into each request that opens one, `hidden` answers 404 instead of `/v1/`."""

    def __init__(self, socket: Path, header: bytes, *, hidden: bool):
        self._socket = socket
        self._header = header
        self._hidden = hidden
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._relay(reader, writer)
        finally:
            writer.close()
            self.tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._header and not self._hidden:
            guest_reader, guest_writer = await asyncio.open_unix_connection(self._socket)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, guest_writer))
                group.create_task(_pump(guest_reader, writer))
            return
        while True:
            await self._one_request(reader, writer)

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next((int(x.split(b":")[1]) for x in lines if x.lower().startswith(b"content-length:")), 0)
        body = await reader.readexactly(length)
        if self._hidden and b" /v1/" in lines[0]:
            writer.write(b"HTTP/1.1 404 NOT FOUND\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\nNot Found")
            await writer.drain()
            return
        kept = [x for x in lines[1:] if x and not x.lower().startswith((b"authorization:", b"connection:"))]
        guest_reader, guest_writer = await asyncio.open_unix_connection(self._socket, limit=1 << 20)
        guest_writer.write(b"\r\n".join([lines[0], *kept, self._header, b"Connection: close", b"", b""]) + body)
        await guest_writer.drain()
        while data := await guest_reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        guest_writer.close()


@asynccontextmanager
async def in_front_of(socket: Path, *, token: str = "", hide_v1: bool = False) -> AsyncGenerator[str]:
    """The URL. With `token` the port needs none: it adds it, as OSWorld's guests ask for none."""
    front = Front(socket, f"Authorization: Bearer {token}".encode() if token else b"", hidden=hide_v1)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(front.tasks):
            task.cancel()
        await asyncio.gather(*front.tasks, return_exceptions=True)
        await server.wait_closed()
