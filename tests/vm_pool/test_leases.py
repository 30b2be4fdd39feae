"""Leases are renewed while their holder lives and works; others see who does not, and may take what it had."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vm_pool import strays
from vm_pool.errors import ConfigError, MachineLost
from vm_pool.lease_book import LeaseBook
from vm_pool.local_state import Places
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.pool_journal import PoolJournal
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.sandbox import SandboxProvider

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = Spec(image="fake", width=64, height=48, ttl_s=3600)
BRIEF = 0.12
"""A lease that beats every 10 ms."""
HOLDER = (
    "import asyncio, pathlib, sys\n"
    "from vm_pool.errors import MachineLost\n"
    "from vm_pool.local_state import Places\n"
    "from vm_pool.pool import Pool\n"
    "from vm_pool.provider import Spec\n"
    "from vm_pool.providers.sandbox import SandboxProvider\n"
    "async def main():\n"
    "    provider = SandboxProvider(places=Places(*map(pathlib.Path, sys.argv[1:3])))\n"
    "    async with Pool(provider, concurrency=1, lease_s=1.0) as pool:\n"
    "        async with pool.lease(Spec(image='slim', width=640, height=480), labels={'run': 'r1'}) as machine:\n"
    "            print(machine.info.machine_id, flush=True)\n"
    "            await asyncio.to_thread(sys.stdin.readline)\n"
    "            try:\n"
    "                while True:\n"
    "                    await machine.screenshot()\n"
    "                    await asyncio.sleep(0.05)\n"
    "            except MachineLost as error:\n"
    "                print(error, flush=True)\n"
    "asyncio.run(main())\n"
)
DIES = (
    "import asyncio, os, pathlib, sys\n"
    "from vm_pool.lease_book import LeaseBook\n"
    "from vm_pool.pool import Pool\n"
    "from vm_pool.provider import Spec\n"
    "from vm_pool.providers.fake import FakeProvider\n"
    "async def main():\n"
    "    book = LeaseBook(pathlib.Path(sys.argv[1]))\n"
    "    async with Pool(FakeProvider(), concurrency=1, book=book) as pool, pool.lease(Spec(image='fake')):\n"
    "        os.kill(os.getpid(), 9)\n"
    "asyncio.run(main())\n"
)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path) -> LeaseBook:
    return LeaseBook(tmp_path / "leases")


@pytest.fixture
def journal(tmp_path: Path) -> PoolJournal:
    return PoolJournal(tmp_path / "journal.jsonl")


@pytest.fixture
async def pool(clock: Clock, book: LeaseBook, journal: PoolJournal) -> AsyncGenerator[Pool]:
    async with Pool(FakeProvider(), concurrency=2, lease_s=BRIEF, clock=clock, book=book, journal=journal) as pool:
        yield pool


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what others do signals nothing
            await asyncio.sleep(0.005)


async def end_of(machine: Machine) -> MachineLost:
    """What its user hears when it goes."""
    async with asyncio.timeout(30):
        while True:
            try:
                await machine.screenshot()
            except MachineLost as error:
                return error
            await asyncio.sleep(0.005)


async def test_a_lease_stands_in_the_book_as_long_as_it_lasts(pool: Pool, book: LeaseBook, clock: Clock) -> None:
    async with pool.lease(SPEC, labels={"run": "r1"}) as machine:
        [seen] = book.all()
        assert (seen.note.machine_id, seen.note.owner.pid) == (machine.info.machine_id, os.getpid())
        assert (seen.note.since, seen.note.deadline) == (NOON, NOON + timedelta(hours=1))
        assert seen.note.labels == {"run": "r1"}
        assert seen.heartbeat == NOON
        [lease] = pool.leases()
        assert lease.deadline == NOON + timedelta(hours=1)
        clock.now += timedelta(minutes=1)
        await until(lambda: book.all()[0].heartbeat == clock.now)
        assert not book.all()[0].silent(clock.now)
    assert book.all() == []


async def test_a_machine_whose_time_is_over_is_stopped_and_its_user_hears_why(
    pool: Pool, book: LeaseBook, journal: PoolJournal, clock: Clock
) -> None:
    async with pool.lease(SPEC) as machine:
        clock.now += timedelta(hours=1)
        await until(lambda: not book.all())
        assert str(await end_of(machine)) == (
            "fake-0 was stopped: its time of 3600 s is over; ask for a longer `ttl_s`"
        )
        with pytest.raises(MachineLost, match="its time of 3600 s is over"):
            await pool.replace(machine)
    assert [one.what for one in journal.events("fake-0")] == [
        *("asked", "admitted", "ready", "lent"),
        *("expired", "stopped"),
    ]


async def test_a_machine_of_an_earlier_process_is_lent_again_with_a_lease_like_that_of_a_new_one(
    pool: Pool, book: LeaseBook, journal: PoolJournal, clock: Clock
) -> None:
    left = await pool.provider.boot(SPEC)
    machine_id = left.info.machine_id
    async with pool.lease_again(machine_id, SPEC, labels={"run": "r1"}, keep_disk=True) as machine:
        assert machine is left
        [seen] = book.all()
        assert (seen.note.machine_id, seen.note.labels, seen.note.spare) == (machine_id, {"run": "r1"}, False)
        assert seen.note.deadline == NOON + timedelta(hours=1)
        with pytest.raises(ConfigError, match="is lent already"):
            async with pool.lease_again(machine_id, SPEC):
                pass
        clock.now += timedelta(minutes=1)
        await until(lambda: book.all()[0].heartbeat == clock.now)
        clock.now += timedelta(hours=1)
        await until(lambda: not book.all())
        assert "its time of 3600 s is over" in str(await end_of(machine))
    assert [one.what for one in journal.events(machine_id)] == [
        *("asked", "admitted", "ready", "lent"),
        *("expired", "stopped"),
    ]


async def test_a_machine_that_cannot_be_had_again_is_refused_and_leaves_its_place_to_others(
    book: LeaseBook, journal: PoolJournal
) -> None:
    async with Pool(FakeProvider(), concurrency=1, book=book, journal=journal) as pool:
        with pytest.raises(MachineLost, match="m-never-was is gone"):
            async with pool.lease_again("m-never-was", SPEC):
                pass
        async with pool.lease(SPEC):
            assert len(book.all()) == 1
    assert "refused" in [one.what for one in journal.events()]


async def test_forks_have_the_time_of_what_they_were_forked_from(pool: Pool) -> None:
    async with pool.lease(SPEC) as machine:
        snapshot = await pool.provider.snapshot(machine)
    async with pool.lease(snapshot):
        assert [lease.deadline - lease.since for lease in pool.leases()] == [timedelta(hours=1)]


async def test_a_holder_whose_event_loop_hangs_is_seen_and_what_it_had_may_be_taken(
    book: LeaseBook, journal: PoolJournal
) -> None:
    """The pool lives in a thread of its own whose loop stands still while others look."""
    provider, hangs, go_on = FakeProvider(), threading.Event(), threading.Event()
    said: list[str] = []

    async def hold() -> None:
        pool = Pool(provider, concurrency=1, lease_s=BRIEF, book=book, journal=journal)
        async with pool, pool.lease(SPEC) as machine:
            hangs.set()
            go_on.wait(30)
            said.append(str(await end_of(machine)))

    holder = threading.Thread(target=lambda: asyncio.run(hold()))
    holder.start()
    assert await asyncio.to_thread(hangs.wait, 30)
    later = datetime.now(UTC) + timedelta(seconds=1)
    [left] = await strays.ls([provider], now=later, book=book)
    assert left.stray.silent
    assert left.stray.heartbeat is not None
    collected = await strays.gc([provider], now=later, book=book, journal=journal)
    assert [one.id for one in collected.removed] == ["fake-0"]
    go_on.set()
    await asyncio.to_thread(holder.join)
    assert said
    assert journal.events("fake-0")[4].reason == f"machine: process {os.getpid()} hangs: it does not renew its lease"


async def test_who_lost_a_lease_hears_that_it_was_taken(pool: Pool, book: LeaseBook, journal: PoolJournal) -> None:
    async with pool.lease(SPEC) as machine:
        book.take_away("fake", "fake-0", os.getpid())
        await until(lambda: any(one.what == "taken" for one in journal.events()))
        assert "fake-0 was taken away: this process did not renew its lease for 0.12 s" in str(await end_of(machine))


async def test_a_folder_of_leases_that_was_deleted_takes_no_machine(pool: Pool, book: LeaseBook) -> None:
    async with pool.lease(SPEC) as machine:
        shutil.rmtree(book.folder)
        await until(lambda: bool(book.all()))
        assert await pool.healthy(machine)


async def test_a_loss_that_ends_a_lease_is_noted(pool: Pool, journal: PoolJournal) -> None:
    with pytest.raises(MachineLost):
        async with pool.lease(SPEC):
            raise MachineLost("it burnt")
    assert [(one.what, one.reason) for one in journal.events()][-2:] == [("lost", "it burnt"), ("stopped", None)]


async def test_what_hung_processes_hold_besides_leases_is_lost_with_them(book: LeaseBook) -> None:
    provider = FakeProvider()
    starting = await provider.boot(SPEC)
    async with Pool(provider, concurrency=1, book=book) as pool, pool.lease(SPEC):
        now = datetime.now(UTC)
        assert [one.stray.silent for one in await strays.ls([provider], now=now, book=book)] == [False, False]
        later = now + timedelta(minutes=5)
        assert [one.stray.silent for one in await strays.ls([provider], now=later, book=book)] == [True, True]
    await provider.stop(starting)


async def test_leases_of_dead_processes_are_swept(book: LeaseBook) -> None:
    argv = [sys.executable, "-c", DIES, str(book.folder)]
    await (await asyncio.create_subprocess_exec(*argv)).wait()
    assert len(book.all()) == 1
    await strays.gc([], book=book)
    assert list(book.folder.iterdir()) == []


async def test_a_book_that_cannot_be_written_keeps_nobody_from_leasing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = tmp_path / "file"
    closed.write_text("no folder")
    pool = Pool(FakeProvider(), concurrency=1, lease_s=BRIEF, book=LeaseBook(closed))
    async with pool, pool.lease(SPEC) as machine:
        await asyncio.sleep(2 * BRIEF)
        assert await pool.healthy(machine)
    assert "the lease of fake-0 could not be noted" in caplog.text


@asynccontextmanager
async def holding(places: Places) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Another process that has a desktop; and the desktop's id."""
    argv = [sys.executable, "-c", HOLDER, str(places.state), str(places.runtime)]
    process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.desktop("slim")
async def test_a_process_that_stands_still_loses_its_desktop_and_hears_of_it_when_it_goes_on(places: Places) -> None:
    provider = SandboxProvider(places=places)
    async with holding(places) as (process, machine_id):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\n")
        [before] = await strays.ls([provider])
        assert (before.stray.labels, before.stray.silent) == ({"run": "r1"}, False)
        assert not strays.removable(before.stray, datetime.now(UTC))
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            while not (await strays.ls([provider]))[0].stray.silent:  # noqa: ASYNC110 - a heartbeat that stays away
                await asyncio.sleep(0.05)
        collected = await strays.gc([provider])
        assert [one.id for one in collected.removed] == [machine_id]
        process.send_signal(signal.SIGCONT)
        said = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert machine_id in said
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert await strays.ls([provider]) == []
