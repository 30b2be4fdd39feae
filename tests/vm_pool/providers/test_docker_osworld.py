"""OSWorld's container by its documented interface, played by one of ours that serves OSWorld's routes.

The official image itself was not run.
"""

import io
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from vm_pool import images
from vm_pool.errors import ConfigError, GuestError, MachineLost
from vm_pool.events import Move
from vm_pool.guest_code import GUEST_CODE, GUEST_SOURCE
from vm_pool.local_state import Places, default_places
from vm_pool.provider import Spec
from vm_pool.providers import docker_image
from vm_pool.providers.docker_daemon import Daemon
from vm_pool.providers.docker_osworld import PORTS, SERVER, OSWorldContainerProvider, environment
from vm_pool.strays import gc

pytestmark = [pytest.mark.docker, pytest.mark.desktop]

STAND_IN = "osworld-stand-in:test"
SPEC = Spec(image=STAND_IN, width=800, height=600, network="bridge", labels={"suite": "osworld"})
DESKTOP = [
    *("python3", "-I", f"{GUEST_CODE}/main.py", "--tcp", f"0.0.0.0:{SERVER}", "--open-osworld-routes"),
    *("--token-file", "/etc/hostname", "--size", "800x600", "--frames", "/dev/shm"),
]


@pytest.fixture(scope="module")
def stand_in(dockerd: Daemon) -> Generator[None]:
    """Our image with the guest server in it, which starts as OSWorld's does: alone, and open to whoever connects."""
    places = default_places("docker")
    places.make()
    base = docker_image.ensure(dockerd, places, images.find("slim"))
    code = io.BytesIO()
    with tarfile.open(fileobj=code, mode="w") as tar:
        tar.add(GUEST_SOURCE, "guest")
    with dockerd.client("make the stand-in") as client:
        made = client.create_container(image=base, command=["true"])["Id"]
        client.put_archive(made, str(Path(GUEST_CODE).parent), code.getvalue())
        repository, tag = STAND_IN.split(":")
        client.commit(made, repository=repository, tag=tag, conf={"Cmd": DESKTOP, "User": "user"})
        client.remove_container(made)
    yield
    with dockerd.client("remove the stand-in") as client:
        client.remove_image(STAND_IN)


@pytest.fixture
async def provider(dockerd: Daemon, stand_in: None, tmp_path: Path) -> AsyncGenerator[OSWorldContainerProvider]:
    disk = tmp_path / "Ubuntu.qcow2"
    disk.write_bytes(b"a virtual disk")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as state:
        places = Places(Path(state), tmp_path / "run")
        provider = OSWorldContainerProvider(disk=disk, host=dockerd.host, places=places, boot_timeout_s=60)
        async with provider.session():
            yield provider
        assert await provider.strays() == []


async def test_a_container_is_used_by_osworlds_routes_on_loopback_ports(
    provider: OSWorldContainerProvider, dockerd: Daemon
) -> None:
    machine = await provider.boot(SPEC)
    assert (await machine.perform([Move(x=30, y=40)])).pointer == (30, 40)
    assert (await machine.run(["cat", "/System.qcow2"])).stdout == "a virtual disk"
    await machine.write("/home/user/a", b"x")
    assert await machine.read("/home/user/a") == b"x"
    assert (await machine.run(["touch", "/System.qcow2"])).returncode != 0
    assert set(await provider.ports(machine)) == set(PORTS)
    with dockerd.client("look") as client:
        found = client.inspect_container(f"agent-s3-{machine.info.machine_id}")
    addresses = {binding["HostIp"] for bindings in found["NetworkSettings"]["Ports"].values() for binding in bindings}
    assert addresses == {"127.0.0.1"}
    assert "RAM_SIZE=4G" in found["Config"]["Env"]
    [stray] = await provider.strays()
    assert (stray.id, stray.labels, stray.owner_alive) == (machine.info.machine_id, SPEC.labels, True)


async def test_a_kept_container_starts_again_and_a_removed_one_is_lost(provider: OSWorldContainerProvider) -> None:
    machine = await provider.boot(SPEC)
    await machine.write("/home/user/a", b"kept")
    await provider.stop(machine, keep_disk=True)
    assert [stray.owner_pid for stray in await provider.strays()] == [None]
    revived = await provider.revive(machine.info.machine_id)
    assert await revived.read("/home/user/a") == b"kept"
    await provider.stop(revived)
    with pytest.raises(MachineLost, match="disk is gone"):
        await provider.revive(machine.info.machine_id)
    assert (await gc([provider], idle_too=True)).removed == []


async def test_what_it_cannot_do_is_said_in_one_line(provider: OSWorldContainerProvider, dockerd: Daemon) -> None:
    machine = await provider.boot(SPEC)
    with pytest.raises(ConfigError, match="cannot be saved; boot one for each attempt"):
        await provider.snapshot(machine)
    with pytest.raises(GuestError, match="800x600 px, not 1920x1080"):
        await provider.boot(SPEC.model_copy(update={"width": 1920, "height": 1080}))
    with pytest.raises(ConfigError, match="ask for 'bridge', not 'none'"):
        await provider.boot(SPEC.model_copy(update={"network": "none"}))
    with pytest.raises(ConfigError, match="run: docker pull happysixd/osworld-docker"):
        await provider.boot(SPEC.model_copy(update={"image": "desktop"}))
    with pytest.raises(ConfigError, match="run: export AGENT_S3_OSWORLD_DISK="):
        await OSWorldContainerProvider(host=dockerd.host).boot(SPEC)


def test_the_virtual_machine_has_at_least_osworlds_own_memory() -> None:
    assert environment(Spec(), kvm=False) == {"DISK_SIZE": "32G", "RAM_SIZE": "4G", "CPU_CORES": "4", "KVM": "N"}
    given = environment(Spec(memory_mib=6000, cpus=2), kvm=True)
    assert (given["RAM_SIZE"], given["CPU_CORES"], "KVM" in given) == ("6G", "2", False)
