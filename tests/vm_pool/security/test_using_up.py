"""Machines that take all they can get: of processes, memory, descriptors, watches, connections and the disk."""

import asyncio
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hostile import (
    SLIM,
    Provider,
    needs_groups,
    needs_root,
    python,
)
from looking import output

from vm_pool.errors import GuestError, GuestFileNotFound, MachineLost, VMPoolError
from vm_pool.local_state import Places
from vm_pool.machine import Machine
from vm_pool.providers.sandbox import SandboxProvider


@needs_groups
async def test_a_fork_bomb_stays_in_its_machine_which_answers_again_when_it_is_over(provider: Provider) -> None:
    bombed, other = await provider.boot(SLIM.model_copy(update={"pids": 100})), await provider.boot(SLIM)
    bomb = (
        "import os, signal, time\n"
        "end = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    try: os.fork()\n"
        "    except OSError: time.sleep(0.05)\n"
    )
    bombing = asyncio.create_task(bombed.run(["python3", "-c", bomb], timeout_s=30))
    await asyncio.sleep(0.5)
    assert await output(other, "echo", "alive") == "alive\n"
    assert len(provider.process_ids(bombed)) <= 110
    await bombing
    async with asyncio.timeout(30):
        assert await _answers_again(bombed) == "alive\n"


async def _answers_again(machine: Machine) -> str:
    while True:
        try:
            return await output(machine, "echo", "alive")
        except MachineLost:
            raise
        except GuestError:
            await asyncio.sleep(0.05)


@needs_groups
async def test_memory_behind_the_control_folders_is_counted_too(provider: Provider, places: Places) -> None:
    """The picture and the socket lie in this host's memory, in folders that the machine may write to."""
    machine = await provider.boot(SLIM.model_copy(update={"memory_mib": 300}))
    fill = ["dd", "if=/dev/zero", "of=/run/agent-s3/frames/fill", "bs=1M", "count=600"]
    try:
        filled = (await machine.run(fill, timeout_s=60)).returncode
    except VMPoolError:
        filled = -9  # the kernel chose the server of the machine to make room
    assert filled != 0
    frames = places.machine(machine.info.machine_id).frames
    assert bytes_in(frames) < 400 << 20
    await provider.stop(machine)
    assert bytes_in(frames) == 0


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0


_HOARD = """
import ctypes, os, sys, time
take = ctypes.CDLL(None).inotify_init
count = 0
while count < 1000 and take() >= 0: count += 1
with open('/home/user/new', 'w') as file: file.write(str(count))
os.rename('/home/user/new', '/home/user/count')
time.sleep(60)
"""


@pytest.mark.desktop
async def test_one_sandbox_does_not_use_up_what_the_kernel_counts_by_user(places: Places) -> None:
    provider = SandboxProvider(places=places)
    async with provider.session():
        greedy, other = await provider.boot(SLIM), await provider.boot(SLIM)
        assert await _hoarded(greedy) < 40
        assert await _hoarded(other) > 10


async def _hoarded(machine: Machine) -> int:
    await machine.launch(["python3", "-c", _HOARD])
    async with asyncio.timeout(20):
        while True:
            try:
                return int(await machine.read("~/count"))
            except GuestFileNotFound:
                await asyncio.sleep(0.05)


async def test_using_up_file_descriptors_hurts_nobody_else(provider: Provider, machine: Machine) -> None:
    other = await provider.boot(SLIM)
    hoard = (
        "import json, os, resource\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
        "count = 0\n"
        "try:\n"
        "    while count < 100_000: os.open('/dev/null', os.O_RDONLY); count += 1\n"
        "except OSError: pass\n"
        "print(json.dumps(count))\n"
    )
    assert await python(machine, hoard) > 100
    assert await output(machine, "echo", "alive") == "alive\n"
    assert await output(other, "echo", "alive") == "alive\n"


async def test_connections_that_say_nothing_do_not_lock_the_host_out(machine: Machine) -> None:
    hold = (
        "import socket, time, sys\n"
        "held = []\n"
        "for _ in range(400):\n"
        "    one = socket.socket(socket.AF_UNIX); one.connect('/run/agent-s3/ctl/guest.sock'); held.append(one)\n"
        "print(len(held), flush=True); time.sleep(3)\n"
    )
    assert "400" in await output(machine, "python3", "-c", hold)
    assert await output(machine, "echo", "alive") == "alive\n"


@pytest.fixture
def small() -> Generator[Places]:
    """A state on a file system of its own with little room."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-small-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", folder], check=True)
        places = Places(Path(folder) / "state", Path("/dev/shm") / Path(folder).name)
        try:
            yield places
            assert [*places.machines.iterdir(), *places.snapshots.iterdir()] == []
            places.runtime.rmdir()
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@needs_root
@pytest.mark.desktop
async def test_a_full_disk_is_an_error_in_one_line_and_ends_nobody_elses_machine(small: Places) -> None:
    """Disks are not limited: a machine can fill the file system of the state folder. What is promised is this."""
    provider = SandboxProvider(places=small)
    async with provider.session():
        await _fill_up(provider)


async def _fill_up(provider: SandboxProvider) -> None:
    greedy, other = await provider.boot(SLIM), await provider.boot(SLIM)
    filled = await greedy.run(["dd", "if=/dev/zero", "of=/home/user/fill", "bs=1M", "count=100"])
    assert "No space left" in filled.stderr
    for machine in (greedy, other):
        assert await output(machine, "echo", "alive") == "alive\n"
    with pytest.raises(GuestError, match="No space left"):
        await other.write("~/more", b"x" * (2 << 20))
    for refused in (provider.snapshot(greedy), provider.boot(SLIM)):
        with pytest.raises((VMPoolError, OSError), match="No space left") as error:
            await refused
        assert "\n" not in str(error.value)
    await provider.stop(greedy)
    await other.write("~/more", b"x" * (2 << 20))
