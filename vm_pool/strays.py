"""What machines left behind on this host: listing it, and clearing up what nobody needs."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from vm_pool import images
from vm_pool.errors import ConfigError, HostUnfit, VMPoolError
from vm_pool.lease_book import LeaseBook, Seen
from vm_pool.pool_journal import Event, PoolJournal
from vm_pool.provider import Provider, Stray

_MOST_NAMED = 3


class Left(NamedTuple):
    """A stray and the provider that can remove it."""

    provider: Provider
    stray: Stray


class Survey(NamedTuple):
    """What there is, and which providers could not say so; one of those that have the same reason."""

    left: list[Left]
    unfit: list[tuple[Provider, str]]
    """With the reason, in one line."""


class Collected(NamedTuple):
    """What a collection did."""

    removed: list[Stray]
    failed: list[tuple[Stray, str]]
    """With the reason, in one line."""


async def ls(
    providers: Sequence[Provider],
    *,
    labels: Mapping[str, str] | None = None,
    now: datetime | None = None,
    book: LeaseBook | None = None,
) -> list[Left]:
    """Everything of these providers on this host that carries the labels, in use or not, oldest first.

    `book`: where their leases stand; None: in the state folder.
    """
    listings = await asyncio.gather(*(provider.strays() for provider in providers))
    leases = _Leases((book or LeaseBook()).all(), now or datetime.now(UTC))
    left = [
        Left(provider, leases.told(provider.name, stray))
        for provider, strays in zip(providers, listings, strict=True)
        for stray in strays
    ]
    return sorted((one for one in left if carries(one.stray, labels or {})), key=lambda one: one.stray.created)


async def survey(providers: Sequence[Provider]) -> Survey:
    """Like `ls`, but a provider that does not work on this host does not keep the others."""
    listings = await asyncio.gather(*(ls([provider]) for provider in providers), return_exceptions=True)
    left: list[Left] = []
    unfit: list[tuple[Provider, str]] = []
    for provider, listing in zip(providers, listings, strict=True):
        if isinstance(listing, HostUnfit):
            if str(listing) not in (reason for _, reason in unfit):
                unfit.append((provider, str(listing)))
        elif isinstance(listing, BaseException):
            raise listing
        else:
            left += listing
    return Survey(sorted(left, key=lambda one: one.stray.created), unfit)


async def gc(
    providers: Sequence[Provider],
    *,
    labels: Mapping[str, str] | None = None,
    idle_too: bool = False,
    now: datetime | None = None,
    book: LeaseBook | None = None,
    journal: PoolJournal | None = None,
) -> Collected:
    """Remove what is removable of what `ls` finds."""
    left = await ls(providers, labels=labels, now=now, book=book)
    return await collect(left, idle_too=idle_too, now=now, book=book, journal=journal)


async def collect(
    left: Sequence[Left],
    *,
    idle_too: bool = False,
    now: datetime | None = None,
    book: LeaseBook | None = None,
    journal: PoolJournal | None = None,
) -> Collected:
    """Remove what is removable, and the leases of dead processes; what cannot be removed does not keep the rest.

    `idle_too` adds what was kept on purpose. What a living run uses within its time, and renews, is never touched.
    """
    moment, book, journal = now or datetime.now(UTC), book or LeaseBook(), journal or PoolJournal()
    removed: list[Stray] = []
    failed: list[tuple[Stray, str]] = []
    for provider, stray in left:
        if not removable(stray, moment, idle_too=idle_too):
            continue
        try:
            book.take_away(provider.name, stray.id, stray.owner_pid)
            await provider.remove(stray)
        except (VMPoolError, OSError) as error:
            failed.append((stray, str(error)))
            continue
        removed.append(stray)
        journal.add(_collected(provider, stray, moment))
    book.sweep(moment)
    return Collected(removed, failed)


async def remove_image(image_id: str, providers: Sequence[Provider]) -> None:
    """Delete an image. Raises: `ConfigError` when there is none, or what is on this host needs it."""
    users = [left for left in (await survey(providers)).left if left.stray.image == image_id]
    if users:
        named = ", ".join(f"{left.stray.kind} {left.stray.id} of {left.provider.name}" for left in users[:_MOST_NAMED])
        more = f" and {len(users) - _MOST_NAMED} more" if len(users) > _MOST_NAMED else ""
        raise ConfigError(f"{image_id} is needed by {named}{more}; see: agent-s3 pool ls, agent-s3 pool gc --all")
    await asyncio.to_thread(images.rm, image_id)


def removable(stray: Stray, now: datetime, *, idle_too: bool = False) -> bool:
    """Its time is over, or the run that owned it died or hangs; kept disks have no owner and wait for their time."""
    expired = stray.expires is not None and stray.expires <= now
    orphaned = stray.owner_pid is not None and not stray.owner_alive
    return expired or orphaned or stray.silent or (idle_too and stray.owner_pid is None and not stray.owner_alive)


def why_removable(stray: Stray, now: datetime) -> str:
    """In a few words."""
    if stray.owner_pid is not None and not stray.owner_alive:
        return f"process {stray.owner_pid} is gone"
    if stray.silent:
        return f"process {stray.owner_pid} hangs: it does not renew its lease"
    return "its time is over" if stray.expires is not None and stray.expires <= now else "kept, and not wanted"


class _Leases:
    """What the book says about strays. What a process holds without a lease it has lost with all its leases."""

    def __init__(self, seen: Sequence[Seen], now: datetime) -> None:
        self._seen = {(one.note.provider, one.note.machine_id, one.note.owner.pid): one for one in seen}
        alive = {one.note.owner.pid for one in seen if not one.silent(now)}
        self._hung = {one.note.owner.pid for one in seen if one.silent(now)} - alive
        self._now = now

    def told(self, provider: str, stray: Stray) -> Stray:
        if stray.owner_pid is None or not stray.owner_alive:
            return stray
        seen = self._seen.get((provider, stray.id, stray.owner_pid))
        if seen is None:
            return stray.model_copy(update={"silent": stray.owner_pid in self._hung})
        note = seen.note
        return stray.model_copy(
            update={
                "labels": {**stray.labels, **note.labels},
                "lent": None if note.spare else note.since,
                "heartbeat": seen.heartbeat,
                "silent": seen.silent(self._now),
            }
        )


def _collected(provider: Provider, stray: Stray, now: datetime) -> Event:
    return Event(
        at=now,
        what="collected",
        provider=provider.name,
        machine=stray.id,
        labels=stray.labels,
        reason=f"{stray.kind}: {why_removable(stray, now)}",
    )


def carries(stray: Stray, labels: Mapping[str, str]) -> bool:
    return all(stray.labels.get(key) == value for key, value in labels.items())
