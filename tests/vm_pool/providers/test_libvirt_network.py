"""A virtual machine that may reach one name without a network card: by its control channel and a proxy out here."""

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from web_server import CONNECT, GET, PAGE, web_server

from vm_pool.local_state import folders_in
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.vm_places import VmPlaces

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncGenerator[int]:
    async with web_server() as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places():
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3v-") as state:
        yield VmPlaces(Path(state))
        assert folders_in(VmPlaces(Path(state)).machines) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(places):
    from vm_pool.providers.libvirt import LibvirtProvider

    provider = LibvirtProvider(places=places)
    async with provider.session():
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(provider, port):
    network = f"allow:shop.test=127.0.0.1:{port}"
    return await provider.boot(Spec(image="slim", width=640, height=480, memory_mib=768, network=network))


async def get(machine: Machine, url: str) -> str:
    done = await machine.run(["python3", "-c", GET, url])
    return done.stdout + done.stderr


async def test_it_reaches_the_name_and_nothing_else(machine, places, port):
    assert (await get(machine, "http://shop.test/")).startswith(PAGE.decode())
    assert "403 agent-s3: other.test is not among the names" in await get(machine, "http://other.test/")
    for address, number in (("127.0.0.1", port), ("10.0.2.2", port), ("192.0.2.1", 80)):
        assert (await machine.run(["python3", "-c", CONNECT, address, str(number)])).returncode != 0
    assert (await machine.run(["cat", "/proc/net/dev"])).stdout.count(":") == 1
    noted = places.machine(machine.info.machine_id).egress_log.read_text().splitlines()
    assert [line.split(" ", 1)[1].split(":")[0] for line in noted] == ["shop.test allowed", "other.test refused"]


async def test_a_fork_reaches_it_by_a_way_of_its_own(provider, machine):
    snapshot = await provider.snapshot(machine)
    fork = await provider.fork(snapshot)
    assert (await get(fork, "http://shop.test/")).startswith(PAGE.decode())
    await provider.stop(fork)
    await provider.drop(snapshot)
    assert (await get(machine, "http://shop.test/")).startswith(PAGE.decode())
