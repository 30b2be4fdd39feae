"""What happened is on disk, whatever became of who wrote it."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vm_pool.pool_journal import Event, PoolJournal, What, of_machine

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WRITER = (
    "import sys, pathlib, datetime\n"
    "from vm_pool.pool_journal import Event, PoolJournal\n"
    "journal = PoolJournal(pathlib.Path(sys.argv[1]))\n"
    "for number in range(int(sys.argv[2])):\n"
    "    at = datetime.datetime.now(datetime.UTC)\n"
    "    journal.add(Event(at=at, what='lent', provider='fake', machine=f'm-{number}', reason='x' * 500))\n"
    "print('written', flush=True)\n"
    "sys.stdin.read()\n"
)


def event(what: What = "lent", **more) -> Event:
    return Event(at=NOON, what=what, provider="fake", **more)


@pytest.fixture
def journal(tmp_path: Path) -> PoolJournal:
    return PoolJournal(tmp_path / "pool" / "journal.jsonl")


def test_events_are_read_as_they_were_written(journal: PoolJournal) -> None:
    events = [event("asked", request="q-1", labels={"run": "r"}), event(machine="m-1", request="q-1", ms=2.5)]
    for one in events:
        journal.add(one)
    assert journal.events() == events
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_of_a_machine_there_is_also_what_led_to_it() -> None:
    told = [event("asked", request="q-1"), event("ready", request="q-1", machine="m-1")]
    others = [event("asked", request="q-2"), event("ready", request="q-2", machine="m-2")]
    assert of_machine([*others, *told, event("collected", machine="m-1")], "m-1") == [
        *told,
        event("collected", machine="m-1"),
    ]


def test_processes_that_write_at_once_and_are_killed_leave_whole_lines(journal: PoolJournal) -> None:
    argv = [sys.executable, "-c", WRITER, str(journal.path), "200"]
    writers = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
        writer.communicate()
    assert {(one.pid, one.machine) for one in journal.events()} == {
        (writer.pid, f"m-{number}") for writer in writers for number in range(200)
    }


def test_a_journal_that_is_full_becomes_the_older_one_of_two(tmp_path: Path) -> None:
    journal = PoolJournal(tmp_path / "journal.jsonl", limit_bytes=2000)
    for number in range(100):
        journal.add(event(machine=f"m-{number}"))
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) < 5000
    kept = [one.machine for one in journal.events()]
    assert kept == [f"m-{number}" for number in range(100 - len(kept), 100)]


def test_a_full_disk_loses_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    journal = PoolJournal(Path("/dev/full"))
    journal.add(event())
    journal.add(event())
    assert caplog.text.count("cannot be written") == 1
    assert "No space left on device" in caplog.text


def test_a_line_that_was_cut_short_costs_only_itself(journal: PoolJournal) -> None:
    journal.add(event(machine="m-1"))
    with journal.path.open("ab") as file:
        file.write(b'{"at": "2026-01-01T12:0')
    journal.add(event(machine="m-2"))
    assert [one.machine for one in journal.events()] == ["m-1", "m-2"]


def test_followers_get_what_came_since_also_when_the_journal_is_turned_over(tmp_path: Path) -> None:
    journal = PoolJournal(tmp_path / "journal.jsonl", limit_bytes=1000)
    steps = journal.follow()
    assert [next(steps), next(steps)] == [[], []]
    followed: list[str | None] = []
    for number in range(50):
        journal.add(event(machine=f"m-{number}"))
        if number % 3 == 0:
            followed += [one.machine for one in next(steps)]
    followed += [one.machine for one in next(steps)]
    assert followed == [f"m-{number}" for number in range(50)]


def test_long_reasons_are_cut(journal: PoolJournal) -> None:
    journal.add(event(reason="x" * 10_000))
    [found] = journal.events()
    assert found.reason is not None
    assert len(found.reason) < 2100
