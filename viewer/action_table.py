"""`agent-s3 certify-actions`: progress while checks run, and action x application x witness as a table or a page."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from agent_s3.contract.certify import ActionCertificate, certify_actions
from agent_s3.contract.check import Row
from viewer.console import for_progress, for_results
from viewer.faults import UserMistake
from viewer.plain import plain
from viewer.signals import run_until_signal
from vm_pool.provider import Provider, Spec

_WIDTH, _HEIGHT = 1280, 800
_WORDS = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "not_applicable": ("n/a", "yellow")}
_PAGE = """# Which actions are proven where?

Every action is done by a rollout on a real desktop, in real programs, and two witnesses must confirm it: an X client
that records all input events, and the application itself (its saved file, its selection, its page, its cells, or what
AT-SPI says of it). An action that sends no input is confirmed when X saw none. This page is what the following command
wrote on {date}, with provider {provider} and image {image}: {passed} passed, {failed} failed, {missing} not applicable.

```sh
{command}
```
"""


def certified(provider: Provider, image: str, now: datetime, *, short: bool, only: str) -> ActionCertificate:
    """Run the checks; each is told on standard error when it is over. Raises: `UserMistake` when `only` fits none."""
    console = for_progress()

    def tell(row: Row) -> None:
        reason = f": {row.reason}" if row.reason else ""
        console.print(Text(plain(f"{_WORDS[row.outcome][0]}: {row.action}, {row.application}: {row.check}{reason}")))

    spec = Spec(image=image, width=_WIDTH, height=_HEIGHT, labels={"run": "certify-actions"}, ttl_s=7200)
    work = certify_actions(provider, spec, short=short, only=only, on_row=tell, clock=lambda: now)
    certificate = run_until_signal(work)
    if not certificate.rows:
        raise UserMistake(f"no check is about {only!r}; name an action, e.g. click, or an application, e.g. terminal")
    return certificate


def print_actions(certificate: ActionCertificate) -> None:
    """One row for each check; the sum at the end."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("action", "application", "check", "outcome", "X event log", "application's state"):
        table.add_column(name, overflow="fold")
    for row in certificate.rows:
        word, style = _WORDS[row.outcome]
        said = row.state if row.outcome == "passed" else row.reason
        cells = (Text(row.action), Text(row.application), Text(row.check), Text(word, style))
        table.add_row(*cells, Text(plain(row.events)), Text(plain(said)))
    console = for_results()
    console.print(table)
    console.print(_sum(certificate))


def check_page(path: Path | None) -> None:
    """Raises: `UserMistake` when there is no place for the page, before minutes are spent on it."""
    if path is not None and not path.parent.is_dir():
        raise UserMistake(f"there is no folder {str(path.parent)!r} for the page; make it: mkdir -p {path.parent}")


def write_page(path: Path, certificate: ActionCertificate, command: str) -> None:
    """Write the table as a page of the documentation. Raises: `UserMistake` when it cannot be written."""
    head = _PAGE.format(
        date=f"{certificate.taken_at:%Y-%m-%d}",
        provider=certificate.provider,
        image=certificate.image,
        passed=certificate.count("passed"),
        failed=certificate.count("failed"),
        missing=certificate.count("not_applicable"),
        command=command,
    )
    rows = certificate.rows
    applications = dict.fromkeys(row.application for row in rows)
    sections = [_section(one, [row for row in rows if row.application == one]) for one in applications]
    try:
        path.write_text("\n".join([head, _summary(rows), *sections]), encoding="utf-8")
    except OSError as error:
        raise UserMistake(f"cannot write {str(path)!r}: {error.strerror}; name another file") from error


def _sum(certificate: ActionCertificate) -> str:
    counts = {outcome: certificate.count(outcome) for outcome in _WORDS}
    return (
        f"{certificate.provider}, image {certificate.image}: {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['not_applicable']} not applicable"
    )


def _summary(rows: Sequence[Row]) -> str:
    """Checks that passed, of all, for each action in each application."""
    applications = list(dict.fromkeys(row.application for row in rows))
    actions = list(dict.fromkeys(row.action for row in rows))
    lines = [_line(["action", *applications]), _line(["---"] * (len(applications) + 1))]
    for action in actions:
        here = [[row for row in rows if (row.action, row.application) == (action, one)] for one in applications]
        counts = [f"{sum(row.outcome == 'passed' for row in found)} of {len(found)}" if found else "" for found in here]
        lines.append(_line([f"`{action}`", *counts]))
    return "\n".join(["## In short", "", *lines, ""])


def _section(application: str, rows: Sequence[Row]) -> str:
    titles = ["action", "check", "outcome", "X event log", "the application's own state"]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in rows:
        said = row.state if row.outcome == "passed" else row.reason
        lines.append(_line([f"`{row.action}`", row.check, _WORDS[row.outcome][0], _cell(row.events), _cell(said)]))
    return "\n".join([f"## {application[0].upper()}{application[1:]}", "", *lines, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text of a machine's, so that it is nothing but text in a table."""
    shown = plain(text).replace("`", "'")
    for sign in "\\|<>*_[]":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
