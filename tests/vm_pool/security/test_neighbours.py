"""Strangers at a machine's control server, other users of this host, processes of the same user, and forged tokens."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    NOBODY,
    SLIM,
    Provider,
    as_uid,
    content,
    needs_root,
    on_the_host,
    python,
)
from looking import output

from vm_pool.errors import GuestError, VMPoolError
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import HOST_UID, MachineFolder, Places
from vm_pool.machine import Machine
from vm_pool.providers.docker import DockerProvider

_ROUTES = """
import json, sys
sys.path.insert(0, '/opt/agent-s3')
from guest import osworld, v1
print(json.dumps([*v1.ROUTES, *osworld.ROUTES]))
"""


async def test_every_route_wants_the_token_and_tells_strangers_nothing(machine: Machine) -> None:
    assert isinstance(machine, GuestMachine)
    token = machine._wire.place_and_token(None)["token"]
    wrong = ["", "x", token[:-1], f"{token}x", token.swapcase(), f" {token} x"]
    answers = set[tuple[int, str]]()
    routes = await python(machine, _ROUTES)
    assert len(routes) > 40
    for method, path in [*routes, ("GET", "/no/such/route"), ("DELETE", "/v1/run"), ("GET", "/v1/../platform")]:
        for guess in wrong:
            stranger = machine.another_client(token=guess)
            answer = await stranger._wire.send(method, path, body=b"")
            answers.add((answer.status, answer.body.decode()))
            await stranger.aclose()
    assert {status for status, _ in answers} == {401}
    assert len(answers) == 1
    assert (await machine._wire.send("GET", "/platform")).status == 200


async def test_a_stranger_cannot_make_the_server_take_in_a_gigabyte(machine: Machine, provider: Provider) -> None:
    assert isinstance(machine, GuestMachine)
    stranger = machine.another_client(token="guessed")
    with pytest.raises(GuestError, match="a valid token is needed"):
        await stranger.write("~/large", b"x" * (64 << 20))
    await stranger.aclose()
    assert await output(machine, "ls", "/home/user") != ""


def doors(folder: MachineFolder, places: Places, snapshot_id: str) -> list[Path]:
    found = [folder.socket, folder.token, folder.launched, folder.disk, folder.runtime, folder.journal, places.machines]
    found += [*folder.frames.iterdir(), folder.disk / "state.json", places.snapshot(snapshot_id), places.snapshots]
    return [path for path in [*found, folder.upper] if path.exists()]


_OPEN = """
import json, os, socket, stat, sys
opened = []
for path in sys.argv[1:]:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            os.listdir(path) if os.path.isdir(path) else open(path, 'rb').close()
        opened.append(path)
    except OSError:
        pass
print(json.dumps(opened))
"""


@needs_root
async def test_another_user_gets_at_no_socket_token_picture_disk_or_snapshot(
    provider: Provider, machine: Machine, places: Places
) -> None:
    snapshot = await provider.snapshot(machine)
    await machine.launch(["sleep", "100"])
    found = list(map(str, doors(places.machine(machine.info.machine_id), places, snapshot.snapshot_id)))
    assert len(found) >= 10
    assert on_the_host(_OPEN, *found) == found
    assert json.loads(as_uid(NOBODY, "/usr/bin/python3", "-c", _OPEN, *found).stdout) == []
    await provider.drop(snapshot)


@needs_root
async def test_another_user_cannot_run_a_set_uid_program_that_a_machine_left_on_its_disk(
    provider: Provider, machine: Machine, places: Places
) -> None:
    await machine.run(["sh", "-c", "cp /usr/bin/id ~/id && chmod 6755 ~/id"])
    assert "-rwsr-sr-x" in await output(machine, "ls", "-l", "/home/user/id")
    if isinstance(provider, DockerProvider):
        return  # its layers lie in a folder of the daemon's that only root can enter
    left = places.machine(machine.info.machine_id).upper / "home/user/id"
    assert left.stat().st_mode & 0o6000
    assert "Permission denied" in as_uid(NOBODY, "sh", "-c", str(left)).stderr


@needs_root
async def test_signals_reach_no_process_outside_even_of_the_same_user(provider: Provider, machine: Machine) -> None:
    other = await provider.boot(SLIM)
    outside = sleeping_as(HOST_UID)
    try:
        pids = sorted({outside.pid, *provider.process_ids(other)} - provider.process_ids(machine))
        kill = "import os, sys\nfor pid in map(int, sys.argv[1:]):\n  try: os.kill(pid, 9)\n  except OSError: pass\n"
        await machine.run(["python3", "-c", kill, *(str(pid) for pid in pids if pid > 1000)])
        with pytest.raises(VMPoolError):
            await _end_all_of_it(machine)
        assert outside.poll() is None
        assert await output(other, "echo", "alive") == "alive\n"
    finally:
        outside.kill()
        outside.wait()


def sleeping_as(uid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["setpriv", "--reuid", str(uid), "--clear-groups", "sleep", "60"])


async def _end_all_of_it(machine: Machine) -> None:
    """Returns never: the answer, or at last a question, finds the machine gone."""
    await machine.run(["sh", "-c", "kill -9 -1"])
    async with asyncio.timeout(20):
        while True:
            await machine.look(frozenset())


@pytest.mark.docker
@pytest.mark.desktop
async def test_a_container_that_is_taken_over_is_not_told_what_its_token_links_to(
    places: Places, dockerd: Any, secret: Path
) -> None:
    """The guest owns the folder with its token: a link there once led to any line of text that root can read."""
    one_line_of_text = content(secret)[0]
    provider = DockerProvider(host=dockerd.host, places=places, boot_timeout_s=20)
    async with provider.session():
        machine = await provider.boot(SLIM)
        spy = (
            "import os, socket, sys\n"
            "os.chdir('/run/agent-s3/ctl'); os.unlink('guest.sock'); os.unlink('token')\n"
            "os.symlink(sys.argv[1], 'token')\n"
            "listener = socket.socket(socket.AF_UNIX); listener.bind('guest.sock'); listener.listen()\n"
            "open('/home/user/ready', 'w').close()\n"
            "while True:\n"
            "    said = listener.accept()[0]\n"
            "    with open('/home/user/heard', 'ab', 0) as heard: heard.write(said.recv(65536))\n"
        )
        await machine.run(["sh", "-c", 'python3 -c "$1" "$2" >/dev/null 2>&1 &', "sh", spy, str(secret)])
        async with asyncio.timeout(20):
            while (await machine.run(["test", "-e", "/home/user/ready"])).returncode:  # noqa: ASYNC110  # no events
                await asyncio.sleep(0.05)
        taking_over = DockerProvider(host=dockerd.host, places=places)
        async with taking_over.session():
            revived = await taking_over.revive(machine.info.machine_id)
            heard = await output(revived, "cat", "/home/user/heard")
            assert one_line_of_text not in heard
            assert await output(revived, "echo", "alive") == "alive\n"
