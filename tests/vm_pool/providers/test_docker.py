"""Real desktops in containers of a private daemon: isolated, limited, forked, lost, revived and cleared up."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from looking import command_line, output, uids
from web_server import GET, PAGE, web_server

from vm_pool.disk import delete_tree
from vm_pool.errors import BootTimeout, ConfigError, GuestError, GuestFileNotFound, MachineError, MachineLost
from vm_pool.events import Text
from vm_pool.holdings import holdings
from vm_pool.local_state import HOST_UID, Places
from vm_pool.machine import Machine
from vm_pool.provider import Evidence, Spec
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.docker_daemon import Daemon
from vm_pool.strays import gc, removable

pytestmark = [pytest.mark.docker, pytest.mark.desktop]

SLIM = Spec(image="slim", width=800, height=600, labels={"suite": "test_docker"})
NOTE = "/home/user/Documents/note.txt"


@pytest.fixture
async def provider(places: Places, dockerd_emptied: Daemon) -> AsyncGenerator[DockerProvider]:
    provider = DockerProvider(host=dockerd_emptied.host, places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []
    assert list(places.snapshots.iterdir()) == []
    assert list(places.runtime.iterdir()) == []
    assert what_is_in(dockerd_emptied) == set()


def what_is_in(dockerd: Daemon) -> set[str]:
    """Containers, and images that are not imported from a tree."""
    with dockerd.client("list") as client:
        images = {str(tag) for image in client.images() for tag in image["RepoTags"] or [image["Id"]]}
        containers = {str(one["Names"]) for one in client.containers(all=True)}
    return containers | {tag for tag in images if not tag.startswith("agent-s3:")}


async def test_a_machine_has_no_rights_and_no_network(provider: DockerProvider) -> None:
    machine = await provider.boot(SLIM)
    status = await output(machine, "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert (await output(machine, "cat", "/proc/net/dev")).count(":") == 1
    assert "unreachable" in await output(machine, "python3", "-c", _CONNECT)
    assert (await output(machine, "id", "--user", "--name")).strip() == "user"
    assert (await machine.run(["unshare", "--user", "true"])).returncode != 0
    for place in ("/usr/bin/x", "/etc/x", "/opt/agent-s3/guest/x", "/x"):
        assert (await machine.run(["touch", place])).returncode != 0
    assert await output(machine, "find", "/usr", "/bin", "-perm", "/6000") == ""
    assert uids(provider.process_ids(machine)) == {HOST_UID}


_CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"


async def test_only_its_owner_gets_at_the_socket_and_the_token(provider: DockerProvider, places: Places) -> None:
    machine = await provider.boot(SLIM)
    folder = places.machine(machine.info.machine_id)
    assert stat.S_IMODE(folder.runtime.stat().st_mode) == 0o710
    assert stat.S_IMODE(folder.ctl.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.token.stat().st_mode) == 0o400
    token = folder.token.read_text()
    assert token not in "".join(command_line(pid) for pid in provider.process_ids(machine))


async def test_cpus_are_limited_and_no_limit_is_none(provider: DockerProvider, dockerd: Daemon) -> None:
    limited = await provider.boot(SLIM.model_copy(update={"cpus": 0.5}))
    free = await provider.boot(SLIM.model_copy(update={"memory_mib": 0, "pids": 0}))
    with dockerd.client("look") as client:
        half, none = (
            client.inspect_container(f"agent-s3-{machine.info.machine_id}")["HostConfig"] for machine in (limited, free)
        )
    assert half["NanoCpus"] == 500_000_000
    assert (none["NanoCpus"], none["Memory"], none["PidsLimit"] or 0) == (0, 0, 0)


async def test_files_that_are_written_in_turn_fit_together_in_a_snapshot(provider: DockerProvider) -> None:
    machine = await provider.boot(SLIM)
    writer = (
        "import itertools\n"
        "for number in itertools.count():\n"
        "    for name in 'ab':\n"
        "        with open('/home/user/' + name, 'r+' if number else 'w') as file: file.write(str(number).zfill(12))\n"
    )
    # Not launched, for it would be started again in the fork.
    await machine.run(["sh", "-c", 'python3 -c "$1" >/dev/null 2>&1 &', "sh", writer])
    await _succeeds(machine, "test", "-s", "/home/user/b")
    snapshot = await provider.snapshot(machine)
    before = await machine.read("/home/user/a")
    fork = await provider.fork(snapshot)
    saved = [int((await fork.run(["sed", "-n", "1p", f"/home/user/{name}"])).stdout) for name in "ab"]
    assert saved[0] - saved[1] in (0, 1)
    assert await machine.read("/home/user/a") > before
    await provider.drop(snapshot)


@pytest.mark.parametrize("victim", ["Xvfb", "guest/main.py"])
async def test_a_killed_part_is_noticed_as_a_lost_machine(provider: DockerProvider, victim: str) -> None:
    machine = await provider.boot(SLIM)
    os.kill(_process(provider, machine, victim), signal.SIGKILL)
    async with asyncio.timeout(60):
        with pytest.raises(MachineLost):
            await _act_until_it_fails(machine)
    await asyncio.gather(provider.stop(machine), provider.stop(machine))
    await provider.stop(machine)
    assert await provider.strays() == []


async def test_machines_of_a_killed_run_go_on_until_they_are_taken_over_or_collected(
    provider: DockerProvider, places: Places, dockerd: Daemon
) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from vm_pool.local_state import Places\n"
        "from vm_pool.provider import Spec\n"
        "from vm_pool.providers.docker import DockerProvider\n"
        "async def main():\n"
        "    places = Places(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "    provider = DockerProvider(host=sys.argv[3], places=places)\n"
        "    for _ in range(2):\n"
        "        machine = await provider.boot(Spec(image='slim', width=800, height=600))\n"
        "        pid = await machine.launch(['sleep', '1000'])\n"
        "    await provider.snapshot(machine)\n"
        "    print(machine.info.machine_id, pid, flush=True)\n"
        "    await asyncio.sleep(100)\n"
        "asyncio.run(main())\n"
    )
    argv = [sys.executable, "-c", script, str(places.state), str(places.runtime), dockerd.host]
    run = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert run.stdout is not None
    machine_id, pid = (await run.stdout.readline()).decode().split()
    assert [stray.owner_alive for stray in await provider.strays()] == [True, True, True]
    assert (await gc([provider])).removed == []
    with pytest.raises(MachineLost, match="belongs to the running process"):
        await provider.revive(machine_id)
    run.kill()
    await run.wait()
    revived = await provider.revive(machine_id)
    assert await output(revived, "cat", f"/proc/{pid}/comm") == "sleep\n"
    collected = await gc([provider])
    assert sorted(stray.kind for stray in collected.removed) == ["machine", "snapshot"]
    assert machine_id not in [stray.id for stray in collected.removed]
    assert await output(revived, "echo", "alive") == "alive\n"


async def test_what_lost_its_folder_is_still_known_by_its_labels(provider: DockerProvider, places: Places) -> None:
    machine = await provider.boot(SLIM)
    snapshot = await provider.snapshot(machine)
    for folder in (places.machine(machine.info.machine_id).disk, places.snapshot(snapshot.snapshot_id)):
        delete_tree(folder)
    delete_tree(places.machine(machine.info.machine_id).runtime)
    found = await provider.strays()
    assert [(one.kind, one.id) for one in found] == [
        ("machine", machine.info.machine_id),
        ("snapshot", snapshot.snapshot_id),
    ]
    assert {one.owner_pid for one in found} == {os.getpid()}
    assert {tuple(one.labels.items()) for one in found} == {tuple(SLIM.labels.items())}
    neighbour = DockerProvider(host=provider.daemon.host, places=Places(places.state / "other", places.runtime))
    assert await neighbour.strays() == []
    collected = await gc([provider], now=datetime(2999, 1, 1, tzinfo=UTC))
    assert [one.kind for one in collected.removed] == ["machine", "snapshot"]


async def test_networks_are_had_on_request_only(provider: DockerProvider, dockerd: Daemon) -> None:
    bridged, internal = [await provider.boot(SLIM.model_copy(update={"network": n})) for n in ("bridge", "internal")]
    routes = {machine: await output(machine, "cat", "/proc/net/route") for machine in (bridged, internal)}
    assert "eth0\t00000000" in routes[bridged]
    assert "eth0" in routes[internal]
    assert "timed out" in await output(internal, "python3", "-c", _CONNECT.replace("5)", "1)"))
    with dockerd.client("look") as client:
        networks = {network["Name"]: network["Internal"] for network in client.networks()}
    assert (networks["agent-s3-bridge"], networks["agent-s3-internal"]) == (False, True)
    with pytest.raises(ConfigError, match="no network 'nat'; write none, open, or allow:"):
        await provider.boot(SLIM.model_copy(update={"network": "nat"}))


async def test_networks_are_collected_when_no_machine_is_on_them(provider: DockerProvider, dockerd: Daemon) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    machine = await provider.boot(SLIM.model_copy(update={"network": "internal"}))
    before = {stray.id for stray in await provider.strays()}
    assert "agent-s3-internal" not in before
    await provider.stop(machine)
    networks = [stray for stray in await provider.strays() if stray.id == "agent-s3-internal"]
    assert [stray.kind for stray in networks] == ["network"]
    assert not removable(networks[0], networks[0].created)
    assert removable(networks[0], later)
    for _ in range(2):
        await provider.remove(networks[0])
    with dockerd.client("list networks") as client:
        assert "agent-s3-internal" not in {network["Name"] for network in client.networks()}
    await provider.stop(await provider.boot(SLIM.model_copy(update={"network": "internal"})))


async def test_what_a_container_said_and_showed_can_be_seen_from_outside(
    provider: DockerProvider, dockerd: Daemon, places: Places
) -> None:
    machine = await provider.boot(SLIM)
    elsewhere = DockerProvider(host=dockerd.host, places=places)
    evidence = await elsewhere.evidence(machine.info.machine_id)
    assert evidence.screen is not None
    assert (await elsewhere.evidence("m-0000000000")) == Evidence()


async def test_a_container_that_is_late_is_explained(dockerd: Daemon, places: Places) -> None:
    provider = DockerProvider(host=dockerd.host, places=places, boot_timeout_s=0.001)
    async with provider.session():
        with pytest.raises(BootTimeout, match="see: agent-s3 pool logs m-") as caught:
            await provider.boot(SLIM)
    assert caught.value.report is not None
    assert caught.value.report.provider == "docker"


async def test_all_of_a_container_is_counted_until_it_is_gone(provider: DockerProvider) -> None:
    await provider.stop(await provider.boot(SLIM))  # the image is imported now
    before = await holdings([provider])
    machine = await provider.boot(SLIM)
    snapshot = await provider.snapshot(machine)
    held = await holdings([provider]) - before
    assert (len(held.containers), len(held.images), len(held.namespaces)) == (1, 1, 1)
    assert "Xvfb" in " ".join(held.processes)
    await provider.drop(snapshot)
    await provider.stop(machine)
    assert not await holdings([provider]) - before


async def test_a_name_is_reached_by_a_proxy_and_without_a_network_of_dockers(provider: DockerProvider) -> None:
    async with web_server() as port:
        network = f"allow:shop.test=127.0.0.1:{port}"
        machine = await provider.boot(SLIM.model_copy(update={"network": network}))
        page, refusal = [
            (await machine.run(["python3", "-c", GET, url])).stdout
            for url in ("http://shop.test/", "http://other.test/")
        ]
        assert page.startswith(PAGE.decode())
        assert "403 agent-s3: other.test is not among the names" in refusal
        assert (await machine.run(["cat", "/proc/net/dev"])).stdout.count(":") == 1


async def test_machines_on_one_network_do_not_reach_each_other(provider: DockerProvider) -> None:
    one, other = [await provider.boot(SLIM.model_copy(update={"network": "internal"})) for _ in range(2)]
    address = (await output(one, "hostname", "-I")).split()[0]
    await one.launch(["python3", "-m", "http.server", "8000"])
    ask = f"import socket; socket.create_connection(('{address}', 8000), timeout=1)"
    await _succeeds(one, "python3", "-c", ask)
    assert "timed out" in await output(other, "python3", "-c", ask)


async def test_what_cannot_be_had_is_refused_in_one_line(provider: DockerProvider) -> None:
    with pytest.raises(ConfigError, match="names: slim, desktop"):
        await provider.boot(Spec(image="windows"))
    with pytest.raises(MachineLost, match="disk is gone"):
        await provider.revive("m-unknown")
    machine = await provider.boot(SLIM)
    await machine.run(["rm", "-rf", NOTE])
    with pytest.raises(GuestFileNotFound):
        await machine.read(NOTE)


async def _act_until_it_fails(machine: Machine) -> None:
    while True:
        with contextlib.suppress(GuestError):  # for a moment the server still answers, that its display has gone
            await machine.perform([Text(text="x")])


async def _succeeds(machine: Machine, *argv: str) -> None:
    async with asyncio.timeout(60):
        while (await machine.run(argv)).returncode != 0:  # noqa: ASYNC110  # no events
            await asyncio.sleep(0.02)


def _process(provider: DockerProvider, machine: Machine, name: str) -> int:
    for pid in sorted(provider.process_ids(machine)):
        if name in command_line(pid):
            return pid
    raise MachineError(f"no {name} among the processes")
