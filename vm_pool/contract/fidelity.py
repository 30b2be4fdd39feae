"""The fidelity certificate: clones are equal at birth and independent of each other and of the host afterwards."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from vm_pool.contract.browsing import BROWSING_CHECKS
from vm_pool.contract.check import Check, ContractBroken, NotApplicable, check, checks_in, expect, expect_error
from vm_pool.contract.clones import (
    CLIPBOARD,
    UNSAVED,
    Clones,
    common_frame,
    common_processes,
    facts_of,
    looks,
    run_python,
)
from vm_pool.contract.listeners import host_listening
from vm_pool.contract.pace import stretched
from vm_pool.contract.witness import editor
from vm_pool.errors import GuestFileNotFound
from vm_pool.events import Move, Text
from vm_pool.machine import Machine, WithClipboard

T = TypeVar("T")
_PROGRAMS = Path(__file__).parent / "programs"
_PORT = 47_113
_CLOCK_S = 0.1
_LIMIT_S = 20.0


@check("equal")
async def clones_show_the_same_screen(clones: Clones) -> None:
    expect(await common_frame(clones.all_alike), "all clones show one and the same frame, carets aside")


@check("equal")
async def clones_have_the_same_windows(clones: Clones) -> None:
    listed = [looks(windows) for windows in await _of_all(clones.all_alike, lambda machine: machine.windows())]
    expect(all(one == listed[0] for one in listed), f"windows differ: {listed}")


@check("equal")
async def clones_run_the_same_programs(clones: Clones) -> None:
    names = await common_processes(clones.machines)
    differing = {name for one in names for name in one if any(name not in other for other in names)}
    expect(all(one == names[0] for one in names), f"processes differ: {sorted(differing) or 'in number'}")


@check("equal")
async def clones_have_the_same_files(clones: Clones) -> None:
    hashes = {facts.files for facts in await _of_all(clones.machines, facts_of)}
    expect(len(hashes) == 1, f"home and temporary files have {len(hashes)} different hashes")


@check("equal")
async def clones_have_the_files_of_the_original(clones: Clones) -> None:
    for machine in clones.machines:
        data = await machine.read("~/Documents/report é.txt")
        expect(data.decode() == "an ordinary file\n", f"{machine.info.machine_id} has {data[:40]!r}")


@check("equal")
async def clones_are_of_the_same_image_and_size(clones: Clones) -> None:
    kinds = {(m.info.image, m.info.width, m.info.height, m.info.user, m.info.home) for m in clones.machines}
    expect(len(kinds) == 1, f"they are {kinds}")


@check("equal")
async def clones_have_the_clipboard_of_the_original(clones: Clones) -> None:
    clones.need_memory()
    for machine in clones.machines:
        found = await _clipboard(machine).clipboard()
        expect(found == CLIPBOARD, f"{machine.info.machine_id} has {found!r}")


@check("equal")
async def clones_have_the_unsaved_text_of_the_original(clones: Clones) -> None:
    clones.need_memory()
    if clones.field is None:
        raise NotApplicable("programs", "no editor of ours can run in the machine")
    for machine in clones.machines:
        await machine.perform([Text(text="and more")])
        await clones.field.at(machine).becomes(UNSAVED + "and more")


@check("independent")
async def clones_have_ids_of_their_own(clones: Clones) -> None:
    ids = [machine.info.machine_id for machine in (clones.original, *clones.machines)]
    expect(len(set(ids)) == len(ids), f"the ids are {ids}")


@check("independent")
async def files_of_one_clone_are_not_seen_by_another(clones: Clones) -> None:
    path = f"/tmp/contract-{uuid.uuid4().hex[:8]}"  # noqa: S108 - in the machine
    own = [f"of clone {number}" for number in range(len(clones.machines))]
    for machine, text in zip(clones.machines, own, strict=True):
        await machine.write(path, text.encode())
    found = [data.decode() for data in await _of_all(clones.machines, lambda machine: machine.read(path))]
    expect(found == own, f"each has its own file: {found}")
    await expect_error(GuestFileNotFound, clones.original.read(path), "the original has none")


@check("independent")
async def input_to_one_clone_does_not_move_another(clones: Clones) -> None:
    for number, machine in enumerate(clones.machines):
        await machine.perform([Move(x=10 + number, y=20)])
    seen = [look.pointer for look in await _of_all(clones.machines, lambda machine: machine.look(frozenset()))]
    expect(seen == [(10 + number, 20) for number in range(len(clones.machines))], f"the pointers are at {seen}")


@check("independent")
async def a_window_of_one_clone_is_not_seen_by_another(clones: Clones) -> None:
    first, *others = clones.machines
    async with editor(first, title="only here"):
        expect(any(window.title == "only here" for window in await first.windows()), "it is open in the first")
        for windows in await _of_all(others, lambda machine: machine.windows()):
            expect(all(window.title != "only here" for window in windows), "and in no other")


@check("independent")
async def clones_have_clipboards_of_their_own(clones: Clones) -> None:
    own = [f"of clone {number}" for number in range(len(clones.machines))]
    for machine, text in zip(clones.machines, own, strict=True):
        await _clipboard(machine).set_clipboard(text)
    found = await _of_all(clones.machines, lambda machine: _clipboard(machine).clipboard())
    expect(found == own, f"the clipboards hold {found}")


@check("independent")
async def clones_draw_different_random_numbers(clones: Clones) -> None:
    numbers = [number for facts in await _of_all(clones.machines, facts_of) for number in facts.random if number]
    expect(len(set(numbers)) == len(numbers), f"of {len(numbers)} numbers {len(set(numbers))} are different")


@check("independent")
async def clones_have_machine_ids_of_their_own(clones: Clones) -> None:
    clones.source.need("machine_id", "these machines share the machine-id of their image")
    _different([facts.machine_id for facts in await _of_all((clones.original, *clones.machines), facts_of)])


@check("independent")
async def clones_have_host_names_of_their_own(clones: Clones) -> None:
    clones.source.need(
        "hostname", "they share no network on which names could clash, and titles and prompts that show it stay equal"
    )
    _different([facts.hostname for facts in await _of_all((clones.original, *clones.machines), facts_of)])


@check("independent")
async def clones_have_hardware_addresses_of_their_own(clones: Clones) -> None:
    facts = await _of_all(clones.machines, facts_of)
    addresses = [address for one in facts for address in one.interfaces.values()]
    if not addresses:
        raise NotApplicable("network", "these machines have no network interface but the loopback one")
    _different(addresses)


@check("independent")
async def clocks_of_clones_are_right_within_100_ms(clones: Clones) -> None:
    for machine in clones.machines:
        before = time.time()
        inside = float(await run_python(machine, "import time; print(time.time())"))
        after = time.time()
        expect(
            before - _CLOCK_S <= inside <= after + _CLOCK_S,
            f"{machine.info.machine_id} is {max(before - inside, inside - after):.3f} s off",
        )


@check("independent")
async def clones_can_listen_on_the_same_port_at_once(clones: Clones) -> None:
    async with AsyncExitStack() as stack:
        for machine in clones.machines:
            await stack.enter_async_context(_listening(machine))


@check("independent")
async def no_clone_reaches_another_by_network_sockets_or_shared_memory(clones: Clones) -> None:
    clones.source.need("isolation", "what reaches these machines is up to whoever runs them")
    first, *others = clones.machines
    async with _listening(first) as name:
        expect(await _reaches(first, [f"127.0.0.1:{_PORT}", f"@{name}"]) != [], "the listener can be reached at all")
        for machine in others:
            found = await _reaches(machine, [f"127.0.0.1:{_PORT}", f"@{name}", f"gateway:{_PORT}"])
            expect(not found, f"{machine.info.machine_id} reaches the first clone by {found}")
            await expect_error(GuestFileNotFound, machine.read(f"/dev/shm/{name}"), "shared memory is its own")  # noqa: S108


@check("independent")
async def no_clone_reaches_the_host(clones: Clones) -> None:
    clones.source.need("isolation", "what these machines reach is up to whoever runs them")
    name = f"contract-{uuid.uuid4().hex[:8]}"
    with host_listening(name) as places:
        for machine in clones.machines:
            found = await _reaches(machine, places)
            expect(not found, f"{machine.info.machine_id} reaches the host by {found}")


@check("independent")
async def clones_keep_the_network_policy_of_their_original(clones: Clones) -> None:
    """The same kind of interfaces and the same places within reach, whatever policy the original was started with."""
    original = await facts_of(clones.original)
    with host_listening(f"contract-{uuid.uuid4().hex[:8]}") as places:
        reached = await _reaches(clones.original, places)
        for machine, facts in zip(clones.machines, await _of_all(clones.machines, facts_of), strict=True):
            same = sorted(facts.interfaces) == sorted(original.interfaces)
            expect(same, f"{machine.info.machine_id} has {sorted(facts.interfaces)}, not {sorted(original.interfaces)}")
            expect(bool(facts.gateways) == bool(original.gateways), f"{machine.info.machine_id} has another way out")
            found = await _reaches(machine, places)
            expect(found == reached, f"{machine.info.machine_id} reaches {found}, its original {reached}")


@check("independent")
async def clones_have_no_way_to_the_internet(clones: Clones) -> None:
    clones.source.need("isolation", "what these machines reach is up to whoever runs them")
    if clones.source.spec.network != "none":
        raise NotApplicable("isolation", f"a network {clones.source.spec.network!r} was asked for")
    gateways = {gateway for facts in await _of_all(clones.machines, facts_of) for gateway in facts.gateways}
    expect(not gateways, f"there is a default route by {gateways}")


@check("independent")
async def clones_live_on_when_one_of_them_is_stopped(clones: Clones) -> None:
    """The last one of those that look at all clones: afterwards there is one less."""
    first, *others = clones.machines
    await clones.source.provider.stop(first)
    for machine in (clones.original, *others):
        receipt = await machine.perform([Move(x=15, y=16)])
        expect(receipt.pointer == (15, 16), f"{machine.info.machine_id} takes input")


FIDELITY_CHECKS: tuple[Check[Clones], ...] = (*checks_in(globals()), *BROWSING_CHECKS)
"""In their order: equality at birth first, and last what makes further clones."""


async def _of_all(machines: Sequence[Machine], ask: Callable[[Machine], Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*map(ask, machines)))


def _different(values: Sequence[str]) -> None:
    expect(all(values) and len(set(values)) == len(values), f"they are {sorted(set(values))} of {len(values)} machines")


def _clipboard(machine: Machine) -> WithClipboard:
    if "clipboard" not in machine.info.capabilities or not isinstance(machine, WithClipboard):
        raise NotApplicable("clipboard", "the machine gives no access to its clipboard")
    return machine


@asynccontextmanager
async def _listening(machine: Machine) -> AsyncGenerator[str]:
    """A program in the machine that listens and leaves traces; yields the name it uses. Raises: as `run_python`."""
    await run_python(machine, "pass")
    name = f"contract-{uuid.uuid4().hex[:8]}"
    path = f"/tmp/{name}"  # noqa: S108 - in the machine
    await machine.launch(["python3", "-c", (_PROGRAMS / "listen.py").read_text(), path, str(_PORT), name])
    try:
        await _until_there(machine, path)
        yield name
    finally:
        await machine.write(path + ".end", b"")
    await _until_there(machine, path + ".ended")


async def _until_there(machine: Machine, path: str) -> None:
    deadline = time.monotonic() + stretched(_LIMIT_S)
    while time.monotonic() < deadline:
        try:
            await machine.read(path)
        except GuestFileNotFound:
            await asyncio.sleep(0.05)
        else:
            return
    raise ContractBroken(f"a program on port {_PORT} of {machine.info.machine_id} did not do its work")


async def _reaches(machine: Machine, places: Sequence[str]) -> list[str]:
    return json.loads(await run_python(machine, (_PROGRAMS / "reach.py").read_text(), *places))
