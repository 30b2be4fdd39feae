"""`agent-s3 pool certify`: progress while checks run, and the certificate as a table."""

from datetime import datetime

from rich.table import Table
from rich.text import Text

from viewer.console import for_progress, for_results
from viewer.plain import plain
from viewer.signals import run_until_signal
from vm_pool.contract import Result
from vm_pool.contract.certify import Certificate, certify
from vm_pool.provider import Provider, Spec

_WIDTH, _HEIGHT = 1280, 800
_PACE_TOLD = 1.5
_WORDS = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "not_applicable": ("n/a", "yellow")}


def certified(provider: Provider, image: str, n: int, now: datetime) -> Certificate:
    """Run all checks; what fails is told at once on standard error."""
    console = for_progress()

    def tell(result: Result) -> None:
        if result.outcome == "failed":
            console.print(Text(plain(f"failed: {result.check}: {result.reason}")))

    spec = Spec(image=image, width=_WIDTH, height=_HEIGHT, labels={"run": "certify"}, ttl_s=3600)
    return run_until_signal(certify(provider, spec, clones=n, on_result=tell, clock=lambda: now))


def print_certificate(certificate: Certificate) -> None:
    """One row for each check; reasons only where there is one; the sum at the end."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("group", "check", "outcome", "s", "reason"):
        table.add_column(name, justify="right" if name == "s" else "left", overflow="fold")
    for result in certificate.results:
        word, style = _WORDS[result.outcome]
        reason = f"{result.reason} [{result.missing}]" if result.missing else result.reason
        cells = (Text(result.group), Text(result.check), Text(word, style), Text(f"{result.seconds:.1f}"))
        table.add_row(*cells, Text(plain(reason)))
    console = for_results()
    console.print(table)
    for line in certificate.ways:
        console.print(Text(plain(line)))
    if certificate.pace > _PACE_TOLD:
        console.print(f"time limits were {certificate.pace:g} times as long: so much slower than this host it computes")
    counts = {outcome: certificate.count(outcome) for outcome in _WORDS}
    console.print(
        f"{certificate.provider}, image {certificate.image}, {certificate.clones} clones: {counts['passed']} passed, "
        f"{counts['failed']} failed, {counts['not_applicable']} not applicable"
    )
