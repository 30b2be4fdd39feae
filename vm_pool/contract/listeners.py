"""What listens on this host while it is seen whether a machine can reach it."""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress

_SLIRP_HOST, _SLIRP_HOST_6 = "10.0.2.2", "fec0::2"
"""Where QEMU's user-mode network shows the host."""


@contextmanager
def host_listening(name: str) -> Generator[list[str]]:
    """Listeners on loopback addresses and on an abstract socket; yields by what a machine may reach them."""
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = tcp.getsockname()[1]
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind("\0" + name)
        local.listen()
        places = [f"127.0.0.1:{port}", f"{_SLIRP_HOST}:{port}", f"gateway:{port}", f"@{name}"]
        if socket.has_ipv6:
            with suppress(OSError):  # it may be switched off
                six = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
                places += [f"[::1]:{six.getsockname()[1]}", f"[{_SLIRP_HOST_6}]:{six.getsockname()[1]}"]
        yield places
