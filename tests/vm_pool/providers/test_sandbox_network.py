"""Sandboxes that may reach some names and nothing else, by a proxy of this host's."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from web_server import CONNECT, GET, PAGE, web_server

from vm_pool.errors import ConfigError
from vm_pool.local_state import default_places
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider

pytestmark = pytest.mark.desktop
SLIM = Spec(image="slim", width=640, height=480)


@pytest_asyncio.fixture
async def port() -> AsyncGenerator[int]:
    async with web_server() as port:
        yield port


@pytest_asyncio.fixture
async def provider() -> AsyncGenerator[SandboxProvider]:
    provider = SandboxProvider()
    async with provider.session():
        yield provider


def allowed(port: int) -> Spec:
    return SLIM.model_copy(update={"network": f"allow:shop.test=127.0.0.1:{port}"})


async def get(machine: Machine, url: str) -> str:
    done = await machine.run(["python3", "-c", GET, url])
    return done.stdout + done.stderr


async def test_an_allowed_name_is_reached_and_nothing_else_is(provider, port):
    machine = await provider.boot(allowed(port))
    assert "internet" in machine.info.capabilities
    page = await get(machine, "http://shop.test/")
    assert page.startswith(PAGE.decode())
    assert "403 agent-s3: other.test is not among the names" in await get(machine, "http://other.test/")
    assert "403 " in await get(machine, f"http://127.1:{port}/")
    for address in ("127.0.0.1", "10.0.2.2"):
        direct = await machine.run(["python3", "-c", CONNECT, address, str(port)])
        assert direct.returncode != 0
    interfaces = (await machine.run(["cat", "/proc/net/dev"])).stdout
    assert interfaces.count(":") == 1
    log = default_places().machine(machine.info.machine_id).egress_log.read_text()
    assert [line.split(" ", 1)[1].split(":")[0] for line in log.splitlines()] == [
        "shop.test allowed",
        "other.test refused",
    ]


async def test_forks_and_revived_machines_may_reach_the_same(provider, port):
    machine = await provider.boot(allowed(port))
    fork = await provider.fork(await provider.snapshot(machine))
    assert (await get(fork, "http://shop.test/")).startswith(PAGE.decode())
    await provider.stop(fork, keep_disk=True)
    revived = await provider.revive(fork.info.machine_id)
    assert (await get(revived, "http://shop.test/")).startswith(PAGE.decode())


async def test_many_connections_at_once_are_all_served(provider, port):
    machine = await provider.boot(allowed(port))
    pages = await asyncio.gather(*(get(machine, f"http://shop.test/{i}") for i in range(40)))
    assert all(page.startswith(PAGE.decode()) for page in pages)


async def test_without_a_network_there_is_no_proxy(provider):
    machine = await provider.boot(SLIM)
    assert "internet" not in machine.info.capabilities
    assert (await machine.run(["python3", "-c", CONNECT, "127.0.0.1", "3128"])).returncode != 0
    assert "proxy" not in (await machine.run(["env"])).stdout.lower()


async def test_networks_of_containers_are_refused(provider):
    with pytest.raises(ConfigError, match="the sandbox has no network 'bridge'"):
        await provider.boot(SLIM.model_copy(update={"network": "bridge"}))
