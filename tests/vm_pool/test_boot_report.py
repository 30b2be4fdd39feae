"""A machine that does not become ready says why, and what it said and showed is kept when it is gone."""

from pathlib import Path

import pytest
from PIL import Image

from vm_pool.boot_report import TAIL_BYTES, explained, keep_screen, printable, tail_of
from vm_pool.errors import BootTimeout, MachineLost, VMPoolError
from vm_pool.lease_book import LeaseBook
from vm_pool.local_state import Places
from vm_pool.pool import Pool
from vm_pool.pool_journal import PoolJournal
from vm_pool.provider import Evidence, Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.sandbox import SandboxProvider

SLIM = Spec(image="slim", width=640, height=480)


class Explained(FakeProvider):
    """Its machines do not become ready; they say something before they go."""

    def __init__(self, error: VMPoolError):
        super().__init__()
        self.error = error
        self.tries = 0

    async def boot(self, spec):
        self.tries += 1
        async with explained(self, f"m-{self.tries}"):
            raise self.error
        raise AssertionError

    async def evidence(self, machine_id: str) -> Evidence:
        return Evidence(log=f"{machine_id}: no fonts", screen="/screens/m.png")


@pytest.fixture
def journal(tmp_path: Path) -> PoolJournal:
    return PoolJournal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize("kind", [BootTimeout, MachineLost])
async def test_the_error_carries_what_the_machine_said_last(
    kind: type[BootTimeout] | type[MachineLost], journal: PoolJournal, tmp_path: Path
) -> None:
    provider = Explained(kind("m was not ready after 30 s"))
    async with Pool(provider, concurrency=1, journal=journal, book=LeaseBook(tmp_path)) as pool:
        with pytest.raises(kind, match="not ready after 30 s; see: agent-s3 pool logs m-1") as caught:
            async with pool.lease(Spec(image="fake")):
                pass
    report = caught.value.report
    assert report is not None
    assert (report.machine_id, report.attempts) == ("m-2", 2)
    assert report.evidence == Evidence(log="m-2: no fonts", screen="/screens/m.png")
    failed = [one for one in journal.events() if one.what == "failed"]
    assert [one.machine for one in failed] == ["m-1", "m-2"]
    assert failed[-1].report == report
    assert [one.what for one in journal.events("m-2")] == ["asked", "admitted", "admitted", "failed", "refused"]


def test_only_the_end_of_what_a_machine_wrote_is_told_and_nothing_that_steers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000 + b"\n\x1b[31mred\x07\nthe token is s3cret\n\xff\n\n")
    told = tail_of(log, without="s3cret")
    assert len(told) <= TAIL_BYTES
    assert told.splitlines()[1:] == [" [31mred", "the token is ***", "\ufffd"]
    assert printable(b"a\tb") == "a b"
    (tmp_path / "link").symlink_to(log)
    assert tail_of(tmp_path / "link") == ""
    assert tail_of(tmp_path / "none") == ""


def test_only_the_newest_screens_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGENT_S3_STATE", str(tmp_path))
    paths = [keep_screen(f"m-{number}", b"png") for number in range(103)]
    assert len(list((tmp_path / "pool" / "screens").iterdir())) == 100
    assert Path(paths[-1]).read_bytes() == b"png"


@pytest.mark.desktop("slim")
async def test_a_desktop_that_is_late_is_explained_after_its_folder_has_gone(
    places: Places, journal: PoolJournal, tmp_path: Path
) -> None:
    provider = SandboxProvider(places=places, boot_timeout_s=0.001)
    async with Pool(provider, concurrency=1, journal=journal, book=LeaseBook(tmp_path / "leases")) as pool:
        with pytest.raises(BootTimeout, match="see: agent-s3 pool logs m-") as caught:
            async with pool.lease(SLIM, labels={"run": "r1"}):
                pass
    report = caught.value.report
    assert report is not None
    assert (report.provider, report.attempts) == ("sandbox", 2)
    assert "it waited for its control server" in report.reason
    assert list(places.machines.iterdir()) == []
    assert journal.events(report.machine_id)[-2].report == report


@pytest.mark.desktop("slim")
async def test_of_a_desktop_that_ended_while_it_started_its_last_words_are_told(places: Places) -> None:
    provider = SandboxProvider(places=places)
    async with provider.session():
        with pytest.raises(MachineLost) as caught:
            await provider.boot(SLIM.model_copy(update={"width": 0}))
    assert caught.value.report is not None
    assert "Xvfb did not start" in caught.value.report.evidence.log


@pytest.mark.desktop("slim")
async def test_what_a_running_desktop_says_and_shows_can_be_seen_from_outside(places: Places) -> None:
    provider, elsewhere = SandboxProvider(places=places), SandboxProvider(places=places)
    async with provider.session():
        machine = await provider.boot(SLIM)
        evidence = await elsewhere.evidence(machine.info.machine_id)
        assert evidence.screen is not None
        with Image.open(evidence.screen) as picture:
            assert picture.size == (640, 480)
    assert await elsewhere.evidence(machine.info.machine_id) == Evidence()
