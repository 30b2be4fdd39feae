"""Who may start a machine on this host now: a bounded number at a time, and only while there is memory for it.

All processes of one user keep to it together, by locks on files that the kernel lets go of when a process ends,
however it ends. Within a process the starts wait in order, and one of them at a time stands in the queue of all
processes, so that runs take turns, however many machines each of them wants. Starts of other users are counted in.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import IO

from vm_pool.admission_others import starting_elsewhere
from vm_pool.admission_queue import STALLED_S, ticket
from vm_pool.errors import HostBusy, HostUnfit

SPARE_MIB = 512
"""Memory that is left to the rest of the host."""
STARTS_PER_CPU, STARTS_PER_BUSY_CPU = 8, 2
"""A start mostly waits for others, so that many fit on an idle processor; on a busy one they only delay each other."""
HELD_UP_S = 10.0
"""For so long a start that lacks memory holds up those behind it, which may need less; then they may pass."""
_POLL_S = 0.02
_NUMBER_LIMIT = 20


class HostAdmission:
    """The one place that all starts of this user on this host pass through.

    `slots`: how many may start at once (None: as many as the processors bear now). `available` says how much memory
    the host has left, in MiB. A start that gets no place within `timeout_s` is refused; one that lacks memory
    holds up those behind it for `held_up_s`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        slots: Callable[[], int] | None = None,
        available: Callable[[], int] | None = None,
        spare_mib: int = SPARE_MIB,
        timeout_s: float = 300.0,
        held_up_s: float = HELD_UP_S,
    ) -> None:
        self._folder = folder or _default_folder()
        self._slots = slots or starts_borne
        self._available = available or available_mib
        self._spare_mib = spare_mib
        self._timeout_s = timeout_s
        self._held_up_s = held_up_s
        self._turn = asyncio.Lock()
        self._crowded_since: float | None = None

    @asynccontextmanager
    async def start(self, need_mib: int) -> AsyncGenerator[None]:
        """Hold a place while a machine starts that takes `need_mib` at birth.

        Raises: `HostBusy` when there is none in time, with what it waited for; `HostUnfit` when somebody else owns
        the folder of the locks.
        """
        async with self._turn:
            slot = await self._wait_for_slot(need_mib)
        with closing(slot):
            yield

    async def _wait_for_slot(self, need_mib: int) -> IO[bytes]:
        begun = time.monotonic()
        first_tried: float | None = None
        _make(self._folder)
        with ticket(self._folder / "queue") as place:
            while True:
                taken: IO[bytes] | str = "others came first, and still wait"
                if place.is_next():
                    first_tried = first_tried or time.monotonic()
                    taken = self._try(need_mib)
                if not isinstance(taken, str):
                    return taken
                now = time.monotonic()
                if now - begun >= self._timeout_s:
                    raise HostBusy(f"no machine could be started within {self._timeout_s:g} s: {taken}")
                if first_tried is not None and now - first_tried > self._held_up_s:
                    place.let_others_pass()
                await asyncio.sleep(_POLL_S)

    def _try(self, need_mib: int) -> IO[bytes] | str:
        """A slot, locked, with what it was taken for written into it; or what is missing."""
        with _alone(self._folder) as is_alone:
            self._crowded_since = None if is_alone else self._crowded_since or time.monotonic()
            # One that was stopped while it looked keeps nobody from looking for long.
            if self._crowded_since is not None and time.monotonic() - self._crowded_since < STALLED_S:
                return "another process is looking for a place"
            limit = max(1, self._slots())
            free, starting_mib, starting = self._survey(limit)
            if starting:  # with none of its own a user's start waits for nobody else's
                others = starting_elsewhere(self._folder)
                starting_mib, starting = starting_mib + others.mib, starting + others.machines
            if free is None or starting >= limit:
                _close(free)
                return f"{starting} machines are starting on this host, as many as it bears; use fewer at once"
            left = self._available() - self._spare_mib - starting_mib
            if left < need_mib:
                _close(free)
                return (
                    f"a machine takes {need_mib} MiB and {max(0, left)} MiB of memory are left for machines;"
                    " free some, or use fewer at once"
                )
            free.truncate(0)
            free.write(str(need_mib).encode())
            free.flush()
            return free

    def _survey(self, limit: int) -> tuple[IO[bytes] | None, int, int]:
        """A free slot, locked; what starts under way will take in MiB; and how many there are."""
        free: IO[bytes] | None = None
        starting_mib = starting = 0
        for slot in self._open_slots(limit):
            if not _locked(slot):
                starting_mib, starting = starting_mib + _number(slot), starting + 1
                slot.close()
            elif free is None:
                free = slot
            else:
                slot.close()
        return free, starting_mib, starting

    def _open_slots(self, limit: int) -> Iterator[IO[bytes]]:
        """Those below the limit, and what others took when the limit was higher."""
        known = [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]
        for number in range(max(limit, *(number + 1 for number in known), 1)):
            yield _open(self._folder / str(number))


def starts_borne() -> int:
    """How many machines may start at once on this host now, by its processors and how busy they are."""
    cpus = os.cpu_count() or 1
    busy = os.getloadavg()[0] > 2 * cpus
    return cpus * (STARTS_PER_BUSY_CPU if busy else STARTS_PER_CPU)


def available_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that programs can still get without swapping, as the kernel estimates it."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise HostUnfit(f"{meminfo} does not say how much memory is available; use a Linux kernel from 3.14 on")


def _default_folder() -> Path:
    return Path("/dev/shm") / f"agent-s3-starts-{os.geteuid()}"  # noqa: S108 - checked to be ours before use


def _make(folder: Path) -> None:
    """Others may look, so that the starts of all users can be counted. Raises: `HostUnfit`."""
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise HostUnfit(f"{folder} belongs to somebody else; remove it: sudo rm -r {folder}")
    folder.chmod(0o755)


@contextmanager
def _alone(folder: Path) -> Generator[bool]:
    """Keep other processes from looking for a place meanwhile; takes well under a millisecond. False: one does."""
    with _open(folder / "lock") as lock:
        yield _locked(lock)


def _open(path: Path) -> IO[bytes]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    return os.fdopen(fd, "r+b", buffering=0)


def _close(slot: IO[bytes] | None) -> None:
    if slot is not None:
        slot.close()


def _locked(slot: IO[bytes]) -> bool:
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _number(slot: IO[bytes]) -> int:
    digits = slot.read(_NUMBER_LIMIT)
    return int(digits) if digits.isdigit() else 0
