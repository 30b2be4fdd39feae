"""Sandboxes that are saved with their running programs: forks go on with them, as well held in as sandboxes are."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from vm_pool.contract.check import run_check
from vm_pool.contract.clones import clones_of_a_running_desktop
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.provider_checks import Source
from vm_pool.errors import ConfigError, GuestError, GuestFileNotFound, MachineLost
from vm_pool.events import Chord, Text
from vm_pool.local_state import HOST_UID, Places
from vm_pool.machine import Machine
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_criu import CriuSandboxProvider
from vm_pool.providers.sandbox_criu_launch import ROOT_UID
from vm_pool.strays import gc

pytestmark = [pytest.mark.desktop, pytest.mark.criu, pytest.mark.asyncio(loop_scope="module")]

SLIM = Spec(image="slim", width=800, height=600, labels={"suite": "test_sandbox_criu"})
DESKTOP = SLIM.model_copy(update={"image": "desktop", "memory_mib": 3000})
TYPED = "never saved"
MOST_WATCHERS = 32
"""Inotify instances of one machine."""
LIMITS = r"""
grep -E 'Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:' /proc/self/status
unshare --user true; touch /usr/x /etc/x /opt/agent-s3/guest/x; mount -t tmpfs none /mnt; ls /sys/class/net 2>&1
"""
"""What holds a sandbox in, as far as it can be seen from inside."""
WATCHERS = """
import ctypes
libc = ctypes.CDLL(None)
print(next(count for count in range(1000) if libc.inotify_init() < 0))
"""
HOME = Chord(keys=("ctrl", "home"))
PAGE = (
    "data:text/html,<title>page</title><textarea autofocus oninput='document.title=this.value'"
    " style='width:600px;height:300px'></textarea>"
)


@contextmanager
def places_of_their_own() -> Generator[Places]:
    """Where the machines' uid may pass: pytest's own folders are closed to all others."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as state:
        Path(state).chmod(0o711)
        places = Places(Path(state), Path("/dev/shm") / Path(state).name)
        yield places
        assert list(places.machines.iterdir()) == []
        assert list(places.runtime.iterdir()) == []
        places.runtime.rmdir()


@pytest.fixture(scope="module")
def places():
    with places_of_their_own() as places:
        yield places


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(places):
    provider = CriuSandboxProvider(places=places)
    async with provider.session():
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(provider):
    """With unsaved text in an editor, and a terminal whose shell knows something."""
    machine = await provider.boot(SLIM)
    await machine.launch(["mousepad"])
    await until(lambda: has_window(machine, "Mousepad"))
    await machine.perform([Text(text=TYPED)])
    await machine.launch(["lxterminal"])
    await until(lambda: has_window(machine, "user@"))
    await machine.perform([Text(text="known=41"), Chord(keys=("Return",))])
    await machine.settle()
    yield machine
    await provider.stop(machine)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saved(provider, original):
    snapshot = await provider.snapshot(original)
    assert (snapshot.includes_memory, snapshot.without_memory) == (True, "")
    assert provider.pauses_ms[snapshot.snapshot_id] > 0
    yield snapshot
    await provider.drop(snapshot)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await condition():  # noqa: ASYNC110  # desktops signal nothing
            await asyncio.sleep(0.05)


async def has_window(machine: Machine, title: str) -> bool:
    return any(title in window.title for window in await machine.windows())


async def focus(machine: Machine, title: str) -> None:
    """Returns when the window has the keyboard: what wmctrl asks for, the window manager does later."""
    await machine.run(["wmctrl", "-a", title])

    async def has_it() -> bool:
        return any(window.active and title in window.title for window in await machine.windows())

    await until(has_it)


async def texts(machine: Machine) -> list[str]:
    return [node.text for node in (await machine.tree()).root.walk() if node.text]


async def shows(machine: Machine, text: str) -> bool:
    return text in await texts(machine)


async def output(machine: Machine, script: str) -> str:
    done = await machine.run(["sh", "-c", script])
    return done.stdout + done.stderr


async def reads(machine: Machine, path: str, content: str) -> bool:
    try:
        return (await machine.read(path)).decode() == content
    except GuestFileNotFound:
        return False


async def test_forks_have_unsaved_text_and_each_goes_on_by_itself(provider, original, saved):
    first, second = await asyncio.gather(provider.fork(saved), provider.fork(saved))
    for machine in (first, second):
        assert TYPED in await texts(machine)
    await focus(first, "Mousepad")
    await first.perform([Text(text=" but é 한 typed")])
    await until(lambda: shows(first, f"{TYPED} but é 한 typed"))
    assert TYPED in await texts(second)
    assert TYPED in await texts(original)
    for machine in (first, second):
        await provider.stop(machine)


async def test_the_shell_in_a_terminal_goes_on(provider, saved):
    fork = await provider.fork(saved)
    await fork.perform([Text(text="echo -n $((known + 1)) > answer"), Chord(keys=("Return",))])
    await until(lambda: reads(fork, "~/answer", "42"))
    await provider.stop(fork)


async def test_a_fork_can_be_saved_and_forked_again(provider, saved):
    fork = await provider.fork(saved)
    await fork.perform([Text(text="known=7"), Chord(keys=("Return",))])
    await fork.settle()
    later = await provider.snapshot(fork)
    assert later.includes_memory
    child = await provider.fork(later)
    await child.perform([Text(text="echo -n $known > answer"), Chord(keys=("Return",))])
    await until(lambda: reads(child, "~/answer", "7"))
    assert TYPED in await texts(child)
    for machine in (fork, child):
        await provider.stop(machine)
    await provider.drop(later)


def owners(pids: set[int]) -> list[int]:
    """Uids of processes, as this host knows them."""
    return [Path(f"/proc/{pid}").stat().st_uid for pid in pids]


async def test_machines_and_forks_are_held_in_as_sandboxes_are(provider, places, saved, original):
    fork = await provider.fork(saved)
    plain = SandboxProvider(places=Places(places.state / "plain", places.runtime))
    async with plain.session():
        usual = await output(await plain.boot(SLIM), LIMITS)
    assert "CapBnd:\t0000000000000000" in usual
    assert await output(original, LIMITS) == usual
    assert await output(fork, LIMITS) == usual
    for machine in (original, fork):
        assert int((await machine.run(["python3", "-c", WATCHERS])).stdout) <= MOST_WATCHERS
    options = "findmnt --list --noheadings --output TARGET,FSTYPE,VFS-OPTIONS | sort"
    assert await output(fork, options) == await output(original, options)
    assert sorted(set(owners(provider.process_ids(original)))) == [HOST_UID, ROOT_UID]
    restorer, *desktop = sorted(owners(provider.process_ids(fork)))
    assert (restorer, set(desktop)) == (0, {HOST_UID}), "root's is CRIU, which waits outside for their end"
    await provider.stop(fork)


async def test_a_fork_has_an_identity_and_a_token_of_its_own(provider, original, saved):
    fork = await provider.fork(saved)
    assert await fork.read("/etc/machine-id") != await original.read("/etc/machine-id")
    old = original.another_client()._wire.place_and_token(None)["token"]  # pyright: ignore[reportPrivateUsage]
    stranger = fork.another_client(token=old)
    with pytest.raises(GuestError):
        await stranger.run(["true"])
    await stranger.aclose()
    await provider.stop(fork)


CONNECTED = """
import socket, time
server = socket.create_server(("127.0.0.1", 4000))
client = socket.create_connection(server.getsockname())
open("up", "w")
time.sleep(600)
"""


async def test_what_cannot_be_saved_is_named_and_the_files_are_saved_all_the_same(provider, original, caplog):
    """A connection of the network's kind, which CRIU does not save here; programs are started again instead."""
    machine = await provider.boot(SLIM)
    await machine.write("~/note.txt", b"kept")
    await machine.launch(["python3", "-c", CONNECTED])
    await machine.launch(["mousepad"])
    await until(lambda: has_window(machine, "Mousepad"))
    await until(lambda: reads(machine, "~/up", ""))
    snapshot = await provider.snapshot(machine)
    assert not snapshot.includes_memory
    assert snapshot.without_memory.startswith("python3: ")
    assert f"is saved without its programs: {snapshot.without_memory}" in caplog.text
    assert snapshot.launched[-1] == ("mousepad",)
    assert await has_window(machine, "Mousepad"), "the original runs on"
    fork = await provider.fork(snapshot)
    assert await fork.read("~/note.txt") == b"kept"
    assert await has_window(fork, "Mousepad")
    for one in (machine, fork):
        await provider.stop(one)
    await provider.drop(snapshot)


async def test_another_client_is_the_reason_when_there_is_one(provider, original):
    other = original.another_client()
    await other.run(["true"])
    snapshot = await provider.snapshot(original)
    assert snapshot.without_memory == "another client is connected to the machine"
    await other.aclose()
    await provider.drop(snapshot)


async def test_requests_during_a_snapshot_wait_and_are_answered(provider, original):
    async def ask() -> str:
        return await output(original, "echo here")

    saving = asyncio.create_task(provider.snapshot(original))
    answers = []
    while not saving.done():
        answers.append(await ask())
    snapshot: Snapshot = await saving
    assert set(answers) == {"here\n"}
    assert snapshot.includes_memory, snapshot.without_memory
    await provider.drop(snapshot)


async def test_a_fork_that_was_kept_comes_back_with_its_programs_started_again(provider, saved):
    fork = await provider.fork(saved)
    await fork.write("~/note.txt", b"kept")
    await provider.stop(fork, keep_disk=True)
    again = await provider.revive(fork.info.machine_id)
    assert await again.read("~/note.txt") == b"kept"
    assert await has_window(again, "Mousepad")
    await provider.stop(again)


async def test_a_fork_whose_programs_end_is_lost(provider, saved):
    fork = await provider.fork(saved)
    with pytest.raises(MachineLost):
        await fork.run(["pkill", "-9", "-f", "agent-s3/guest"], timeout_s=5)
    with pytest.raises(MachineLost):
        await fork.screenshot()
    await provider.stop(fork)


async def test_a_dropped_snapshot_cannot_be_forked(provider, original):
    snapshot = await provider.snapshot(original)
    await provider.drop(snapshot)
    with pytest.raises(ConfigError, match="no snapshot"):
        await provider.fork(snapshot)


@pytest.mark.desktop("desktop")
async def test_an_open_spreadsheet_goes_on(provider):
    machine = await provider.boot(DESKTOP)
    await machine.launch(["localc", "--norestore"])
    await until(lambda: has_window(machine, "Untitled"))

    async def holds(one: Machine, text: str) -> bool:
        await one.perform([HOME, Chord(keys=("ctrl", "c"))])
        await one.settle()
        return ((await one.look(frozenset({"clipboard"}))).clipboard or "").strip() == text

    async def took_input() -> bool:
        """Its window is there before it listens to keys."""
        await machine.perform([HOME, Text(text="one"), Chord(keys=("enter",))])
        return await holds(machine, "one")

    await until(took_input)
    fork = await fork_with_memory(provider, machine)
    await until(lambda: holds(fork, "one"))
    await fork.perform([HOME, Text(text="two"), Chord(keys=("enter",))])
    await until(lambda: holds(fork, "two"))
    await provider.stop(fork)


@pytest.mark.desktop("desktop")
async def test_an_open_page_goes_on_with_what_was_typed_into_it(provider):
    machine = await provider.boot(DESKTOP)
    await machine.launch(["chromium", PAGE])
    await until(lambda: has_window(machine, "page"))
    await machine.settle(timeout_ms=10_000)
    await machine.perform([Text(text="one")])
    await until(lambda: has_window(machine, "one"))
    fork = await fork_with_memory(provider, machine)
    await fork.perform([Text(text=" two")])
    await until(lambda: has_window(fork, "one two"))
    await provider.stop(fork)


async def fork_with_memory(provider: CriuSandboxProvider, machine: Machine) -> Machine:
    """A fork of a machine that ends with this."""
    snapshot = await provider.snapshot(machine)
    assert snapshot.includes_memory, snapshot.without_memory
    await provider.stop(machine)
    fork = await provider.fork(snapshot)
    await provider.drop(snapshot)
    return fork


async def test_what_would_take_no_input_afterwards_is_saved_as_files(provider):
    machine = await provider.boot(SLIM)
    await machine.launch(["mousepad"])
    await until(lambda: has_window(machine, "Mousepad"))
    await machine.run(["pkill", "-STOP", "mousepad"])
    snapshot = await provider.snapshot(machine)
    assert "takes no input: the focused program has not dealt with its input yet" in snapshot.without_memory
    fork = await provider.fork(snapshot)
    await fork.perform([Text(text=TYPED)])
    await until(lambda: shows(fork, TYPED))
    for one in (machine, fork):
        await provider.stop(one)
    await provider.drop(snapshot)


async def test_a_fork_whose_programs_do_not_come_back_has_the_files_and_says_why(provider, places, original, caplog):
    await original.write("~/kept.txt", b"kept")
    snapshot = await provider.snapshot(original)
    assert snapshot.includes_memory, snapshot.without_memory
    (places.snapshot(snapshot.snapshot_id) / "memory" / "pstree.img").write_bytes(b"nonsense")
    fork = await provider.fork(snapshot)
    assert await fork.read("~/kept.txt") == b"kept"
    assert await has_window(fork, "Mousepad")
    assert TYPED not in await texts(fork)
    assert "its programs start again, for they could not be restored" in caplog.text
    assert "agent-s3: programs started again: " in (await provider.evidence(fork.info.machine_id)).log
    await provider.stop(fork)
    await provider.drop(snapshot)


async def test_a_machine_with_a_way_out_is_saved_without_its_programs(provider):
    machine = await provider.boot(SLIM.model_copy(update={"network": "allow:example.org"}))
    snapshot = await provider.snapshot(machine)
    assert snapshot.without_memory == "its way out to a network is open, and CRIU saves no such connections"
    await provider.stop(machine)
    await provider.drop(snapshot)


async def test_the_way_of_copying_is_named_and_can_be_chosen(provider, places):
    assert (await provider.ways(SLIM))[0].startswith("copies by restore: CRIU 4")
    simple = CriuSandboxProvider(places=Places(places.state / "simple", places.runtime), cloning="boot")
    assert await simple.ways(SLIM) == ("copies by boot: it was asked for",)
    async with simple.session():
        snapshot = await simple.snapshot(await simple.boot(SLIM))
        assert (snapshot.includes_memory, snapshot.without_memory) == (False, "it was asked for")
        fork = await simple.fork(snapshot)
        assert "CapBnd:\t0000000000000000" in await output(fork, LIMITS)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.sandbox_criu import CriuSandboxProvider

async def main():
    provider = CriuSandboxProvider(places=Places(Path(sys.argv[1]), Path(sys.argv[2])))
    async with provider.session():
        machine = await provider.boot(Spec(image="slim", width=800, height=600))
        fork = await provider.fork(await provider.snapshot(machine))
        print(*provider.process_ids(fork), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_forks_end_with_a_killed_run_and_what_they_leave_is_removed():
    with places_of_their_own() as places:
        command = [sys.executable, "-c", KILLED, str(places.state), str(places.runtime)]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        pids = run.stdout.split()
        assert pids, run.stderr
        await until(lambda: asyncio.to_thread(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)))
        collected = await gc([CriuSandboxProvider(places=places)])
        assert sorted(stray.kind for stray in collected.removed) == ["machine", "machine", "snapshot"]


@pytest.mark.timeout(400)
async def test_clones_are_equal_with_their_memory_and_independent_afterwards(provider):
    async with clones_of_a_running_desktop(Source(provider, SLIM), 3) as clones:
        assert clones.snapshot.includes_memory, clones.snapshot.without_memory
        results = [await run_check(one, clones) for one in FIDELITY_CHECKS]
    assert [f"{one.check}: {one.reason}" for one in results if one.outcome == "failed"] == []
    assert {one.missing for one in results if one.outcome == "not_applicable"} == {"hostname", "network", "programs"}
