"""The guest's small HTTP server, over a real socket."""

import json
import socket
import threading
from pathlib import Path

import pytest

from vm_pool.guest.errors import Refused
from vm_pool.guest.forms import form_fields
from vm_pool.guest.http_wire import Request, Response, Server, json_response, listen_unix


def echo(request: Request):
    return json_response(
        {"method": request.method, "path": request.path, "query": request.query, "size": len(request.body)}
    )


HEAD_S = 0.3
MOST = 8


def strangers(head: Request) -> Response | None:
    assert head.body == b""
    return json_response({"who": "are you"}, 401) if "stranger" in head.headers else None


@pytest.fixture
def idle() -> threading.Event:
    return threading.Event()


@pytest.fixture
def address(tmp_path: Path, idle: threading.Event):
    path = str(tmp_path / "s")
    server = Server(listen_unix(path), echo, on_idle=idle.set, gate=strangers, head_s=HEAD_S, most=MOST)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield path
    server.close()


def talk(address: str, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def answers(raw: bytes) -> list[dict[str, object]]:
    return [json.loads(part.partition(b"\r\n\r\n")[2]) for part in raw.split(b"HTTP/1.1 200 OK")[1:]]


def test_only_the_owner_may_connect(address):
    assert Path(address).stat().st_mode & 0o777 == 0o600


def test_one_connection_carries_many_requests(address):
    raw = talk(address, b"GET /a%20b?x=1&y= HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    first, second = answers(raw)
    assert first == {"method": "GET", "path": "/a b", "query": {"x": "1", "y": ""}, "size": 0}
    assert second["size"] == 3


def test_chunked_bodies_are_read(address):
    raw = talk(address, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    assert answers(raw)[0]["size"] == 5


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n40000000\r\n",
    ],
)
def test_what_is_no_http_gets_no_answer_and_harms_nobody(address, garbage):
    assert talk(address, garbage) == b""
    assert len(answers(talk(address, b"GET / HTTP/1.1\r\n\r\n"))) == 1


def test_who_may_not_ask_is_refused_before_his_body_is_read(address):
    head = b"POST / HTTP/1.1\r\nStranger: 1\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close" in answer


def test_who_is_refused_in_the_middle_of_a_large_body_reads_why(address):
    sent = b"POST / HTTP/1.1\r\nStranger: 1\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000
    assert talk(address, sent).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("beginning", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nA: "])
def test_a_request_that_comes_a_byte_at_a_time_is_hung_up_on(address, beginning):
    """However often a byte comes: what counts is when the request began."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(beginning)
        connection.settimeout(HEAD_S / 10)
        with pytest.raises((BrokenPipeError, ConnectionResetError, EOFError)):
            drip(connection)


def drip(connection: socket.socket) -> None:
    """Send a byte whenever nothing came for a while, until the other side hangs up."""
    while True:
        try:
            if not connection.recv(1):
                raise EOFError
        except TimeoutError:
            connection.sendall(b"x")


def test_a_client_may_be_silent_between_requests_for_longer_than_a_request_may_take(address):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.settimeout(3 * HEAD_S)
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_one_connection_too_many_is_closed_and_the_others_go_on(address):
    with socket.socket(socket.AF_UNIX) as first:
        first.settimeout(5)
        first.connect(address)
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        others = [socket.socket(socket.AF_UNIX) for _ in range(MOST)]
        for other in others:
            other.connect(address)
        assert others[-1].recv(1) == b""
        for other in others:
            other.close()
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_server_that_is_closed_ends_and_keeps_no_listener(tmp_path):
    listener = listen_unix(str(tmp_path / "s"))
    server = Server(listener, echo, on_idle=lambda: None)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()

    server.close()

    thread.join(timeout=10)
    assert not thread.is_alive()
    assert listener.fileno() == -1


def test_the_server_is_told_when_the_last_client_has_gone(address, idle):
    talk(address, b"GET / HTTP/1.1\r\n\r\n")
    assert idle.wait(5)


def test_forms_are_read_in_both_forms():
    encoded = Request("POST", "/", {}, {"content-type": "application/x-www-form-urlencoded"}, b"file_path=%2Fa+b&x=")
    assert form_fields(encoded) == {"file_path": b"/a b", "x": b""}
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file_path"\r\n\r\n/a\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file_data"; filename="f"\r\n\r\n\x00\r\n--Bx\r\n\r\n--B--\r\n'
    )
    multipart = Request("POST", "/", {}, {"content-type": "multipart/form-data; boundary=B"}, body)
    assert form_fields(multipart)["file_path"] == b"/a"


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data"])
def test_what_is_no_form_is_refused(content_type):
    with pytest.raises(Refused):
        form_fields(Request("POST", "/", {}, {"content-type": content_type}, b"x"))
