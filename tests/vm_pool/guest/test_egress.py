"""The machine's end of its way out: connections of programs are joined with tunnels of the host's."""

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from vm_pool.guest.egress import Egress, proxy_environment


class Way:
    def __init__(self, folder: Path):
        self.path = str(folder / "egress.sock")
        self.egress = Egress(self.path, port=0)
        self.egress.start()

    def tunnel(self) -> socket.socket:
        """As the host opens one."""
        tunnel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        tunnel.settimeout(10)
        tunnel.connect(self.path)
        return tunnel

    def program(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.egress.port), timeout=10)


@pytest.fixture
def way(tmp_path) -> Generator[Way]:
    way = Way(tmp_path)
    yield way
    way.egress.close()


def test_what_a_program_sends_comes_out_of_a_tunnel_and_back(way):
    with way.tunnel() as tunnel, way.program() as program:
        program.sendall(b"GET")
        assert tunnel.recv(10) == b"GET"
        tunnel.sendall(b"200" * 100_000)
        tunnel.shutdown(socket.SHUT_WR)
        with program.makefile("rb") as answer:
            assert answer.read() == b"200" * 100_000


def test_a_program_waits_for_a_tunnel(way):
    with way.program() as program:
        program.sendall(b"GET")
        with way.tunnel() as tunnel:
            assert tunnel.recv(10) == b"GET"


def test_a_tunnel_that_the_host_has_left_is_not_used(way):
    way.tunnel().close()
    with way.tunnel() as tunnel, way.program() as program:
        program.sendall(b"GET")
        assert tunnel.recv(10) == b"GET"


def test_the_end_of_either_side_is_the_end_of_both(way):
    with way.tunnel() as tunnel, way.program() as program:
        program.sendall(b"GET")
        assert tunnel.recv(10) == b"GET"
        program.close()
        assert tunnel.recv(10) == b""
    with way.tunnel() as tunnel, way.program() as program:
        program.sendall(b"GET")
        tunnel.recv(10)
        tunnel.close()
        assert program.recv(10) == b""


def test_the_socket_is_its_owners_alone(way):
    assert Path(way.path).stat().st_mode & 0o777 == 0o600


def test_programs_hear_of_the_proxy_in_both_spellings():
    said = proxy_environment()
    assert said["https_proxy"] == said["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert "127.0.0.1" in said["no_proxy"]
