"""Starts of all processes on a host keep to its memory and its processors together, whatever becomes of a process."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vm_pool.admission import HostAdmission, available_mib, starts_borne
from vm_pool.admission_others import starting_elsewhere
from vm_pool.errors import HostBusy, HostUnfit
from vm_pool.pool import Pool
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider

HOLDER = (
    "import asyncio, pathlib, sys\n"
    "from vm_pool.admission import HostAdmission\n"
    "async def main():\n"
    "    admission = HostAdmission(pathlib.Path(sys.argv[1]), slots=lambda: 4, available=lambda: 10_000)\n"
    "    async with admission.start(int(sys.argv[2])):\n"
    "        print('held', flush=True)\n"
    "        await asyncio.sleep(60)\n"
    "asyncio.run(main())\n"
)
Make = Callable[..., HostAdmission]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(*, slots: int = 4, available: int = 10_000, timeout_s: float = 0.0, **more: Any) -> HostAdmission:
        return HostAdmission(
            tmp_path / "starts", slots=lambda: slots, available=lambda: available, timeout_s=timeout_s, **more
        )

    return made


async def test_so_many_start_at_once_and_no_more(make: Make) -> None:
    one, other = make(slots=2), make(slots=2)
    async with one.start(1), other.start(1):
        with pytest.raises(HostBusy, match="2 machines are starting on this host, as many as it bears"):
            async with one.start(1):
                pass
    async with one.start(1), other.start(1):
        pass


async def test_a_start_waits_for_its_place(make: Make) -> None:
    admission = make(slots=1, timeout_s=30)
    order: list[int] = []

    async def start(number: int) -> None:
        async with admission.start(1):
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(start(number))
    assert order == [0, 1, 2, 3, 4]


async def test_memory_is_kept_for_those_that_are_starting_and_for_the_host(make: Make) -> None:
    admission = make(available=1000, spare_mib=300)
    async with admission.start(400):
        with pytest.raises(HostBusy, match="a machine takes 400 MiB and 300 MiB of memory are left"):
            async with admission.start(400):
                pass
        async with admission.start(300):
            pass


async def test_a_lower_limit_counts_those_that_began_under_a_higher_one(make: Make) -> None:
    before, now = make(slots=3), make(slots=2)
    async with before.start(1), before.start(1), before.start(1):
        with pytest.raises(HostBusy, match="3 machines are starting"):
            async with now.start(1):
                pass


async def test_a_process_that_is_killed_leaves_its_place(make: Make, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "starts"), "9000"]
    holder = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with pytest.raises(HostBusy, match="488 MiB of memory are left"):
        async with make().start(600):
            pass
    holder.kill()
    await holder.wait()
    async with make().start(600):
        pass


async def test_a_start_that_is_given_up_while_it_waits_holds_nothing(make: Make) -> None:
    admission = make(slots=1, timeout_s=30)
    async with admission.start(1):
        waiting = asyncio.create_task(admission.start(1).__aenter__())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with admission.start(1):
        pass


async def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "starts").symlink_to("/etc")
    with pytest.raises(HostUnfit, match="belongs to somebody else"):
        async with HostAdmission(tmp_path / "starts").start(1):
            pass


def test_the_host_says_what_it_has(tmp_path: Path) -> None:
    assert available_mib() > 100
    assert starts_borne() >= (os.cpu_count() or 1)
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    with pytest.raises(HostUnfit, match="how much memory is available"):
        available_mib(tmp_path / "meminfo")


async def test_a_pool_starts_no_machine_that_the_host_has_no_room_for(make: Make) -> None:
    class Heavy(FakeProvider):
        birth_mib = 20_000

    spec = Spec(image="fake", width=64, height=48)
    async with Pool(Heavy(), concurrency=1, admission=make()) as pool:
        with pytest.raises(HostBusy, match="20000 MiB"):
            async with pool.lease(spec):
                pass
    async with Pool(FakeProvider(), concurrency=1, admission=make(available=0)) as pool, pool.lease(spec):
        assert len(pool.leases()) == 1


RUNNER = (
    "import asyncio, pathlib, sys, time\n"
    "from vm_pool.admission import HostAdmission\n"
    "async def start(admission):\n"
    "    async with admission.start(1):\n"
    "        print(time.monotonic_ns(), flush=True)\n"
    "        await asyncio.sleep(0.02)\n"
    "async def main():\n"
    "    admission = HostAdmission(pathlib.Path(sys.argv[1]), slots=lambda: 1, available=lambda: 10_000)\n"
    "    print('up', flush=True)\n"
    "    sys.stdin.readline()\n"
    "    await asyncio.gather(*(start(admission) for _ in range(int(sys.argv[2]))))\n"
    "asyncio.run(main())\n"
)


async def test_two_runs_get_their_starts_in_turn_however_many_each_wants(make: Make, tmp_path: Path) -> None:
    """One process wants thirty starts, another six: the six are not made to wait for the thirty."""
    folder = tmp_path / "starts"
    greedy, modest = await _runner(folder, 30), await _runner(folder, 6)
    for process in (greedy, modest):
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    (much, _), (little, _) = await asyncio.gather(greedy.communicate(), modest.communicate())
    of_greedy, of_modest = sorted(map(int, much.split())), sorted(map(int, little.split()))
    assert (len(of_greedy), len(of_modest)) == (30, 6)
    both = sorted([*((at, "greedy") for at in of_greedy), *((at, "modest") for at in of_modest)])
    while both[0][1] == "greedy" and both[0][0] < of_modest[0]:
        both.pop(0)
    turns = "".join("m" if who == "modest" else "g" for _, who in both[:13])
    assert turns.count("m") == 6, f"in turn, not {turns}"


async def _runner(folder: Path, count: int) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-c", RUNNER, str(folder), str(count)]
    process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    return process


async def test_a_process_that_stands_still_in_the_queue_is_passed_by(make: Make, tmp_path: Path) -> None:
    async with make(slots=1).start(1):
        waiting = await _runner(tmp_path / "starts", 1)
        assert waiting.stdin is not None
        waiting.stdin.write(b"go\n")
        queue = tmp_path / "starts" / "queue"
        async with asyncio.timeout(30):
            while not any(f"-{waiting.pid}-" in path.name for path in queue.iterdir()):  # noqa: ASYNC110 - it signals nothing
                await asyncio.sleep(0.01)
        waiting.send_signal(signal.SIGSTOP)
    try:
        async with make(slots=1, timeout_s=30).start(1):
            pass
    finally:
        waiting.kill()
        await waiting.communicate()
    async with make(slots=1, timeout_s=30).start(1):
        pass
    assert list(queue.iterdir()) == []


async def test_a_start_that_lacks_memory_lets_others_pass_after_a_while(make: Make) -> None:
    large = asyncio.create_task(make(available=1000, timeout_s=30, held_up_s=0.05).start(5000).__aenter__())
    await asyncio.sleep(0.05)
    async with make(available=1000, timeout_s=30).start(100):
        assert not large.done()
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large


STRANGER = 54_321


def _folders_of_two(base: Path) -> tuple[Path, Path]:
    mine, theirs = base / f"starts-{os.geteuid()}", base / f"starts-{STRANGER}"
    base.chmod(0o755)
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    return mine, theirs


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are played by root only; run: sudo make test")
async def test_starts_of_other_users_are_counted_but_never_keep_a_user_from_his_only_one() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="s3a-") as name:
        mine, theirs = _folders_of_two(Path(name))
        slot = str(theirs / "0")
        holder = await asyncio.create_subprocess_exec(
            *("flock", slot, "sh", "-c", 'printf 700 > "$0"; echo held; read line', slot),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=STRANGER,
            cwd="/",
        )
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        assert starting_elsewhere(mine) == (1, 700)
        gate = HostAdmission(mine, slots=lambda: 2, available=lambda: 1500, timeout_s=0.0)
        async with gate.start(100):
            with pytest.raises(HostBusy, match="2 machines are starting on this host"):
                async with gate.start(100):
                    pass
        await holder.communicate(b"")
        assert starting_elsewhere(mine) == (0, 0)
        async with gate.start(100), gate.start(100):
            pass
