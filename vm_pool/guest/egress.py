"""The machine's end of its way out: a proxy's address on the loopback interface, carried to the host.

The host opens tunnels to a unix socket here and waits. Each connection to the proxy's address is joined with one of
them, so that nothing in the machine has to reach the host by itself.
"""

import socket

from .http_wire import listen_unix
from .relay import Relay

HOST, PORT = "127.0.0.1", 3128
_NEAR = "localhost,127.0.0.1,::1"


def proxy_environment() -> dict[str, str]:
    """What tells programs of the proxy; some read the one spelling, some the other."""
    url = f"http://{HOST}:{PORT}"
    named = {"http_proxy": url, "https_proxy": url, "no_proxy": _NEAR}
    return {**named, **{name.upper(): value for name, value in named.items()}}


class Egress(Relay):
    """Listens at the proxy's address and on the socket for tunnels. Raises on making: `OSError`."""

    def __init__(self, path: str, port: int = PORT):
        super().__init__(listen_unix(path), socket.create_server((HOST, port), backlog=64))
