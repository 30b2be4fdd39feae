"""Real virtual machines: forked while they run, equal at birth, independent afterwards, lost, kept and cleared up.

A cold start takes half a minute without hardware support, so one machine and one snapshot of it serve all tests.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from vm_pool.contract import CHECKS
from vm_pool.contract.pace import pace_of
from vm_pool.disk import tree_bytes
from vm_pool.errors import BootTimeout, ConfigError, GuestFileNotFound, GuestTimeout, MachineLost
from vm_pool.events import Chord, Move, Text
from vm_pool.guest_client import GuestMachine
from vm_pool.machine import Machine, WithClipboard
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Spec
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import OWN_UID, QemuUser
from vm_pool.strays import gc

if TYPE_CHECKING:
    from vm_pool.providers.libvirt import LibvirtProvider
    from vm_pool.providers.vm_cloning import Way

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

SLIM = Spec(image="slim", width=800, height=600, memory_mib=768, labels={"suite": "test_libvirt"})
TYPED = "written and never saved"
NOBODY = QemuUser(65534, 65534)
NOTHING_YET = "nothing was copied yet"
FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places():
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3v-") as state:
        yield VmPlaces(Path(state))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(places):
    from vm_pool.providers.libvirt import LibvirtProvider

    provider = LibvirtProvider(places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(provider):
    """A desktop with a text editor, in which something was typed that no file has."""
    machine = await provider.boot(SLIM)
    await machine.launch(["mousepad"])
    await until(lambda: has_window(machine, "Mousepad"))
    await machine.settle(timeout_ms=10_000)
    await machine.perform([Text(text=TYPED)])
    await machine.settle(timeout_ms=10_000)
    return machine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def snapshot(provider, original):
    snapshot = await provider.snapshot(original)
    yield snapshot
    await provider.drop(snapshot)


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0.05)


async def has_window(machine: Machine, title: str) -> bool:
    return any(title in window.title for window in await machine.windows())


async def output(machine: Machine, *argv: str) -> str:
    done = await machine.run(argv)
    return (done.stdout + done.stderr).strip()


async def typed(machine: Machine) -> str:
    """What the editor holds, by way of the clipboard."""
    assert isinstance(machine, WithClipboard)
    await machine.set_clipboard(NOTHING_YET)
    await machine.perform([Chord(keys=("ctrl", "a")), Chord(keys=("ctrl", "c"))])
    copied: list[str] = []

    async def is_there() -> bool:
        copied.append(await machine.clipboard() or NOTHING_YET)
        return copied[-1] != NOTHING_YET

    await until(is_there)
    return copied[-1]


async def test_forks_are_equal_at_birth_and_independent_afterwards(provider, original, snapshot):
    assert snapshot.includes_memory
    forks = await asyncio.gather(*(provider.fork(snapshot, labels={"fork": str(i)}) for i in range(3)))
    try:
        await _are_equal(original, forks)
        await _have_their_own_identity([original, *forks])
        await _go_their_own_ways(forks)
        await _show_what_they_draw(forks)
    finally:
        for fork in forks:
            await provider.stop(fork)


async def _are_equal(original: Machine, forks: list[Machine]) -> None:
    windows = [[window.title for window in await machine.windows()] for machine in (original, *forks)]
    assert windows[0]
    assert all(seen == windows[0] for seen in windows)
    assert [await typed(fork) for fork in forks] == [TYPED] * 3
    processes = {await output(fork, "pgrep", "-x", "mousepad") for fork in forks}
    assert processes == {await output(original, "pgrep", "-x", "mousepad")}


async def _show_what_they_draw(forks: list[Machine]) -> None:
    """What this host reads of a screen is what the machine itself says is on it, and each has its own."""
    for place, fork in enumerate(forks):
        await fork.perform([Move(x=100 * place + 100, y=300)])
        await until(partial(_looks_the_same_from_within, fork))
    pictures = [await fork.screenshot() for fork in forks]
    under_pointer = [picture.pixels[300:316, 100:416].tobytes() for picture in pictures]
    assert len(set(under_pointer)) == len(forks)


async def _looks_the_same_from_within(fork: Machine) -> bool:
    assert isinstance(fork, GuestMachine)
    assert fork._framebuffer is not None
    within = fork.another_client()
    here, there = await asyncio.to_thread(fork._framebuffer.grab), await within.screenshot()
    await within.aclose()
    return np.array_equal(here, there.pixels)


async def _have_their_own_identity(machines: list[Machine]) -> None:
    for command in ("hostname", "cat /etc/machine-id", "head -c 16 /dev/urandom | od -A n -t x1"):
        said = [await output(machine, "sh", "-c", command) for machine in machines]
        assert len(set(said)) == len(machines), f"{command}: {said}"
    for machine in machines:
        before = time.time()
        clock = float(await output(machine, "date", "+%s.%N"))
        assert before - 2 < clock < time.time() + 2


async def _go_their_own_ways(forks: list[Machine]) -> None:
    await forks[0].write("/home/user/only-here", b"first")
    await forks[0].write("/tmp/only-here", b"first")
    await forks[1].perform([Text(text="more")])
    await forks[1].settle(timeout_ms=10_000)
    for name in ("/home/user/only-here", "/tmp/only-here"):
        with pytest.raises(GuestFileNotFound):
            await forks[1].read(name)
    assert await forks[0].read("/tmp/only-here") == b"first"
    assert await typed(forks[2]) == TYPED
    assert await typed(forks[1]) != TYPED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pace(fork):
    return await pace_of(fork)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_a_fork_keeps_the_contract_of_machines(fork, pace, check):
    await check(fork, pace=pace)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fork(provider, snapshot):
    machine = await provider.fork(snapshot)
    yield machine
    await provider.stop(machine)


async def test_a_file_of_many_megabytes_crosses_the_channel_whole(fork):
    data = os.urandom(8 << 20)
    await fork.write("/tmp/large", data)
    assert await fork.read("/tmp/large") == data
    await output(fork, "rm", "/tmp/large")


async def test_the_desktop_is_an_ordinary_user_without_network(fork):
    assert await output(fork, "id", "-u") == "1000"
    assert (await output(fork, "cat", "/proc/net/dev")).count(":") == 1
    assert (await fork.run(["touch", "/usr/bin/x"])).returncode != 0
    command_line = await output(fork, "cat", "/proc/cmdline", "/proc/1/environ")
    assert fork._wire._headers["Authorization"].removeprefix("Bearer ") not in command_line


async def test_the_token_is_on_no_command_line_and_in_no_file_of_this_host(provider, places, fork):
    token = fork._wire._headers["Authorization"].removeprefix("Bearer ").encode()
    assert token not in _command_line(*provider.process_ids(fork))
    assert not _files_with(token, places.machine(fork.info.machine_id).path)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's QEMU is his own; run: sudo make test")
async def test_qemu_of_roots_is_not_root_and_others_can_read_neither_memory_nor_disk(provider, places, snapshot, fork):
    """Its uid owns what it writes on, and no folder that these files lie in."""
    (pid,) = provider.process_ids(fork)
    ids = _status(pid)
    assert (ids["Uid"], ids["CapPrm"], ids["CapEff"]) == ({str(OWN_UID)}, {"0" * 16}, {"0" * 16})
    assert "0" not in ids["Gid"] | ids["Groups"]
    folders = places.machine(fork.info.machine_id), places.snapshot(snapshot.snapshot_id)
    for path in (folders[0].disk, folders[0].screen, folders[0].console, folders[1].ram):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (OWN_UID, 0o600), path
    for path in (file for folder in folders for file in folder.path.iterdir()):
        assert not path.stat().st_mode & 0o002, path
        assert path.stat().st_uid in (0, OWN_UID)
        assert not NOBODY.may(path, "w")
        assert path.is_socket() or not NOBODY.may(path, "r"), path
    for folder in (folders[0].path, folders[1].path, places.machines, places.root, places.hosts):
        assert folder.stat().st_uid == 0
        assert not QemuUser(OWN_UID, OWN_UID).may(folder, "w")
        assert not QemuUser(OWN_UID, OWN_UID).may(folder, "r")


def _status(pid: int) -> dict[str, set[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: set(value.split()) for name, _, value in (line.partition(":\t") for line in lines)}


def _command_line(pid: int) -> bytes:
    """Empty when there is no such process."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _files_with(token: bytes, folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.is_file()]
    assert files
    return [path for path in files if token in path.read_bytes()]


async def test_a_fork_can_be_branched_while_it_runs(provider, snapshot, fork):
    await fork.write("/home/user/so-far", b"half way")
    await fork.perform([Text(text=" and on")])
    await fork.settle(timeout_ms=10_000)
    written = await typed(fork)
    branch = await provider.snapshot(fork)
    assert provider.pauses_ms[branch.snapshot_id] > 0
    await fork.write("/home/user/so-far", b"further")
    copy = await provider.fork(branch)
    await provider.drop(branch)
    assert await copy.read("/home/user/so-far") == b"half way"
    assert await fork.read("/home/user/so-far") == b"further"
    assert await typed(copy) == written != TYPED
    again = await provider.snapshot(copy)  # neither the branch nor its disk is needed any more
    await provider.stop(copy)
    await provider.drop(again)


async def test_forks_that_were_started_ahead_hear_who_they_are_when_they_are_lent(provider, original, snapshot):
    await provider.prepare(snapshot, 3)
    started = {stray.id for stray in await provider.strays() if stray.kind == "machine"}
    forks = [await provider.fork(snapshot, labels={"fork": str(i)}) for i in range(3)]
    try:
        assert {fork.info.machine_id for fork in forks} <= started
        await _are_equal(original, forks)
        await _have_their_own_identity([original, *forks])
        await _go_their_own_ways(forks)
        assert [await output(fork, "hostname") for fork in forks] == [f"desktop-{f.info.machine_id[2:]}" for f in forks]
        labels = {stray.id: stray.labels for stray in await provider.strays()}
        assert [labels[fork.info.machine_id]["fork"] for fork in forks] == ["0", "1", "2"]
    finally:
        for fork in forks:
            await provider.stop(fork)


async def test_a_machine_that_died_while_it_waited_is_not_lent_and_the_rest_end_with_their_snapshot(provider, fork):
    branch = await provider.snapshot(fork)
    await provider.prepare(branch, 2)
    first, second = (running.vm.pid for running in provider._spares._waiting[branch.snapshot_id])
    os.kill(first, signal.SIGKILL)
    lent = await provider.fork(branch)
    assert provider.process_ids(lent) == {second}
    await provider.stop(lent)
    await provider.prepare(branch, 1)
    (waiting,) = provider._spares._waiting[branch.snapshot_id]
    (stray,) = [stray for stray in await provider.strays() if stray.id == waiting.state.id]
    await provider.remove(stray)
    await provider.stop(await provider.fork(branch))
    await provider.prepare(branch, 1)
    (waiting,) = (running.vm.pid for running in provider._spares._waiting[branch.snapshot_id])
    await provider.drop(branch)
    assert not _command_line(waiting)


async def test_of_a_fork_that_never_answers_its_last_screen_is_told(provider, places, original, snapshot, tmp_path):
    from vm_pool.providers.libvirt import LibvirtProvider

    stopped = await provider.fork(snapshot)
    server = await output(stopped, "sh", "-c", "echo $PPID")
    await stopped.launch(["sh", "-c", f"sleep 1; kill -STOP {server}"])
    await until(lambda: _is_silent(stopped))
    without_answers = await provider.snapshot(stopped)
    await provider.stop(stopped)
    impatient = LibvirtProvider(places=places, fork_timeout_s=3.0)
    async with impatient.session():
        with pytest.raises(BootTimeout, match="was not ready after") as caught:
            await impatient.fork(without_answers)
    await provider.drop(without_answers)
    assert caught.value.report is not None
    assert caught.value.report.evidence.screen is not None
    with Image.open(caught.value.report.evidence.screen) as shown:
        assert shown.size == (SLIM.width, SLIM.height)
        pixels = np.asarray(shown)
    assert np.mean(pixels == (await original.screenshot()).pixels) > 0.9  # the caret blinks


async def _is_silent(machine: Machine) -> bool:
    try:
        await machine.run(["true"], timeout_s=1)
    except GuestTimeout:
        return True
    return False


async def test_a_promoted_machine_ends_and_is_the_original_of_others(provider, places, snapshot):
    machine = await provider.fork(snapshot)
    await machine.write("/home/user/so-far", b"half way")
    sizes: list[int] = []
    watching = asyncio.create_task(_watch(places.snapshots, sizes))
    promoted = await provider.promote(machine)
    watching.cancel()
    # Its memory is written once, straight into the file that forks map.
    assert max(sizes) < 1.2 * tree_bytes(places.snapshot(promoted.snapshot_id).path) + min(sizes)
    with pytest.raises(MachineLost):
        await machine.look(frozenset())
    assert not places.machine(machine.info.machine_id).path.exists()
    await provider.stop(machine)
    forks = await asyncio.gather(*(provider.fork(promoted) for _ in range(2)))
    for fork in forks:
        assert await fork.read("/home/user/so-far") == b"half way"
        assert await typed(fork) == TYPED
        await provider.stop(fork)
    await provider.drop(promoted)


async def _watch(folder: Path, sizes: list[int]) -> None:
    """How many bytes it takes on disk, time and again."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            sizes.append(await asyncio.to_thread(tree_bytes, folder))
        await asyncio.sleep(0.01)


@asynccontextmanager
async def copying_by(way: "Way", places: VmPlaces) -> AsyncGenerator["LibvirtProvider"]:
    """Another provider beside the module's, on the same files."""
    from vm_pool.providers.libvirt import LibvirtProvider

    provider = LibvirtProvider(places=places, cloning=way)
    async with provider.session():
        yield provider


async def test_where_memory_cannot_be_shared_each_copy_reads_all_of_it(places, snapshot):
    async with copying_by("restore", places) as provider:
        assert (await provider.ways(SLIM))[1] == "copies by restore: it was asked for"
        machine = await provider.fork(snapshot)
        saved = await provider.snapshot(machine)
        assert saved.includes_memory
        folder = places.snapshot(saved.snapshot_id)
        assert (folder.moved.exists(), folder.ram.exists()) == (True, False)
        copy = await provider.fork(saved)
        assert await typed(copy) == TYPED
        await _have_their_own_identity([machine, copy])
        await provider.stop(copy, keep_disk=True)
        revived = await provider.revive(copy.info.machine_id)
        assert await typed(revived) == TYPED
        await provider.drop(saved)


@pytest.mark.vm_long
async def test_where_nothing_running_can_be_saved_copies_start_cold_with_its_files_and_programs(places, snapshot):
    async with copying_by("boot", places) as provider:
        machine = await provider.fork(snapshot)
        await machine.write("/home/user/so-far", b"half way")
        saved = await provider.snapshot(machine)
        assert not saved.includes_memory
        assert saved.launched == (("mousepad",),)
        copy = await provider.fork(saved)
        assert await copy.read("/home/user/so-far") == b"half way"
        assert await has_window(copy, "Mousepad")
        await provider.drop(saved)


async def test_a_killed_machine_is_lost_and_the_pool_lends_another(provider, snapshot):
    pool = Pool(provider, concurrency=1)
    pool._open = True  # the session is the module's own
    async with pool.lease(snapshot) as machine:
        (pid,) = provider.process_ids(machine)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MachineLost):
            await until(lambda: _answers(machine), 20)
        replacement = await pool.replace(machine)
        assert await output(replacement, "echo", "alive") == "alive"


async def _answers(machine: Machine) -> bool:
    await machine.screenshot()
    return False


async def test_a_kept_machine_comes_back_with_its_programs_as_they_were(provider, snapshot):
    machine = await provider.fork(snapshot)
    machine_id = machine.info.machine_id
    await machine.perform([Text(text="!")])
    await machine.settle(timeout_ms=10_000)
    await provider.stop(machine, keep_disk=True)
    (stray,) = [stray for stray in await provider.strays() if stray.id == machine_id]
    assert (stray.owner_pid, stray.owner_alive) == (None, False)
    revived = await provider.revive(machine_id)
    assert revived.info.machine_id == machine_id
    assert await typed(revived) == TYPED + "!"
    await provider.stop(revived)
    with pytest.raises(MachineLost):
        await provider.revive(machine_id)


KILLED = """
import asyncio, sys
from pathlib import Path
from vm_pool.provider import Snapshot
from vm_pool.providers.libvirt import LibvirtProvider
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import OWN_UID, QemuUser

async def main():
    provider = LibvirtProvider(places=VmPlaces(Path(sys.argv[1])))
    async with provider.session():
        machine = await provider.fork(Snapshot.model_validate_json(sys.argv[2]), labels={"run": "killed"})
        print(machine.info.machine_id, *provider.process_ids(machine), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_what_a_killed_run_left_is_found_by_its_label_and_collected(provider, places, snapshot):
    command = [sys.executable, "-c", KILLED, str(places.root), snapshot.model_dump_json()]
    run = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert run.stdout is not None
    machine_id, pid = (await run.stdout.readline()).decode().split()
    run.kill()
    await run.wait()
    assert _command_line(int(pid))
    with pytest.raises(MachineLost, match="no memory of it was kept"):
        await provider.revive(machine_id)
    collected = await gc([provider], labels={"run": "killed"})
    assert [stray.id for stray in collected.removed] == [machine_id]
    assert collected.failed == []
    assert not _command_line(int(pid))
    assert not places.machine(machine_id).path.exists()
    places.sweep_hosts()
    assert not any(path.name.startswith(f"{run.pid}-") for path in places.hosts.iterdir())


async def test_a_start_that_is_cancelled_leaves_nothing(provider, places, snapshot):
    before = {stray.id for stray in await provider.strays()}
    starting = asyncio.create_task(provider.fork(snapshot))
    await until(lambda: _has_more_than(provider, before))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert {stray.id for stray in await provider.strays()} == before
    assert all(any(one.encode() in line for one in before) for line in _command_lines_with(places.machines))


def _command_lines_with(folder: Path) -> list[bytes]:
    lines = [_command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
    return [line for line in lines if os.fsencode(folder) in line]


async def _has_more_than(provider: Provider, before: set[str]) -> bool:
    return {stray.id for stray in await provider.strays()} > before


async def test_a_living_runs_machines_are_left_alone(provider, original):
    collected = await gc([provider], idle_too=True)
    assert original.info.machine_id not in {stray.id for stray in collected.removed}
    assert original.info.machine_id in {stray.id for stray in await provider.strays()}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"network": "bridge"}, "no network 'bridge'"),
        ({"network": "everything"}, "no network 'everything'"),
        ({"memory_mib": 0}, "memory of its own"),
        ({"image": "windows"}, "no image 'windows'"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(provider, change, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        await provider.boot(SLIM.model_copy(update=change))
    assert "\n" not in str(caught.value)


async def test_software_emulation_is_chosen_for_a_reason(provider):
    runs, copies, started = await provider.ways(SLIM)
    assert started == "started by libvirt inside this process"
    assert re.fullmatch(r"runs by (kvm|tcg): .+", runs)
    assert copies.startswith("copies by fork: ")
