"""What sandboxes and containers do alike: limits, forks of files and programs, kept disks, starts cut short."""

import asyncio
import contextlib

import pytest
from looking import output, until_there_is_a_window

from vm_pool.errors import ConfigError
from vm_pool.local_state import Places
from vm_pool.provider import Provider, Spec, Stray
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_cgroup import find_hierarchy
from vm_pool.strays import gc

SLIM = Spec(image="slim", width=800, height=600, labels={"suite": "test_shared_kernel"})
NOTE = "/home/user/Documents/note.txt"


@pytest.fixture
def limiting(contained: Provider) -> Provider:
    if isinstance(contained, SandboxProvider) and find_hierarchy() is None:
        pytest.skip("no control group can be made; run as root")
    return contained


async def left_by(contained: Provider) -> list[Stray]:
    """All but networks, which the machines of other tests on the same daemon may have needed."""
    return [stray for stray in await contained.strays() if stray.kind != "network"]


async def test_the_memory_limit_bites_and_the_desktop_lives_on(limiting: Provider) -> None:
    machine = await limiting.boot(SLIM.model_copy(update={"memory_mib": 300}))
    eaten = await machine.run(["python3", "-c", "x = bytearray(600 << 20); print(len(x))"], timeout_s=30)
    assert eaten.returncode != 0
    assert eaten.stdout == ""
    assert await output(machine, "echo", "alive") == "alive\n"


async def test_the_process_limit_bites(limiting: Provider) -> None:
    machine = await limiting.boot(SLIM.model_copy(update={"pids": 60}))
    bomb = (
        "import os, time\n"
        "try:\n"
        "    for _ in range(200):\n"
        "        os.fork() or os._exit(time.sleep(2) or 0)\n"
        "except OSError as error: print(error.errno)\n"
    )
    assert await output(machine, "python3", "-c", bomb) == "11\n"


async def test_a_fork_has_the_files_and_programs_of_its_original_and_goes_its_own_way(contained: Provider) -> None:
    original = await contained.boot(SLIM)
    await original.write(NOTE, b"as it was\n")
    await original.write("/tmp/scratch", b"kept")
    await original.run(["mv", "/home/user/Music", "/home/user/Sounds"])
    await original.run(["rm", "/home/user/.profile"])
    await original.launch(["mousepad", NOTE])
    await until_there_is_a_window(original, "note.txt")
    snapshot = await contained.snapshot(original)
    assert snapshot.launched == (("mousepad", NOTE),)
    forks = await asyncio.gather(*(contained.fork(snapshot, labels={"fork": str(i)}) for i in range(2)))
    for fork in forks:
        assert any("note.txt" in window.title for window in await fork.windows())
        assert await fork.read(NOTE) == b"as it was\n"
        assert await fork.read("/tmp/scratch") == b"kept"
        listed = (await output(fork, "ls", "-A", "/home/user")).split()
        assert ("Sounds" in listed, "Music" in listed, ".profile" in listed) == (True, False, False)
    assert len({await output(machine, "cat", "/etc/machine-id") for machine in (original, *forks)}) == 3
    await forks[0].write(NOTE, b"changed\n")
    assert await forks[1].read(NOTE) == b"as it was\n"
    assert await original.read(NOTE) == b"as it was\n"
    await contained.drop(snapshot)
    await contained.drop(snapshot)
    assert await forks[1].read(NOTE) == b"as it was\n"
    with pytest.raises(ConfigError, match="no snapshot"):
        await contained.fork(snapshot)


async def test_a_fork_of_a_fork_has_what_was_changed_and_not_what_was_deleted(contained: Provider) -> None:
    original = await contained.boot(SLIM)
    await original.write(NOTE, b"x")
    first = await contained.snapshot(original)
    fork = await contained.fork(first)
    await fork.run(["rm", NOTE, "/home/user/.profile"])
    await fork.write("/home/user/new", b"changed")
    second = await contained.snapshot(fork)
    await contained.drop(first)
    grandchild = await contained.fork(second)
    listed = await output(grandchild, "ls", "-A", "/home/user", "/home/user/Documents")
    assert (".profile" in listed, "note.txt" in listed) == (False, False)
    assert await grandchild.read("/home/user/new") == b"changed"
    await contained.drop(second)


async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(contained: Provider, places: Places) -> None:
    for delay in (0.0, 0.01, 0.05, 0.1, 0.2, 0.5):
        starting = asyncio.create_task(contained.boot(SLIM))
        await asyncio.sleep(delay)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await contained.stop(await starting)  # on a quick host it has started by then
        assert list(places.runtime.iterdir()) == []
        assert await left_by(contained) == []


async def test_a_kept_disk_is_revived_with_its_programs_and_tells_what_changed(contained: Provider) -> None:
    machine = await contained.boot(SLIM)
    await machine.write(NOTE, b"kept")
    await machine.launch(["mousepad", NOTE])
    await until_there_is_a_window(machine, "note.txt")
    await contained.stop(machine, keep_disk=True)
    (stray,) = await left_by(contained)
    found = (stray.kind, stray.id, stray.owner_pid, stray.labels)
    assert found == ("machine", machine.info.machine_id, None, SLIM.labels)
    assert [removed for removed in (await gc([contained])).removed if removed.kind != "network"] == []
    revived = await contained.revive(machine.info.machine_id)
    assert await revived.read(NOTE) == b"kept"
    assert any("note.txt" in window.title for window in await revived.windows())
    files = (await revived.look(frozenset({"files"}))).files
    assert files is not None
    assert (NOTE, "created") in [(change.path, change.kind) for change in files.changes]
    assert await contained.revive(machine.info.machine_id) is revived
