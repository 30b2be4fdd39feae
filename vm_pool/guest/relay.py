"""Joins connections of programs with tunnels of the host's, for machines that reach nothing by themselves.

Part of our guest server (`egress.py`); and a program by itself for guests of others, whose host reaches them by TCP:

    relay.py TUNNEL_PORT PROXY_PORT

It knows the standard library only, and any Python that such a guest may have.
"""

import contextlib
import queue
import select
import socket
import sys
import threading
from collections.abc import Iterator

GREETING_BYTES = 16
"""By which tunnels over TCP begin: the host's name for the machine's present life. In a copy of a machine those of the
original seem to be open for ever."""
_WAIT_S = 20.0
"""How long a connection waits for a tunnel when all are in use."""
_GREETING_S = 10.0
_CHUNK = 65536


class Relay:
    """Between a listener for tunnels and one for programs. `greeted`: tunnels begin with a greeting."""

    def __init__(self, from_host: socket.socket, from_programs: socket.socket, *, greeted: bool = False):
        self._tunnels: queue.Queue[tuple[bytes, socket.socket]] = queue.Queue()
        self._from_host = from_host
        self._from_programs = from_programs
        self._greeted = greeted
        self._life = b""

    @property
    def port(self) -> int:
        return int(self._from_programs.getsockname()[1])

    @property
    def waiting(self) -> int:
        """Tunnels that no connection uses."""
        return self._tunnels.qsize()

    def start(self) -> "list[threading.Thread]":
        threads = [threading.Thread(target=do, daemon=True) for do in (self._take_tunnels, self._take_connections)]
        for thread in threads:
            thread.start()
        return threads

    def close(self) -> None:
        """Make the threads of `start` end, which close the listeners."""
        for listener in (self._from_host, self._from_programs):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def _take_tunnels(self) -> None:
        for tunnel in accepted(self._from_host):
            if self._greeted:
                threading.Thread(target=self._greet, args=(tunnel,), daemon=True).start()
            else:
                self._tunnels.put((b"", tunnel))

    def _greet(self, tunnel: socket.socket) -> None:
        """The newest life is the present one, and tunnels of others lead nowhere any more."""
        try:
            tunnel.settimeout(_GREETING_S)
            life = b""
            while len(life) < GREETING_BYTES:
                part = tunnel.recv(GREETING_BYTES - len(life))
                if not part:
                    raise OSError("it ended")
                life += part
            tunnel.settimeout(None)
        except OSError:
            tunnel.close()
            return
        self._life = life
        self._tunnels.put((life, tunnel))

    def _take_connections(self) -> None:
        for connection in accepted(self._from_programs):
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, queue.Empty), self._open_tunnel() as tunnel:
            join(connection, tunnel)

    def _open_tunnel(self) -> socket.socket:
        """One that the host has not left meanwhile, as it has left all in a copy. Raises: `queue.Empty`."""
        while True:
            life, tunnel = self._tunnels.get(timeout=_WAIT_S)
            if life == self._life and not select.select([tunnel], [], [], 0)[0]:
                return tunnel
            tunnel.close()


def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections to a listener until it is shut down, and then it is closed.

    Closed here alone: its number might belong to another socket by the time `accept` gets to it.
    """
    with listener, contextlib.suppress(OSError):
        while True:
            yield listener.accept()[0]


def join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways, each in a thread of its own, until one side ends."""
    back = threading.Thread(target=_carry_to, args=(other, one), daemon=True)
    back.start()
    _carry_to(one, other)
    back.join()


def _carry_to(source: socket.socket, target: socket.socket) -> None:
    try:
        while True:
            data = source.recv(_CHUNK)
            if not data:
                return
            target.sendall(data)
    except OSError:
        return
    finally:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((host, port))
    listener.listen(64)
    return listener


if __name__ == "__main__":
    tunnels, proxy = (int(word) for word in sys.argv[1:3])
    relay = Relay(_listen("0.0.0.0", tunnels), _listen("127.0.0.1", proxy), greeted=True)  # noqa: S104 - the host's way in
    for thread in relay.start():
        thread.join()
