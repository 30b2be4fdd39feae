"""Real desktops in bubblewrap: isolated, limited, forked, lost, revived and cleared up."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from looking import command_line, output, uids

from vm_pool.errors import BootTimeout, ConfigError, ImageError, MachineError, MachineLost
from vm_pool.events import Text
from vm_pool.local_state import HOST_UID, Places, make_folder_for_machine
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_cgroup import existing_group, find_hierarchy, group_folders
from vm_pool.providers.sandbox_disk import copy_command
from vm_pool.providers.sandbox_machine import end_elsewhere
from vm_pool.relaunch import Programs, relaunch
from vm_pool.strays import gc

pytestmark = pytest.mark.desktop

SLIM = Spec(image="slim", width=800, height=600, labels={"suite": "test_sandbox"})
NOTE = "/home/user/Documents/note.txt"
FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def provider(places):
    provider = SandboxProvider(places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []
    assert list(places.runtime.iterdir()) == []


async def test_a_machine_has_no_rights_and_no_network(provider):
    machine = await provider.boot(SLIM)
    status = await output(machine, "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert (await output(machine, "ls", "/sys/class/net", "/root")).count("cannot") >= 1
    assert (await output(machine, "cat", "/proc/net/dev")).count(":") == 1
    assert "not permitted" in await output(machine, "unshare", "--user", "true")
    assert (await machine.run(["touch", "/usr/bin/x"])).returncode != 0
    assert await output(machine, "ls", "/proc/1/root/home") == "user\n"


async def test_dangerous_system_calls_are_refused(provider):
    machine = await provider.boot(SLIM)
    script = (
        "import ctypes, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*args):\n"
        "    ctypes.set_errno(0); libc.syscall(*args); return ctypes.get_errno()\n"
        "print(call(250, 0), call(321, 0, 0, 0), call(101, 0, 0))\n"
        "print(call(435, 0, 0), call(425, 1, 0), call(56, 0x10000000))\n"
        "try: socket.socket(40, 1)\n"
        "except OSError as error: print(error.errno)\n"
        "socket.socket(1, 1); socket.socket(2, 1); print('fine')\n"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers in this test are of x86-64")
    assert await output(machine, "python3", "-c", script) == "1 1 1\n38 38 1\n97\nfine\n"


async def test_processes_do_not_belong_to_root_outside(provider):
    machine = await provider.boot(SLIM)
    assert uids(provider.process_ids(machine)) == {HOST_UID if os.geteuid() == 0 else os.geteuid()}


@pytest.mark.parametrize("victim", ["Xvfb", "guest/main.py", "bwrap"])
async def test_a_killed_part_is_noticed_as_a_lost_machine(provider, victim):
    machine = await provider.boot(SLIM)
    os.kill(_process(provider, machine, victim), signal.SIGKILL)
    async with asyncio.timeout(2):
        with pytest.raises(MachineLost):
            await _act_until_it_fails(machine)
    await provider.stop(machine)


async def test_stopping_twice_and_stopping_a_dead_machine_is_fine(provider):
    machine = await provider.boot(SLIM)
    os.kill(_process(provider, machine, "bwrap"), signal.SIGKILL)
    await asyncio.gather(provider.stop(machine), provider.stop(machine))
    await provider.stop(machine)
    assert await provider.strays() == []


@pytest.mark.parametrize("noted", ["'[' * 65536", '\'{"a": "b"}\''])
async def test_nonsense_in_the_note_of_programs_does_not_keep_a_disk_from_being_kept(provider, noted):
    machine = await provider.boot(SLIM)
    await machine.run(["python3", "-c", f"open('/run/agent-s3/ctl/launched.json', 'w').write({noted})"])
    await provider.stop(machine, keep_disk=True)
    revived = await provider.revive(machine.info.machine_id)
    assert await output(revived, "echo", "back") == "back\n"


async def test_programs_that_a_guest_made_up_do_not_hold_a_start_up_for_ever(provider):
    machine = await provider.boot(SLIM)
    made_up = Programs(launched=(("sleep", "60"),) * 1000)
    with pytest.raises(BootTimeout, match=r"its 1000 programs were not back within 0.2 s"):
        await relaunch(machine, made_up, limit_s=0.2)


async def test_a_machine_that_cannot_be_cleared_up_does_not_keep_the_others(places):
    provider = SandboxProvider(places=places)
    session = provider.session()
    await session.__aenter__()
    stubborn, other = await provider.boot(SLIM), await provider.boot(SLIM)
    pids = {str(pid) for machine in (stubborn, other) for pid in provider.process_ids(machine)}
    in_the_way = places.machines / f".{stubborn.info.machine_id}.{os.getpid()}.deleting"
    (in_the_way / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        await session.__aexit__(None, None, None)
    await _gone(sorted(pids))
    assert {path.name for path in places.machines.iterdir()} == {stubborn.info.machine_id, in_the_way.name}
    assert list(places.runtime.iterdir()) == []


async def test_a_revived_machine_tells_what_changed_since_its_first_start_and_a_fork_since_its_own(provider):
    machine = await provider.boot(SLIM)
    await machine.write(NOTE, b"before the stop")
    snapshot = await provider.snapshot(machine)
    await provider.stop(machine, keep_disk=True)
    revived = await provider.revive(machine.info.machine_id)
    assert await _changed(revived) == [(NOTE, "created", "before the stop")]
    await revived.write(NOTE, b"after it")
    assert await _changed(revived) == [(NOTE, "created", "after it")]
    assert await _changed(await provider.fork(snapshot)) == []


async def _changed(machine: Machine) -> list[tuple[str, str, str | None]]:
    files = (await machine.look(frozenset({"files"}))).files
    assert files is not None
    return [(change.path, change.kind, change.text) for change in files.changes]


async def test_a_killed_run_takes_its_machines_along_and_leaves_disks_that_can_be_revived_or_collected(
    provider, places
):
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from vm_pool.provider import Spec\n"
        "from vm_pool.providers.sandbox import SandboxProvider\n"
        "from vm_pool.local_state import Places\n"
        "async def main():\n"
        "    provider = SandboxProvider(places=Places(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))\n"
        "    for _ in range(2):\n"
        "        machine = await provider.boot(Spec(image='slim', width=800, height=600))\n"
        "        await machine.write('/home/user/a', b'left')\n"
        "        await machine.launch(['mousepad'])\n"
        "    print(machine.info.machine_id, *provider.process_ids(machine), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(places.state), str(places.runtime), stdout=asyncio.subprocess.PIPE
    )
    assert run.stdout is not None
    machine_id, *pids = (await run.stdout.readline()).decode().split()
    in_use = await provider.strays()
    assert [stray.owner_alive for stray in in_use] == [True, True]
    assert (await gc([provider])).removed == []
    with pytest.raises(MachineLost, match="belongs to the running process"):
        await provider.revive(machine_id)
    run.kill()
    await run.wait()
    await _gone(pids)
    revived = await provider.revive(machine_id)
    assert await revived.read("/home/user/a") == b"left"
    assert len(await revived.windows()) == 1
    collected = await gc([provider])
    assert [stray.id for stray in collected.removed] == [one.id for one in in_use if one.id != machine_id]
    assert await revived.read("/home/user/a") == b"left"


async def test_a_machine_that_was_left_standing_still_is_collected_as_well(provider, places):
    machine = await provider.boot(SLIM)
    hierarchy = find_hierarchy()
    if hierarchy is None:
        pytest.skip("no control groups here; run the tests as root, or in a session of systemd's")
    name = group_folders(hierarchy, f"{machine.info.machine_id}.*")[0].name
    assert existing_group(hierarchy, name).freeze()
    (stray,) = await provider.strays()
    await SandboxProvider(places=places).remove(stray)  # raises when a process does not end
    assert await provider.strays() == []


async def test_runs_with_other_state_folders_do_not_collect_each_others_machines(provider, places, tmp_path):
    machine = await provider.boot(SLIM)
    neighbour = SandboxProvider(places=Places(tmp_path, places.runtime))
    assert await neighbour.strays() == []
    assert (await gc([neighbour], idle_too=True, now=FAR_FUTURE)).removed == []
    assert await output(machine, "echo", "alive") == "alive\n"


async def test_whatever_tree_a_guest_makes_its_disk_is_copied_measured_and_removed(provider):
    machine = await provider.boot(SLIM)
    await machine.run(["python3", "-c", "import os\nfor _ in range(1100): os.mkdir('d'); os.chdir('d')"])
    await machine.run(
        ["sh", "-c", "mkdir -p ~/a/b && echo kept > ~/a/b/c && chmod 000 ~/a/b/c ~/a/b ~/a && mkfifo ~/f"]
    )
    snapshot = await provider.snapshot(machine)
    fork = await provider.fork(snapshot)
    assert await output(fork, "sh", "-c", "chmod 700 ~/a ~/a/b; chmod 600 ~/a/b/c; cat ~/a/b/c") == "kept\n"
    assert [stray.kind for stray in await provider.strays()] == ["machine", "snapshot", "machine"]
    await provider.drop(snapshot)
    await provider.stop(machine)
    await provider.stop(fork)
    assert await provider.strays() == []


def test_a_disk_is_copied_where_nothing_else_of_the_host_can_be_seen(places):
    places.make()
    for name in ("from", "to"):
        make_folder_for_machine(places.machines / name, 0o755)
    command = copy_command(places.machines / "from", places.machines / "to")
    listing = [*command[: command.index("cp")], "ls", "-A", "/", "/usr/..", "/from"]
    seen = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    assert set(seen.split()) <= {"/:", "/usr/..:", "/from:", "bin", "lib", "lib64", "usr", "proc", "from", "to"}


async def test_a_machine_is_ended_by_others_even_without_a_control_group(provider, places):
    machine, other = await provider.boot(SLIM), await provider.boot(SLIM)
    pids = sorted(map(str, provider.process_ids(machine)))
    end_elsewhere(places.machine(machine.info.machine_id))
    with pytest.raises(MachineLost):
        await machine.run(["true"])
    await provider.stop(machine)
    await _gone(pids)
    assert await output(other, "echo", "alive") == "alive\n"


async def test_a_disk_with_locked_directories_is_removed(provider):
    machine = await provider.boot(SLIM)
    await machine.run(["sh", "-c", "mkdir -p ~/a/b/c && touch ~/a/b/c/d && chmod 000 ~/a/b/c ~/a/b ~/a"])
    await provider.stop(machine)
    assert await provider.strays() == []


async def test_what_cannot_be_had_is_refused_in_one_line(provider):
    with pytest.raises(ConfigError, match="names: slim, desktop"):
        await provider.boot(Spec(image="windows"))
    with pytest.raises(ConfigError, match="no network 'nat'"):
        await provider.boot(SLIM.model_copy(update={"network": "nat"}))
    with pytest.raises((ConfigError, ImageError)):
        await provider.boot(Spec(image="slim-0000000000000000"))
    with pytest.raises(MachineLost, match="disk is gone"):
        await provider.revive("m-unknown")


async def _act_until_it_fails(machine: Machine) -> None:
    while True:
        await machine.perform([Text(text="x")])


def _any_alive(pids: list[str]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


async def _gone(pids: list[str]) -> None:
    async with asyncio.timeout(5):
        while _any_alive(pids):  # noqa: ASYNC110  # not children of ours
            await asyncio.sleep(0.01)


def _process(provider: SandboxProvider, machine: Machine, name: str) -> int:
    for pid in sorted(provider.process_ids(machine)):
        command = command_line(pid)
        is_wrapper = command.startswith("bwrap")
        if (name == "bwrap") == is_wrapper and name in command:
            return pid
    raise MachineError(f"no {name} among the processes")
