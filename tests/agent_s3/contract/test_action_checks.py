"""The suite of actions: what it covers, and that it finds broken actions out."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_s3.actions import ACTIONS, Click
from agent_s3.contract import certify as suite_of_all
from agent_s3.contract.certify import SUITES, certify_actions
from agent_s3.contract.check import ActionCheck, Suite, run_row
from agent_s3.contract.stage import Stage, stage_on
from agent_s3.contract.story import click
from vm_pool.contract.check import Check, ContractBroken
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.sandbox import SandboxProvider

DESKTOP = Spec(image="desktop", width=1280, height=800)
SLIM = Spec(image="slim", width=1280, height=800)
NAMES = {action.model_fields["action"].default for action in ACTIONS}


def test_every_action_is_proven_also_by_the_short_form():
    assert {one.action for suite in SUITES for one in suite.checks} == NAMES
    assert {one.action for suite in SUITES for one in suite.checks if one.quick} == NAMES


def test_every_check_of_an_application_is_a_sentence_of_its_own():
    for suite in SUITES:
        sentences = [one.check.sentence for one in suite.checks]
        assert len(set(sentences)) == len(sentences), suite.application
        assert all(re.fullmatch(r"[a-z]+( [a-z]+){2,}", sentence) for sentence in sentences)


async def test_a_machine_without_an_x_server_is_not_failed():
    certificate = await certify_actions(FakeProvider(), Spec(width=160, height=120))
    assert certificate.holds
    assert certificate.count("not_applicable") == len(certificate.rows) == sum(len(suite.checks) for suite in SUITES)


async def test_only_what_was_asked_for_is_run_and_nothing_is_started_for_nothing():
    provider = FakeProvider()
    certificate = await certify_actions(provider, Spec(width=160, height=120), only="Terminal", short=True)
    assert {row.application for row in certificate.rows} == {"terminal"}
    assert len(certificate.rows) < len(next(suite.checks for suite in SUITES if suite.application == "terminal"))
    assert (await certify_actions(provider, Spec(width=160, height=120), only="no such thing")).rows == ()
    assert len(provider.machines) == 1


@pytest.mark.desktop
async def test_a_check_holds_only_when_both_witnesses_were_asked_and_agree():
    async def nobody(_: Stage) -> None:
        return

    async def clicks_elsewhere(stage: Stage) -> None:
        await stage.machine.launch(["mousepad"])
        await stage.node(lambda node: node.name == "File" and node.box is not None, "the File menu")
        await stage.quiet()
        done = await stage.do(Click(element_description="the File menu"))
        x, y = done.at()
        await stage.saw(click(x + 1, y))

    async def refuses_nothing(stage: Stage) -> None:
        await stage.refused(Click(element_description="the Edit menu"), because=["x"])

    async def misses(stage: Stage) -> None:
        await stage.do(Click(element_description="the Photoshop button"))

    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(SLIM)
        async with stage_on(machine) as stage:
            rows = [
                await run_row(
                    "x",
                    ActionCheck("click", Check("it_is_so", "click", body, 60.0), quick=False),
                    stage,
                    stage,
                    pace=1.0,
                )
                for body in (nobody, clicks_elsewhere, refuses_nothing, misses)
            ]
        await provider.stop(machine)
    assert {row.outcome for row in rows} == {"failed"}
    assert rows[0].reason == "one of the two witnesses was not asked"
    assert rows[1].reason.startswith("X saw left click at ")
    assert rows[1].events.startswith("left click at ")
    assert rows[2].reason == "click was not refused"
    assert rows[3].reason.startswith("the agent was told: 'the Photoshop button'")


@pytest.mark.desktop
async def test_an_application_that_does_not_open_fails_its_checks_and_no_others(monkeypatch):
    @asynccontextmanager
    async def opened(_: Stage) -> AsyncGenerator[Stage]:
        raise ContractBroken("its window never came")
        yield

    async def never_run(_: Stage) -> None:
        raise AssertionError

    broken = Suite("broken", "", opened, [ActionCheck("click", Check("it_is_so", "click", never_run, 5.0), quick=True)])
    itself = next(suite for suite in SUITES if suite.application == "the agent itself")
    absent = Suite("absent", "no-such-program", opened, broken.checks)
    monkeypatch.setattr(suite_of_all, "SUITES", (broken, absent, itself))
    certificate = await certify_actions(SandboxProvider(), SLIM)
    outcomes = {row.application: row.outcome for row in certificate.rows}
    assert outcomes == {"broken": "failed", "absent": "not_applicable", "the agent itself": "passed"}
    assert "its window never came" in certificate.rows[0].reason
    assert certificate.rows[1].reason == "the machine has no no-such-program"


@pytest.mark.desktop("desktop")
@pytest.mark.timeout(420)
async def test_every_action_does_what_it_says_in_real_applications():
    """The short form; `agent-s3 certify-actions` runs all of it."""
    certificate = await certify_actions(SandboxProvider(), DESKTOP, short=True)
    failed = [
        (row.action, row.application, row.check, row.reason) for row in certificate.rows if row.outcome != "passed"
    ]
    assert failed == []


def test_the_page_in_the_documentation_is_of_the_whole_suite():
    page = (Path(__file__).parents[3] / "docs" / "actions.md").read_text(encoding="utf-8")
    assert f"{sum(len(suite.checks) for suite in SUITES)} passed, 0 failed, 0 not applicable" in page
    for suite in SUITES:
        for one in suite.checks:
            assert f"| `{one.action}` | {one.check.sentence} |" in page
