"""What machines left behind on this host: listing it, and clearing up what nobody needs."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from vm_pool.errors import HostUnfit, VMPoolError
from vm_pool.provider import Provider, Stray


class Left(NamedTuple):
    """A stray and the provider that can remove it."""

    provider: Provider
    stray: Stray


class Survey(NamedTuple):
    """What there is, and which providers could not say so."""

    left: list[Left]
    unfit: list[tuple[Provider, str]]
    """With the reason, in one line."""


class Collected(NamedTuple):
    """What a collection did."""

    removed: list[Stray]
    failed: list[tuple[Stray, str]]
    """With the reason, in one line."""


async def ls(providers: Sequence[Provider], *, labels: Mapping[str, str] | None = None) -> list[Left]:
    """Everything of these providers on this host that carries the labels, in use or not, oldest first."""
    listings = await asyncio.gather(*(provider.strays() for provider in providers))
    left = [Left(provider, stray) for provider, strays in zip(providers, listings, strict=True) for stray in strays]
    return sorted((one for one in left if carries(one.stray, labels or {})), key=lambda one: one.stray.created)


async def survey(providers: Sequence[Provider]) -> Survey:
    """Like `ls`, but a provider that does not work on this host does not keep the others."""
    listings = await asyncio.gather(*(ls([provider]) for provider in providers), return_exceptions=True)
    left: list[Left] = []
    unfit: list[tuple[Provider, str]] = []
    for provider, listing in zip(providers, listings, strict=True):
        if isinstance(listing, HostUnfit):
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
) -> Collected:
    """Remove what is removable of what `ls` finds."""
    return await collect(await ls(providers, labels=labels), idle_too=idle_too, now=now)


async def collect(left: Sequence[Left], *, idle_too: bool = False, now: datetime | None = None) -> Collected:
    """Remove what is removable; what cannot be removed does not keep the rest.

    `idle_too` adds what was kept on purpose. What a living run uses within its time is never touched.
    """
    moment = now or datetime.now(UTC)
    removed: list[Stray] = []
    failed: list[tuple[Stray, str]] = []
    for provider, stray in left:
        if not removable(stray, moment, idle_too=idle_too):
            continue
        try:
            await provider.remove(stray)
            removed.append(stray)
        except (VMPoolError, OSError) as error:
            failed.append((stray, str(error)))
    return Collected(removed, failed)


def removable(stray: Stray, now: datetime, *, idle_too: bool = False) -> bool:
    """Its time is over, or the run that owned it has died; kept disks have no owner and wait for their time."""
    expired = stray.expires is not None and stray.expires <= now
    orphaned = stray.owner_pid is not None and not stray.owner_alive
    return expired or orphaned or (idle_too and stray.owner_pid is None and not stray.owner_alive)


def carries(stray: Stray, labels: Mapping[str, str]) -> bool:
    return all(stray.labels.get(key) == value for key, value in labels.items())
