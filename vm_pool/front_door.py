"""A port of this machine's loopback that leads to a guest server, so that other programs of the user can speak to it.

Bytes are passed on as they are: whoever comes in still needs the guest's token.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from vm_pool.guest_wire import SocketFile
from vm_pool.machine import Address

_CHUNK = 64 * 1024
_MOST_CALLERS = 64


@asynccontextmanager
async def front_door(address: Address) -> AsyncGenerator[str]:
    """The URL of a guest while the block runs; that of one which has a URL already is its own. Raises: `OSError`."""
    if address.socket is None:
        yield address.url or ""
        return
    door = _Door(address.socket)
    server = await asyncio.start_server(door.let_in, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.close()
        await door.close()


class _Door:
    def __init__(self, socket: Path) -> None:
        self._socket = SocketFile(socket)
        self._inside: set[asyncio.Task[None]] = set()

    def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One caller, until either side has had enough."""
        if len(self._inside) >= _MOST_CALLERS:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # the guest is gone, or the caller
                await self._through(reader, writer)
        finally:
            writer.close()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket.address())
        try:
            ways = [asyncio.ensure_future(_pass_on(reader, back)), asyncio.ensure_future(_pass_on(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            back.close()

    async def close(self) -> None:
        for task in list(self._inside):
            task.cancel()
        await asyncio.gather(*self._inside, return_exceptions=True)
        self._socket.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
