"""The relay as a program of its own, as it runs in guests of others: tunnels of an earlier life are not used."""

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from vm_pool.guest import relay

PROGRAM = Path(relay.__file__)
FIRST, SECOND = b"1" * relay.GREETING_BYTES, b"2" * relay.GREETING_BYTES


class Guest:
    def __init__(self) -> None:
        self.tunnels, self.proxy = free_port(), free_port()
        command = [sys.executable, "-I", str(PROGRAM), str(self.tunnels), str(self.proxy)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def tunnel(self, life: bytes) -> socket.socket:
        """As the host opens one."""
        tunnel = connected(self.tunnels)
        tunnel.sendall(life)
        return tunnel

    def program(self, said: bytes) -> socket.socket:
        program = connected(self.proxy)
        program.sendall(said)
        return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connected(port: int) -> socket.socket:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        time.sleep(0.01)
    raise TimeoutError(port)


@pytest.fixture
def guest() -> Generator[Guest]:
    guest = Guest()
    yield guest
    guest.process.kill()
    guest.process.wait()


def test_what_a_program_sends_comes_out_of_a_tunnel_without_its_greeting_and_back(guest: Guest) -> None:
    with guest.tunnel(FIRST) as tunnel, guest.program(b"GET") as program:
        assert tunnel.recv(10) == b"GET"
        tunnel.sendall(b"200")
        assert program.recv(10) == b"200"


def test_a_tunnel_of_an_earlier_life_is_not_used_though_it_seems_open() -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    carrying = relay.Relay(*listeners, greeted=True)
    threads = carrying.start()
    ports = [listener.getsockname()[1] for listener in listeners]
    with connected(ports[0]) as earlier, connected(ports[0]) as present:
        for tunnel, life in ((earlier, FIRST), (present, SECOND)):
            before = carrying.waiting
            tunnel.sendall(life)
            while carrying.waiting == before:
                time.sleep(0.001)
        with connected(ports[1]) as program:
            program.sendall(b"GET")
            assert present.recv(10) == b"GET"
            assert earlier.recv(10) == b""
    carrying.close()
    for thread in threads:
        thread.join(timeout=10)
    assert [listener.fileno() for listener in listeners] == [-1, -1]


def test_a_tunnel_without_a_greeting_is_not_used(guest: Guest) -> None:
    with connected(guest.tunnels) as silent, guest.program(b"GET"):
        silent.sendall(b"half")
        silent.shutdown(socket.SHUT_WR)
        assert silent.recv(10) == b""
        with guest.tunnel(FIRST) as tunnel:
            assert tunnel.recv(10) == b"GET"
