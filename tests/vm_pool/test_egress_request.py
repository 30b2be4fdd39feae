"""Heads of requests that programs in machines send to the proxy: what is taken from them, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.egress_request import Asked, BadRequest, parse_request


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def test_a_tunnel_is_asked_for_by_name_and_port():
    asked = parse_request(head("CONNECT Example.ORG.:443 HTTP/1.1", "Host: elsewhere.test:443"))
    assert asked == Asked("example.org", 443, b"", 0)


def test_a_plain_request_goes_on_without_what_is_the_proxys():
    asked = parse_request(
        head(
            "POST http://a.test/p?q=1#f HTTP/1.1",
            *("Host: b.test", "Proxy-Authorization: secret", "Proxy-Connection: keep-alive", "Connection: keep-alive"),
            *("Cookie: c=1", "Content-Length: 5"),
        )
    )
    assert (asked.name, asked.port, asked.body_bytes) == ("a.test", 80, 5)
    assert asked.head == head(
        "POST /p?q=1 HTTP/1.1", "Host: a.test", "Cookie: c=1", "Content-Length: 5", "Connection: close"
    )


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["nonsense"], 400),
        (["GET / HTTP/1.1"], 400),
        (["GET https://a.test/ HTTP/1.1"], 400),
        (["GET http://user:password@a.test/ HTTP/1.1"], 400),
        (["GET http://[::1/ HTTP/1.1"], 400),
        (["GET http:///x HTTP/1.1"], 400),
        (["GET file:///etc/passwd HTTP/1.1"], 400),
        (["BREW http://a.test/ HTTP/1.1"], 405),
        (["CONNECT a.test:22 HTTP/1.1"], 403),
        (["CONNECT a.test HTTP/1.1"], 403),
        (["GET http://a.test:8080/ HTTP/1.1"], 403),
        (["POST http://a.test/ HTTP/1.1", "Transfer-Encoding: chunked"], 411),
        (["POST http://a.test/ HTTP/1.1", "Transfer-Encoding : chunked"], 411),
        (["POST http://a.test/ HTTP/1.1", "Content-Length: 1", "Content-Length: 2"], 400),
        (["POST http://a.test/ HTTP/1.1", "Content-Length: -1"], 400),
        (["GET http://a.test/ HTTP/1.1", " Content-Length: 1"], 400),
        (["GET http://a.test/ HTTP/1.1", "X: y\nTransfer-Encoding: chunked"], 400),
        (["GET http://a.test/ HTTP/1.1", "X: y\rHost: z"], 400),
    ],
)
def test_what_could_mean_something_else_to_somebody_else_is_refused(lines, status):
    with pytest.raises(BadRequest) as caught:
        parse_request(head(*lines))
    assert caught.value.status == status


@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_nonsense(data):
    try:
        asked = parse_request(data + b"\r\n\r\n")
    except BadRequest:
        return
    assert asked.port in (80, 443)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=30))
def test_a_path_cannot_become_a_header(path):
    try:
        asked = parse_request(head(f"GET http://a.test/{path} HTTP/1.1"))
    except BadRequest:
        return
    assert asked.head.count(b"\r\n") == 4
