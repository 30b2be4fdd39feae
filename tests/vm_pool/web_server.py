"""A real web server on this machine, which machines may reach only where it is allowed by name."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

PAGE = b"a page of this machine's\n"
GET = (
    "import sys, urllib.request, urllib.error\n"
    "try: print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode(), end='')\n"
    "except urllib.error.HTTPError as error: print(error.code, error.read().decode(), end='')\n"
)
"""Run in a machine with a URL: prints the page, or the status and reason of a refusal."""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
"""Run in a machine with an address and a port, past any proxy."""


@asynccontextmanager
async def web_server() -> AsyncGenerator[int]:
    """Its port."""
    body = PAGE * 20_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
