"""The machine's end of its way out: a proxy's address on the loopback interface, carried to the host.

The host opens tunnels to a unix socket here and waits. Each connection to the proxy's address is joined with one of
them, so that nothing in the machine has to reach the host by itself.
"""

import contextlib
import queue
import select
import socket
import threading

from .http_wire import listen_unix

HOST, PORT = "127.0.0.1", 3128
_WAIT_S = 20.0
"""How long a connection waits for a tunnel when all are in use."""
_CHUNK = 65536
_NEAR = "localhost,127.0.0.1,::1"


def proxy_environment() -> dict[str, str]:
    """What tells programs of the proxy; some read the one spelling, some the other."""
    url = f"http://{HOST}:{PORT}"
    named = {"http_proxy": url, "https_proxy": url, "no_proxy": _NEAR}
    return {**named, **{name.upper(): value for name, value in named.items()}}


class Egress:
    """Listens at the proxy's address and on the socket for tunnels. Raises on making: `OSError`."""

    def __init__(self, path: str, port: int = PORT):
        self._tunnels: queue.Queue[socket.socket] = queue.Queue()
        self._from_host = listen_unix(path)
        self._from_programs = socket.create_server((HOST, port), backlog=64)

    @property
    def port(self) -> int:
        return int(self._from_programs.getsockname()[1])

    def start(self) -> None:
        for target in (self._take_tunnels, self._take_connections):
            threading.Thread(target=target, daemon=True).start()

    def close(self) -> None:
        for listener in (self._from_host, self._from_programs):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _take_tunnels(self) -> None:
        while True:
            try:
                self._tunnels.put(self._from_host.accept()[0])
            except OSError:
                return

    def _take_connections(self) -> None:
        while True:
            try:
                connection, _ = self._from_programs.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, queue.Empty), self._open_tunnel() as tunnel:
            join(connection, tunnel)

    def _open_tunnel(self) -> socket.socket:
        """One that the host has not closed meanwhile, as all are in a copy of a machine. Raises: `queue.Empty`."""
        while True:
            tunnel = self._tunnels.get(timeout=_WAIT_S)
            if not select.select([tunnel], [], [], 0)[0]:
                return tunnel
            tunnel.close()


def join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways, each in a thread of its own, until one side ends."""
    back = threading.Thread(target=_carry_to, args=(other, one), daemon=True)
    back.start()
    _carry_to(one, other)
    back.join()


def _carry_to(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
    except OSError:
        return
    finally:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
