"""What happened to machines, as people read it: `agent-s3 pool logs`."""

import asyncio
import json
from collections.abc import Iterator, Sequence

import typer

from viewer.faults import UserMistake
from viewer.plain import duration, plain, plain_lines
from vm_pool.errors import HostUnfit
from vm_pool.pool_journal import Event, PoolJournal, of_machine
from vm_pool.provider import Evidence, Explains, Provider

_FOLLOW_S = 0.2


async def show(journal: PoolJournal, providers: Sequence[Provider], machine: str | None, *, as_json: bool) -> None:
    """What the journal knows, and of a machine that is there what it said last. Raises: `UserMistake`."""
    events = journal.events(machine)
    evidence = await evidence_of(providers, machine) if machine else None
    if machine and not events and evidence is None:
        raise UserMistake(f"nothing is known of {machine!r}; see all there is: agent-s3 pool logs")
    if as_json:
        found = {"events": [one.model_dump(mode="json") for one in events]}
        typer.echo(json.dumps({**found, "now": evidence and evidence.model_dump(mode="json")}, indent=2))
        return
    for event in events:
        _print(event)
    if evidence is not None:
        typer.echo("now:")
        for line in evidence_lines(evidence):
            typer.echo(line)


async def follow(journal: PoolJournal, machine: str | None, *, as_json: bool) -> None:
    """Print what is there and what comes, until somebody ends it; as JSON one object a line."""
    known: list[Event] = []
    shown: set[int] = set()
    for came in journal.follow():
        known += came
        wanted = {id(event) for event in (known if machine is None else of_machine(known, machine))}
        for event in known:
            if id(event) not in wanted - shown:
                continue
            if as_json:
                typer.echo(event.model_dump_json(exclude_none=True))
            else:
                _print(event)
        shown |= wanted
        await asyncio.sleep(0 if came else _FOLLOW_S)


async def evidence_of(providers: Sequence[Provider], machine: str) -> Evidence | None:
    """Of the first provider that has anything of it; None when none has."""
    for provider in providers:
        if not isinstance(provider, Explains):
            continue
        try:
            evidence = await provider.evidence(machine)
        except HostUnfit:
            continue
        if evidence != Evidence():
            return evidence
    return None


def event_words(event: Event) -> str:
    """One line."""
    words = [f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}", f"{event.what:9}", event.machine or event.request or "-"]
    words += [event.provider, event.source]
    words += [duration(event.ms / 1000)] if event.ms is not None else []
    words += [f"{key}={value}" for key, value in event.labels.items()]
    words += [f"({event.reason})"] if event.reason else []
    return plain("  ".join(filter(None, words)))


def evidence_lines(evidence: Evidence) -> Iterator[str]:
    for name, text in (("console", evidence.console), ("log", evidence.log)):
        if text:
            yield f"    {name}:"
            yield from (f"      {line}" for line in plain_lines(text).splitlines())
    if evidence.screen:
        yield f"    last screen: {evidence.screen}"


def _print(event: Event) -> None:
    typer.echo(event_words(event))
    if event.report is not None:
        report = event.report
        typer.echo(f"    {report.attempts} attempts, {duration(report.elapsed_s)} in all")
        for line in evidence_lines(report.evidence):
            typer.echo(line)
