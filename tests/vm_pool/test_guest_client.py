"""The client bears whatever a guest does: silence, nonsense, too much, and its sudden end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from test_framebuffer import header, write

from vm_pool.errors import BootTimeout, GuestError, GuestFileNotFound, GuestTimeout, MachineLost
from vm_pool.events import Move, Text
from vm_pool.framebuffer import FRAMEBUFFER_NAME
from vm_pool.guest_client import GuestMachine, _until_asked_again
from vm_pool.providers.fake import fake_info

INFO = fake_info("guest-0", width=8, height=4)
READY = {"ready": True, "waiting_for": None, "width": 8, "height": 4}
WAITS = {**READY, "ready": False, "waiting_for": "the window manager"}
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Guest:
    """A scripted guest server: bytes to send for each path; a list of them is used up one by one."""

    def __init__(self, path: Path):
        self.path = path
        self.tokens: set[str] = set()
        self.asked: list[tuple[str, bytes]] = []
        self.answers: dict[str, bytes | list[bytes | None] | None] = {
            "/v1/ready": answer(json.dumps(READY).encode()),
            "/v1/release": answer(b"{}"),
        }
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._converse, self.path)

    async def stop(self) -> None:
        """As if it were killed: no more connections, and those that are open end."""
        if self._server is None:
            return
        await self._welcome_all()
        self._server.close()
        self._server = None
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        self.path.unlink(missing_ok=True)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return sum(not writer.transport.is_closing() for writer in self._writers)

    async def _welcome_all(self) -> None:
        """Wait until every connection made so far is being served: they are served in order, and this is the last."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(b"GET /welcome HTTP/1.1\r\n\r\n")
        await reader.readline()
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while line := await reader.readline():
                path = line.split()[1].decode().partition("?")[0]
                if not await self._answer(path, reader, writer):
                    break
        except ConnectionError:
            pass
        writer.close()

    async def _answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        headers: dict[str, str] = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        self.tokens.add(headers.get("authorization", ""))
        self.asked.append((path, await reader.readexactly(int(headers.get("content-length", 0)))))
        reply = self.answers.get(path, answer(b'{"message": "no route", "kind": "no_route"}', "404 Not Found"))
        if isinstance(reply, list):
            reply = reply.pop(0)
        if reply is None:
            return False
        writer.write(reply)
        await writer.drain()
        return True


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncGenerator[Guest]:
    guest = Guest(tmp_path / "s")
    await guest.start()
    yield guest
    await guest.stop()


@pytest.fixture
async def machine(guest: Guest) -> AsyncGenerator[GuestMachine]:
    machine = GuestMachine(INFO, socket=guest.path, token="secret")
    yield machine
    await machine.aclose()


async def test_every_request_carries_the_token(guest, machine):
    await machine.ready(5)
    assert guest.tokens == {"Bearer secret"}


async def test_ready_says_what_it_waited_for(guest, machine):
    guest.answers["/v1/ready"] = answer(json.dumps(WAITS).encode(), "503 x")
    with pytest.raises(BootTimeout, match=r"guest-0 was not ready after 0.2 s; it waited for the window manager"):
        await machine.ready(0.2)


async def test_a_machine_that_takes_its_time_is_asked_less_and_less_often(guest, machine):
    guest.answers["/v1/ready"] = answer(json.dumps(WAITS).encode(), "503 x")
    with pytest.raises(BootTimeout):
        await machine.ready(1)
    assert 10 < len([path for path, _ in guest.asked if path == "/v1/ready"]) < 100


async def test_ready_waits_for_a_server_that_is_not_there_yet(tmp_path):
    guest = Guest(tmp_path / "late")
    machine = GuestMachine(INFO, socket=guest.path, token="t")
    waiting = asyncio.create_task(machine.ready(5))
    await asyncio.sleep(0.05)
    await guest.start()
    await waiting
    await machine.aclose()
    await guest.stop()


def test_a_machine_that_takes_long_is_asked_less_often():
    pauses = [_until_asked_again(waited) for waited in (0.0, 0.1, 0.4, 1.0, 60.0)]
    assert pauses == pytest.approx([0.005, 0.005, 0.02, 0.05, 0.05])


async def test_a_link_in_the_place_of_the_socket_leads_nowhere(guest, tmp_path):
    host = Guest(tmp_path / "of-the-host")
    await host.start()
    (tmp_path / "link").symlink_to(host.path)
    fooled = GuestMachine(INFO, socket=tmp_path / "link", token="t")
    with pytest.raises(BootTimeout, match="its control server"):
        await fooled.ready(0.2)
    machine = GuestMachine(INFO, socket=guest.path, token="t")
    await machine.ready(5)
    guest.answers["/v1/look"] = answer(b'{"windows": []}')
    guest.path.rename(tmp_path / "moved")
    guest.path.symlink_to(host.path)
    await asyncio.gather(*(machine.windows() for _ in range(4)))
    assert host.asked == []
    await machine.aclose()
    await fooled.aclose()
    await host.stop()
    guest.path.unlink()
    (tmp_path / "moved").rename(guest.path)


async def test_another_screen_size_than_asked_for_is_an_error(guest, machine):
    guest.answers["/v1/ready"] = answer(json.dumps({**READY, "width": 9}).encode())
    with pytest.raises(GuestError, match="9x4 px, not the 8x4"):
        await machine.ready(5)


async def test_a_machine_that_is_gone_is_lost(guest, machine):
    await machine.ready(5)
    await guest.stop()
    for call in (machine.screenshot(), machine.windows(), machine.perform([]), machine.run(["true"])):
        with pytest.raises(MachineLost, match="guest-0"):
            await call


async def test_a_framebuffer_that_outlives_its_machine_is_not_believed(guest, tmp_path):
    pixels = np.full((4, 8, 4), 7, np.uint8)
    write(tmp_path / FRAMEBUFFER_NAME, header(), pixels)
    machine = GuestMachine(INFO, socket=guest.path, token="t", framebuffer=tmp_path / FRAMEBUFFER_NAME)
    await machine.ready(5)
    assert (await machine.screenshot()).pixels.max() == 7
    await guest.stop()
    with pytest.raises(MachineLost):
        await machine.screenshot()
    await machine.aclose()


async def test_a_framebuffer_with_nonsense_in_it_is_replaced_by_the_socket(guest, tmp_path):
    (tmp_path / FRAMEBUFFER_NAME).write_bytes(b"nonsense" * 20)
    guest.answers["/v1/frame"] = answer(bytes(range(128)))
    machine = GuestMachine(INFO, socket=guest.path, token="t", framebuffer=tmp_path / FRAMEBUFFER_NAME)
    await machine.ready(5)
    assert tuple((await machine.screenshot()).pixels[0, 0]) == (2, 1, 0)
    await machine.aclose()


@pytest.mark.parametrize("size", [0, 127, 129])
async def test_a_frame_of_another_size_is_an_error(guest, machine, size):
    guest.answers["/v1/frame"] = answer(b"x" * size)
    with pytest.raises(GuestError):
        await machine.screenshot()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"windows": 3}',
        b'{"surprise": 1}',
        b"[" * 100_000,
        b'{"tree": ' + b'{"root":' * 50_000,
        b'{"pointer": [1, 2, 3]}',
        b'{"windows": [{"id": "1", "title": "\xff\xfe"}]}',
    ],
)
async def test_an_answer_that_is_not_the_protocol_is_one_clear_line(guest, machine, body):
    guest.answers["/v1/look"] = answer(body)
    with pytest.raises(GuestError, match="malformed") as refusal:
        await machine.windows()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"windows": [' + b"0," * 100_000 + b"0]}",
        b'{"tree": {"root": {"id": "", "role": "", "children": [' + b"0," * 100_000 + b"0]}}}",
        b'{"files": {"cursor": "", "changes": [' + b"0," * 100_000 + b"0]}}",
        b'{"pointer": [' + b'"",' * 100_000 + b"0]}",
        b'{"tree": {"root": {"id": "", "role": "", "attributes": {' + b'"":0,' * 100_000 + b'"a":0}}}}',
        b"{" + b'"a":0,' * 100_000 + b'"a":0}',
        b'{"tree": {"root": {"id": "", "role": "", "children": [' + b'{"id":"","role":""},' * 100_000 + b"0]}}}",
    ],
)
async def test_a_flood_of_faults_is_not_kept_in_memory(guest, machine, body):
    """An error for each element of an answer of a few megabytes would take gigabytes."""
    guest.answers["/v1/look"] = answer(body)
    with pytest.raises(GuestError, match="malformed") as refusal:
        await machine.windows()
    cause = refusal.value.__cause__
    assert not isinstance(cause, ValidationError) or cause.error_count() < 5


async def test_what_a_guest_would_have_us_remember_is_forgotten(guest, machine):
    body = b'{"windows": []}'
    head = f"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=1; Path=/\r\nContent-Length: {len(body)}\r\n\r\n"
    guest.answers["/v1/look"] = head.encode("latin-1") + body
    assert await machine.windows() == ()
    assert await machine.windows() == ()


async def test_text_that_cannot_be_sent_is_refused(machine):
    for call in (machine.run(["echo", "\ud83d"]), machine.perform([Text(text="\ud83d")]), machine.read("\ud83d")):
        with pytest.raises(GuestError, match="lone surrogate"):
            await call


async def test_a_tree_as_deep_as_they_come_is_read(guest, machine):
    def node(depth: int) -> dict[str, object]:
        children = [node(depth - 1)] if depth else []
        return {"id": str(depth), "role": "panel", "children": children}

    guest.answers["/v1/look"] = answer(json.dumps({"tree": {"root": node(62)}}).encode())
    assert len(list((await machine.tree()).root.walk())) == 63


async def test_what_is_no_http_is_an_error(guest, machine):
    guest.answers["/v1/look"] = b"220 ready\r\n\r\n"
    with pytest.raises(GuestError, match="does not speak HTTP"):
        await machine.windows()


async def test_an_answer_without_end_is_cut_off(guest, machine):
    guest.answers["/v1/read"] = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 300_000
    with pytest.raises(GuestError, match="longer than"):
        await machine.read("/x", max_bytes=10)


async def test_silence_is_a_timeout(guest, machine):
    guest.answers["/v1/settle"] = b"HTTP/1.1 200 OK\r\n"
    machine_call = machine._wire.ok("POST", "/v1/settle", timeout_s=0.1)
    with pytest.raises(GuestTimeout, match=r"no answer to POST /v1/settle within 0.1 s"):
        await machine_call


async def test_a_refusal_is_told_in_one_printable_line(guest, machine):
    said = json.dumps({"message": "no\n\x1b[31mway " + "x" * 999, "kind": "refused"}).encode()
    guest.answers["/v1/input"] = answer(said, "400 Bad Request")
    with pytest.raises(GuestError, match=r"guest-0: no \[31mway x+$") as refusal:
        await machine.perform([Move(x=1, y=1)])
    assert len(str(refusal.value)) < 400
    guest.answers["/v1/read"] = answer(b'{"message": "no file", "kind": "not_found"}', "404 Not Found")
    with pytest.raises(GuestFileNotFound):
        await machine.read("/x")


async def test_a_guest_whose_display_has_ended_is_a_lost_machine(guest, machine):
    said = json.dumps({"message": "its display has ended", "kind": "display_gone"}).encode()
    guest.answers["/v1/input"] = answer(said, "500 Internal Server Error")
    with pytest.raises(MachineLost, match="guest-0: its display has ended"):
        await machine.perform([Move(x=1, y=1)])


async def test_a_dropped_connection_is_tried_once_more_with_the_same_request_id(guest, machine):
    receipt = answer(b'{"request_id": "r", "executed": 1, "repeated": true}')
    guest.answers["/v1/input"] = [None, receipt]
    assert (await machine.perform([Move(x=1, y=1)], request_id="r")).repeated
    first, second = [body for path, body in guest.asked if path == "/v1/input"]
    assert first == second
    assert json.loads(first)["request_id"] == "r"


async def test_a_connection_that_is_dropped_twice_is_a_lost_machine(guest, machine):
    guest.answers["/v1/input"] = None
    with pytest.raises(MachineLost):
        await machine.perform([Move(x=1, y=1)])


async def test_closing_lets_go_of_held_keys_and_bears_a_machine_that_is_gone(guest):
    machine = GuestMachine(INFO, socket=guest.path, token="t")
    await machine.ready(5)
    await machine.aclose()
    assert guest.asked[-1][0] == "/v1/release"
    gone = GuestMachine(INFO, socket=guest.path, token="t")
    await gone.ready(5)
    await guest.stop()
    await gone.aclose()
    await gone.aclose()


async def test_apart_from_its_guest_a_client_has_no_connection_and_requests_wait(guest, machine):
    guest.answers["/v1/launched"] = answer(b'{"launched": []}')
    await machine.ready(5)
    assert guest.connections > 0
    async with machine.apart(5):
        async with asyncio.timeout(5):
            while guest.connections:  # noqa: ASYNC110  # the guest's side closes when it is told
                await asyncio.sleep(0)
        asking = asyncio.create_task(machine.launched())
        await asyncio.sleep(0)
        assert not asking.done()
        asked = len(guest.asked)
    await asking
    assert len(guest.asked) > asked


async def test_apart_is_not_had_while_a_request_hangs(guest, machine):
    await machine.ready(5)
    guest.answers["/v1/launch"] = b""
    hanging = asyncio.create_task(machine.launch(["true"]))
    async with asyncio.timeout(5):
        while not any(path == "/v1/launch" for path, _ in guest.asked):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with machine.apart(0.01):
            pass
    hanging.cancel()
    guest.answers["/v1/launched"] = answer(b'{"launched": []}')
    assert await machine.launched() == []
