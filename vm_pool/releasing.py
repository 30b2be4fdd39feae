"""Giving back a machine that another process keeps up for its user."""

from collections.abc import Mapping

from vm_pool.errors import ConfigError
from vm_pool.lease_book import LeaseBook, Seen

PROMOTED: Mapping[str, str] = {"promoted": "yes"}
"""Labels of the lease of a machine that is kept up for its user and serves no run any more."""


def release(machine_id: str, book: LeaseBook | None = None) -> None:
    """Take the lease away; whoever keeps the machine up learns of it within seconds, and stops it.

    Raises: `ConfigError` when it is not lent, or not promoted.
    """
    book = book or LeaseBook()
    seen = next((one for one in book.all() if one.note.machine_id == machine_id), None)
    if seen is None:
        raise ConfigError(f"{machine_id!r} is not lent to anybody; see: agent-s3 pool ls")
    if not _is_promoted(seen):
        raise ConfigError(f"{machine_id!r} is in use by process {seen.note.owner.pid}; stop that first")
    book.take_away(seen.note.provider, machine_id, seen.note.owner.pid)


def _is_promoted(seen: Seen) -> bool:
    return PROMOTED.items() <= seen.note.labels.items()
