"""Runs the checks of all actions on one machine, grouped by application, and gives the table of what came of them."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from agent_s3.contract import browser, calc, calculator, editor, files, itself, terminal, windows, writer
from agent_s3.contract.check import ActionCheck, Row, Suite, run_row
from agent_s3.contract.stage import Stage, stage_on
from agent_s3.types import Frozen
from vm_pool.contract.check import ContractBroken, NotApplicable, Outcome
from vm_pool.contract.pace import at_pace, pace_of
from vm_pool.errors import VMPoolError
from vm_pool.machine import Machine
from vm_pool.provider import Provider, Spec

log = logging.getLogger(__name__)

SUITES: tuple[Suite[Any], ...] = (
    itself.SUITE,
    editor.SUITE,
    terminal.SUITE,
    files.SUITE,
    calculator.SUITE,
    windows.SUITE,
    browser.SUITE,
    calc.SUITE,
    writer.SUITE,
    windows.OFFICE_SUITE,
)
"""In the order in which they are run."""
OnRow = Callable[[Row], None]


class ActionCertificate(Frozen):
    """What the actions were seen to do. It holds when nothing failed."""

    schema_version: Literal[1] = 1
    provider: str
    image: str
    """As it was asked for."""
    taken_at: datetime
    short: bool
    """True: the short form, which proves each action and each application, but not all of both."""
    rows: tuple[Row, ...]

    def count(self, outcome: str) -> int:
        return sum(row.outcome == outcome for row in self.rows)

    @property
    def holds(self) -> bool:
        return not self.count("failed")


async def certify_actions(
    provider: Provider,
    spec: Spec,
    *,
    short: bool = False,
    only: str = "",
    on_row: OnRow = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ActionCertificate:
    """Run all checks, or those whose action, application or sentence holds `only`; `on_row` is called after each.

    No row comes out, and no machine is started, when none of them does. Raises: what `boot` raises.
    """
    taken_at, rows, chosen = clock(), list[Row](), _chosen(short=short, only=only)

    def note(row: Row) -> None:
        rows.append(row)
        on_row(row)

    if chosen:
        async with provider.session():
            machine = await provider.boot(spec)
            try:
                await _all(machine, chosen, note)
            finally:
                await provider.stop(machine)
    return ActionCertificate(provider=provider.name, image=spec.image, taken_at=taken_at, short=short, rows=tuple(rows))


def _chosen(*, short: bool, only: str) -> "list[Chosen]":
    wanted = only.casefold()

    def fits(suite: Suite[Any], one: ActionCheck[Any]) -> bool:
        words = (one.action, suite.application, one.check.sentence)
        return (one.quick or not short) and any(wanted in word.casefold() for word in words)

    chosen = [Chosen(suite, [one for one in suite.checks if fits(suite, one)]) for suite in SUITES]
    return [one for one in chosen if one.checks]


class Chosen(NamedTuple):
    """What is run of a suite."""

    suite: Suite[Any]
    checks: list[ActionCheck[Any]]

    def rows(self, outcome: Outcome, reason: str, *, after: int = 0) -> list[Row]:
        """A row for each check that was not run, from a place on."""
        return [
            Row(
                action=one.action,
                application=self.suite.application,
                check=one.check.sentence,
                outcome=outcome,
                events="",
                state="",
                reason=reason,
                seconds=0.0,
            )
            for one in self.checks[after:]
        ]


async def _all(machine: Machine, chosen: Sequence[Chosen], note: OnRow) -> None:
    """One recording client for all: the server sends no raw events to one that asks after programs have ended."""
    pace = await pace_of(machine)
    try:
        async with stage_on(machine) as stage:
            for one in chosen:
                await _suite(one, stage, note, pace)
    except NotApplicable as lack:
        for row in (row for one in chosen for row in one.rows("not_applicable", str(lack))):
            note(row)


async def _suite(chosen: Chosen, stage: Stage, note: OnRow, pace: float) -> None:
    """An application that cannot be opened fails all its checks, not those of others."""
    suite, over = chosen.suite, 0
    if suite.needs and not await _has(stage.machine, suite.needs):
        for row in chosen.rows("not_applicable", f"the machine has no {suite.needs}"):
            note(row)
        return
    try:
        with at_pace(pace):
            async with suite.opened(stage) as app:
                for one in chosen.checks:
                    note(await run_row(suite.application, one, app, stage, pace=pace))
                    over += 1
    except (ContractBroken, VMPoolError) as error:
        log.warning("%s could not be opened or ended: %s", suite.application, error)
        for row in chosen.rows("failed", f"{suite.application} could not be opened: {error}", after=over):
            note(row)


async def _has(machine: Machine, program: str) -> bool:
    return (await machine.run(["which", program], timeout_s=10)).returncode == 0
