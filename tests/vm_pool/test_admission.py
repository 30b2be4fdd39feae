"""Starts of all processes on a host keep to its memory and its processors together, whatever becomes of a process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vm_pool.admission import HostAdmission, available_mib, starts_borne
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
