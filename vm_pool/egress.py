"""Ways out of machines: tunnels that this host opens to each, and a proxy at this end of them.

A machine reaches nothing by itself. Programs in it find a proxy on their own loopback interface; whatever connects
there is handed one of the tunnels (`guest/relay.py`), which are connections to a socket of the machine's.
"""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vm_pool.egress_proxy import Limits, Proxy
from vm_pool.guest_wire import SocketFile
from vm_pool.network import Network

_AGAIN_S = 0.2
"""Between two tries to open a tunnel, and between tunnels that end unused: a machine may close them as it likes."""
_CHUNK = 65536
_LONGEST_LOG = 1 << 20


class Exits:
    """The ways out of one provider's machines, by machine id."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._open: dict[str, _Exit] = {}

    def open(self, machine_id: str, network: Network, entry: "Path | TcpEntry", log: Path) -> None:
        """Begin for a machine, if its network goes by the proxy. `log` is where names of hosts are noted.

        `entry`: the unix socket, or the port, by which tunnels get into it.
        """
        if network.by_proxy:
            found = entry if isinstance(entry, TcpEntry) else _UnixEntry(SocketFile(entry))
            self._open[machine_id] = _Exit(found, Proxy(network, note=_noting(log), limits=self._limits))

    async def close(self, machine_id: str) -> None:
        """End all its connections; idempotent."""
        if (leaving := self._open.pop(machine_id, None)) is not None:
            await leaving.aclose()


class TcpEntry(NamedTuple):
    """A port of this host's loopback interface that leads into a machine."""

    port: int
    greeting: bytes
    """With which each tunnel begins: the name of the machine's present life, as `guest/relay.py` knows it."""

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Raises: `OSError`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_CHUNK)
        writer.write(self.greeting)
        return reader, writer

    def close(self) -> None:
        """Nothing is held."""


class _UnixEntry(NamedTuple):
    socket: SocketFile

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Raises: `OSError`."""
        return await asyncio.open_unix_connection(self.socket.address(), limit=_CHUNK)

    def close(self) -> None:
        self.socket.close()


class _Exit:
    """Keeps as many tunnels open as connections may be under way at once."""

    def __init__(self, entry: TcpEntry | _UnixEntry, proxy: Proxy) -> None:
        self._entry = entry
        self._proxy = proxy
        self._tasks = [asyncio.create_task(self._keep_one()) for _ in range(proxy.limits.connections)]

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._entry.close()

    async def _keep_one(self) -> None:
        while True:
            if not await self._use_one():
                await asyncio.sleep(_AGAIN_S)

    async def _use_one(self) -> bool:
        """Whether a tunnel could be opened and was used."""
        try:
            reader, writer = await self._entry.connect()
        except OSError:
            return False
        try:
            begun = await reader.read(_CHUNK)
            if begun:
                await self._proxy.serve(begun, reader, writer)
            return bool(begun)
        except OSError:
            return False
        finally:
            writer.close()


def _noting(log: Path) -> Callable[[str, str], None]:
    def note(name: str, outcome: str) -> None:
        """What cannot be noted is not worth a machine."""
        with suppress(OSError):
            if not log.exists() or log.stat().st_size < _LONGEST_LOG:
                with log.open("a", encoding="utf-8") as file:
                    log.chmod(0o600)
                    file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {name} {outcome}\n")

    return note
