"""`agent-s3 pool certify` and `agent-s3 certify-actions` as a user meets them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from viewer.certificates import print_certificate
from vm_pool.contract.certify import Certificate
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import Script
from vm_pool.providers.fake_faults import Nonsense


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_S3_STATE", str(tmp_path))


def test_a_certificate_that_holds_ends_with_0_and_says_what_does_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "certify", "fake", "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert "a request id is executed once" in shown
    assert "fake, image slim, 2 clones: " in shown
    assert " 0 failed, " in shown
    assert "[programs]" in shown


def test_as_json_it_is_one_object_with_a_result_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "certify", "fake", "--json", "--image", "desktop"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema_version"], shown["provider"], shown["image"], shown["clones"]) == (1, "fake", "desktop", 3)
    assert len(shown["results"]) > 100
    assert {result["outcome"] for result in shown["results"]} == {"passed", "not_applicable"}
    assert "fork" in shown["capabilities"]


def test_how_machines_are_run_and_how_slow_they_are_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    class Emulated(FakeProvider):
        async def ways(self, spec: Spec) -> tuple[str, ...]:
            return "runs by tcg: no hardware", f"copies {spec.image} by fork: QEMU can"

    def make(_: str) -> FakeProvider:
        return Emulated()

    services = replace(cli.SERVICES, make_provider=make)
    assert cli.main(["pool", "certify", "fake", "--json"], services) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ways"] == ["runs by tcg: no hardware", "copies slim by fork: QEMU can"]
    slow = Certificate.model_validate({**shown, "pace": 12.5})
    print_certificate(slow)
    shown_as_table = capsys.readouterr().out
    assert "runs by tcg: no hardware" in shown_as_table
    assert "time limits were 12.5 times as long" in shown_as_table


def test_one_failed_check_is_told_at_once_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script()
    script.inject(Nonsense(), method="screenshot", machine=0)
    provider = FakeProvider(script=script)

    def make(_: str) -> FakeProvider:
        return provider

    services = replace(cli.SERVICES, make_provider=make)
    assert cli.main(["pool", "certify", "fake"], services) == 1
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "failed: a frame has the size of the screen" in shown.err


def test_guests_that_run_elsewhere_are_named_by_their_urls(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "ls", "--provider", "remote:http://127.0.0.1:5000,http://127.0.0.1:5001"]) == 0
    assert "nothing is running" in capsys.readouterr().out
    assert cli.main(["pool", "certify", "remote:127.0.0.1"]) == 2
    assert "remote:http://HOST:PORT" in capsys.readouterr().err


def test_an_unknown_provider_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pool", "certify", "vmware"]) == 2
    assert "known providers" in capsys.readouterr().err


def test_actions_are_shown_by_application_with_what_both_witnesses_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify-actions", "--provider", "fake", "--only", "hotkey"]) == 0
    shown = capsys.readouterr()
    assert "X event log" in shown.out
    assert "fake, image desktop: 0 passed, 0 failed, " in shown.out
    assert "n/a: hotkey, terminal: a hotkey interrupts what runs: the machine " in shown.err


def test_actions_as_json_and_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "actions.md"
    options = ["--provider", "fake", "--image", "slim", "--short", "--json", "--markdown", str(page)]
    assert cli.main(["certify-actions", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema_version"], shown["image"], shown["short"]) == (1, "slim", True)
    assert {row["outcome"] for row in shown["rows"]} == {"not_applicable"}
    written = page.read_text(encoding="utf-8")
    assert "agent-s3 certify-actions --provider fake --image slim --short --markdown" in written
    assert "| `wait` |" in written
    assert "## Text editor" in written


def test_a_word_that_no_check_has_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify-actions", "--provider", "fake", "--only", "photoshop"]) == 2
    assert "no check is about 'photoshop'; name an action" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = str(tmp_path / "missing" / "actions.md")
    assert cli.main(["certify-actions", "--provider", "fake", "--only", "wait", "--markdown", page]) == 2
    assert "there is no folder" in capsys.readouterr().err
    options = ["--provider", "fake", "--only", "wait", "--markdown", str(tmp_path)]
    assert cli.main(["certify-actions", *options]) == 2
    assert "cannot write" in capsys.readouterr().err
