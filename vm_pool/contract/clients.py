"""Promises about more than one client at once, and about those who may not be one."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from vm_pool.contract.check import NotApplicable, check, expect, expect_error
from vm_pool.contract.witness import editor
from vm_pool.errors import GuestError
from vm_pool.events import Move, Text
from vm_pool.machine import Machine, Shareable

_GUESSED = "guessed-by-somebody"


@asynccontextmanager
async def _another(machine: Machine, *, token: str | None = None) -> AsyncGenerator[Machine]:
    if not isinstance(machine, Shareable):
        raise NotApplicable("clients", "no second client can be made for this machine")
    other = machine.another_client(token=token)
    try:
        yield other
    finally:
        await other.aclose()


@check("clients")
async def two_clients_see_the_same_screen(machine: Machine) -> None:
    async with _another(machine) as other:
        await machine.perform([Move(x=77, y=78)])
        await machine.settle(timeout_ms=10_000)
        first, second = await machine.screenshot(), await other.screenshot()
        expect(first.sha256 == second.sha256, "both see the same frame")
        expect((await other.look(frozenset())).pointer == (77, 78), "and the same pointer")


@check("clients")
async def two_clients_share_files(machine: Machine) -> None:
    path = f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}"
    async with _another(machine) as other:
        await machine.write(path, b"from the first")
        expect(await other.read(path) == b"from the first", "the second reads what the first wrote")


@check("clients")
async def a_request_id_is_executed_once_whichever_client_sends_it(machine: Machine) -> None:
    if "v1" not in machine.info.capabilities:
        raise NotApplicable("v1", "OSWorld's routes know no request ids")
    request_id = uuid.uuid4().hex
    async with _another(machine) as other:
        await machine.perform([Move(x=5, y=6)], request_id=request_id)
        await machine.perform([Move(x=50, y=60)])
        again = await other.perform([Move(x=5, y=6)], request_id=request_id)
    expect(again.repeated, "the second client's receipt says that it is a repeat")
    expect((await machine.look(frozenset())).pointer == (50, 60), "and moves nothing")


@check("clients")
async def texts_of_two_clients_are_not_mixed(machine: Machine) -> None:
    if "v1" not in machine.info.capabilities:
        raise NotApplicable("v1", "over OSWorld's routes each client types by a program of its own")
    words = ["left " * 20, "right " * 20]
    async with _another(machine) as other, editor(machine) as field:
        await asyncio.gather(machine.perform([Text(text=words[0])]), other.perform([Text(text=words[1])]))
        await machine.perform([Text(text=".")])
        text = await field.ends_with(".")
    expect(text in {words[0] + words[1] + ".", words[1] + words[0] + "."}, f"{text[:120]!r} arrived")


@check("clients")
async def the_first_client_goes_on_when_the_second_leaves(machine: Machine) -> None:
    async with _another(machine) as other:
        await other.screenshot()
    receipt = await machine.perform([Move(x=21, y=22)])
    expect(receipt.pointer == (21, 22), "the first client's events are executed")


@check("token")
async def a_wrong_token_is_refused_everywhere(machine: Machine) -> None:
    await _stranger(machine, "no-such-token")


@check("token")
async def no_token_is_refused_everywhere(machine: Machine) -> None:
    await _stranger(machine, "")


@check("token")
async def a_refusal_does_not_tell_the_token(machine: Machine) -> None:
    _require_token(machine)
    async with _another(machine, token=_GUESSED) as other:
        error = await expect_error(GuestError, other.windows(), "a wrong token is refused")
    expect(_GUESSED not in str(error), "the message repeats no token")


async def _stranger(machine: Machine, token: str) -> None:
    _require_token(machine)
    path = f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}"
    async with _another(machine, token=token) as other:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "a frame": other.screenshot,
            "input": lambda: other.perform([Move(x=1, y=1)]),
            "a command": lambda: other.run(["echo", "x"]),
            "a look": lambda: other.look(frozenset()),
            "reading": lambda: other.read("/etc/passwd"),
            "writing": lambda: other.write(path, b"x"),
            "launching": lambda: other.launch(["sleep", "1"]),
            "settling": other.settle,
        }
        for what, call in calls.items():
            await expect_error(GuestError, call(), f"{what} without the right token is refused")
    await expect_error(GuestError, machine.read(path), "and nothing was written")


def _require_token(machine: Machine) -> None:
    if "token" not in machine.info.capabilities:
        raise NotApplicable("token", "this guest asks for no token: whoever reaches it controls it")
