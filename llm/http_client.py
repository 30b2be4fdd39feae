"""The HTTP client of all models: it goes where it was told to, and carries no key that was not meant for there."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import httpx2

CONNECT_S = 10.0
"""Longest wait for a connection."""


def http_client(base_url: str, timeout_s: float, *, credentials: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    """A client that follows no redirect, which would carry the key away, and asks no proxy for loopback servers.

    With `credentials`, header names in lower case, it sends these and none that an SDK adds from the environment.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        follow_redirects=False,
        trust_env=not _is_loopback(base_url),
        event_hooks={} if credentials is None else {"request": [_only(credentials)]},
    )


_PLAIN = {
    *("host", "connection", "content-type", "content-length", "accept", "accept-encoding"),
    *("user-agent", "anthropic-version", "anthropic-beta"),
}
"""Headers that tell nobody who we are."""


def _only(credentials: Mapping[str, str]) -> Callable[[httpx2.Request], Awaitable[None]]:
    """A hook that lets only plain headers and these pass.

    The SDKs add organization, project and whatever `OPENAI_CUSTOM_HEADERS` and `ANTHROPIC_CUSTOM_HEADERS` hold, which
    may well be another key, to questions for any server.
    """

    async def strip(request: httpx2.Request) -> None:
        for name in {*request.headers} - _PLAIN:
            if not name.startswith("x-stainless-"):
                del request.headers[name]
        request.headers.update(credentials)

    return strip


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
