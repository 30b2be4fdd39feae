"""A port of the loopback that leads to a guest's socket."""

import asyncio
from pathlib import Path

import pytest

from vm_pool.front_door import front_door
from vm_pool.machine import Address


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


async def ask(url: str, line: bytes) -> bytes:
    host, _, port = url.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(line)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:  # hung up on, before the line was read
        return b""
    finally:
        writer.close()


async def test_what_goes_in_comes_out_and_it_is_shut_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with await asyncio.start_unix_server(echo, path), front_door(Address(path, None, "secret")) as url:
        assert await asyncio.gather(ask(url, b"one\n"), ask(url, b"two\n")) == [b"ONE\n", b"TWO\n"]
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await ask(url, b"three\n")


async def test_a_caller_of_a_guest_that_is_gone_is_hung_up_on(tmp_path: Path) -> None:
    async with front_door(Address(tmp_path / "gone", None, "")) as url:
        assert await ask(url, b"anybody?\n") == b""


async def test_a_guest_with_a_url_needs_no_door() -> None:
    async with front_door(Address(None, "http://10.0.0.7:5000", "")) as url:
        assert url == "http://10.0.0.7:5000"
