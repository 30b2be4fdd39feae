"""What happened to machines, as people read it."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from viewer.faults import UserMistake
from viewer.pool_logs import event_words, follow, show
from vm_pool.boot_report import BootReport
from vm_pool.errors import HostUnfit
from vm_pool.pool_journal import Event, PoolJournal
from vm_pool.provider import Evidence
from vm_pool.providers.fake import FakeProvider

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Saying(FakeProvider):
    async def evidence(self, machine_id: str) -> Evidence:
        return Evidence(log="Xvfb is up\nopenbox is up") if machine_id == "m-1" else Evidence()


class Silent(FakeProvider):
    async def evidence(self, machine_id: str) -> Evidence:
        raise HostUnfit("no daemon")


@pytest.fixture
def journal(tmp_path: Path) -> PoolJournal:
    journal = PoolJournal(tmp_path / "journal.jsonl")
    report = BootReport(
        machine_id="m-2",
        provider="sandbox",
        reason="late",
        elapsed_s=61.0,
        attempts=2,
        evidence=Evidence(console="panic", log="no fonts\x1b[2J", screen="/s/m-2.png"),
    )
    for event in (
        Event(at=NOON, what="asked", provider="sandbox", request="q-1", source="slim", labels={"run": "r1"}),
        Event(at=NOON, what="ready", provider="sandbox", request="q-1", machine="m-1", source="slim", ms=210.0),
        Event(at=NOON, what="failed", provider="sandbox", request="q-2", machine="m-2", reason="late", report=report),
    ):
        journal.add(event)
    return journal


def test_an_event_is_one_line_and_steers_no_terminal() -> None:
    event = Event(at=NOON, what="lost", provider="fake", machine="m-1", labels={"run": "r\n1"}, reason="a\x1b[2Jb\nc")
    words = event_words(event)
    assert words.isprintable()
    assert words.endswith("lost m-1 fake run=r 1 (a[2Jb c)")


async def test_of_one_machine_what_happened_is_told_and_what_it_says_now(
    journal: PoolJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    await show(journal, [Silent(), FakeProvider(), Saying()], "m-1", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert ["asked" in lines[0], "ready" in lines[1], "210 ms" in lines[1]] == [True, True, True]
    assert lines[2:] == ["now:", "    log:", "      Xvfb is up", "      openbox is up"]


async def test_of_a_start_that_failed_the_report_is_told(
    journal: PoolJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    await show(journal, [], "m-2", as_json=False)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    2 attempts, 1:01 min in all",
        "    console:",
        "      panic",
        "    log:",
        "      no fonts[2J",
        "    last screen: /s/m-2.png",
    ]


async def test_as_json_it_is_one_object(journal: PoolJournal, capsys: pytest.CaptureFixture[str]) -> None:
    await show(journal, [Saying()], "m-1", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [event["what"] for event in told["events"]] == ["asked", "ready"]
    assert told["now"]["log"].startswith("Xvfb")


async def test_a_machine_that_never_was_is_a_mistake(journal: PoolJournal) -> None:
    with pytest.raises(UserMistake, match="nothing is known of 'm-9'"):
        await show(journal, [Saying()], "m-9", as_json=False)


async def test_who_follows_gets_what_comes_and_of_a_machine_also_what_led_to_it(
    journal: PoolJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    following = asyncio.create_task(follow(journal, "m-3", as_json=True))
    await asyncio.sleep(0.01)
    journal.add(Event(at=NOON, what="asked", provider="fake", request="q-3"))
    await asyncio.sleep(0.3)
    journal.add(Event(at=NOON, what="ready", provider="fake", request="q-3", machine="m-3"))
    told: list[str] = []
    async with asyncio.timeout(30):
        while len(told) < 2:
            await asyncio.sleep(0.01)
            told += [json.loads(line)["what"] for line in capsys.readouterr().out.splitlines()]
    following.cancel()
    assert told == ["asked", "ready"]
