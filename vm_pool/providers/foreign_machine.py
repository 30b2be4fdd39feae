"""A machine from somebody else's disk, seen and used from outside the guest where that is right and quicker."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vm_pool.errors import GuestError, GuestTimeout
from vm_pool.event_check import check_events
from vm_pool.events import InputEvent
from vm_pool.guest_client import GuestMachine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.providers.foreign_input import Sent, Words, move_to, sent_for
from vm_pool.types import Frame, MachineInfo, Performed

_LONGEST_HEAD = 64
_ARRIVES_S = 2.0
"""How long a pointer may take to where it was sent."""
_PROBE_S = 1.0
_POLL_S = 0.005
_GAP_S = 0.02
"""Between two things that are sent, so that the device's queue is read in between."""


class Card(NamedTuple):
    """A graphics card: `draw` has QEMU write what it shows to the file `picture`, each time anew."""

    draw: Callable[[Path], None]
    picture: Path


class ForeignMachine(OSWorldMachine):
    """As `OSWorldMachine`, but for what is done from outside.

    `card`: frames come from it; None: from the guest server. `send`: has QEMU send what the machine's tablet and
    keyboard say, and is used for what these can say; None: all input goes by the guest server. `env`: of programs that
    `run` and `launch` start, where the guest server can be told of it.
    """

    def __init__(
        self,
        info: MachineInfo,
        *,
        url: str,
        card: Card | None = None,
        send: Callable[[Words], None] | None = None,
        env: Mapping[str, str] | None = None,
    ):
        super().__init__(info, url=url)
        self._env = dict(env or {}) if info.platform == "linux" else {}
        self._card = card
        self._send = send
        self._drawing = asyncio.Lock()

    async def screenshot(self) -> Frame:
        if self._card is None:
            return await super().screenshot()
        async with self._drawing:
            pixels = await asyncio.to_thread(self._drawn, self._card)
        if pixels.shape[:2] != (self.info.height, self.info.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise GuestError(
                f"{self.info.machine_id}: its graphics card shows {size} px, its guest server"
                f' {self.info.width}x{self.info.height}; the desktop is elsewhere: say screen = "server"'
            )
        return Frame(pixels, time.time())

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        sent = sent_for(events, self.info.width, self.info.height) if self._send else None
        if sent is None:
            return await super().perform(events, request_id=request_id)
        async with self._performing:
            return await self._perform_outside(events, sent, request_id or uuid.uuid4().hex)

    @property
    def uses_devices(self) -> bool:
        """Whether its tablet and keyboard are used."""
        return self._send is not None

    def without_devices(self) -> Self:
        """All input by the guest server from now on."""
        self._send = None
        return self

    async def follows(self) -> bool:
        """Whether the desktop's pointer goes where the tablet says, and back: then these are the desktop's devices."""
        assert self._send is not None
        with suppress(GuestError, GuestTimeout):  # of one whose server does not say where its pointer is, nobody knows
            before = await self._cursor() or (0, 0)
            away = (self.info.width // 4 if before[0] > self.info.width // 2 else self.info.width * 3 // 4, before[1])
            for there in (away, before):
                await asyncio.to_thread(self._send, move_to(*there, self.info.width, self.info.height))
                if await self._arrived(there, _PROBE_S) is None:
                    return False
            return True
        return False

    async def _perform_outside(self, events: Sequence[InputEvent], sent: Sequence[Sent], request_id: str) -> Performed:
        if request_id in self._receipts:
            return self._receipts[request_id].model_copy(update={"repeated": True})
        check_events(events, self.info)
        started, pointer = time.monotonic(), None
        for one in sent:
            pointer = await self._send_one(one) or pointer
        receipt = Performed(
            request_id=request_id,
            executed=len(events),
            pointer=pointer or await self._cursor(),
            milliseconds=round((time.monotonic() - started) * 1000, 3),
        )
        self._receipts[request_id] = receipt
        return receipt

    async def _send_one(self, one: Sent) -> tuple[int, int] | None:
        """Where the pointer is then; None: where it was.

        Nothing is pressed before it is where it was sent, which shows that the desktop reads its devices.
        """
        assert self._send is not None
        await asyncio.sleep(one.after_ms / 1000)
        await asyncio.to_thread(self._send, one.words)
        if one.at is None:
            await asyncio.sleep(_GAP_S)
            return None
        found = await self._arrived(one.at, _ARRIVES_S)
        if found is None:
            raise GuestTimeout(f"{self.info.machine_id}: the pointer did not get to {one.at} within {_ARRIVES_S:g} s")
        return found

    async def _arrived(self, there: tuple[int, int], within_s: float) -> tuple[int, int] | None:
        """Where the pointer is when it is there, to a pixel; None when it did not get there in time.

        An axis has fewer places than the widest screens have pixels.
        """
        deadline = time.monotonic() + within_s
        while True:
            found = await self._cursor()
            if found and max(abs(found[0] - there[0]), abs(found[1] - there[1])) <= 1:
                return found
            if time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_S)

    def _wrapped(
        self, argv: Sequence[str], timeout_s: float, stdin: bytes, cwd: str | None, env: Mapping[str, str] | None
    ) -> list[str]:
        return super()._wrapped(argv, timeout_s, stdin, cwd, {**self._env, **(env or {})})

    def _drawn(self, card: Card) -> NDArray[np.uint8]:
        try:
            card.draw(card.picture)
            return pixels_of_ppm(card.picture.read_bytes())
        except (OSError, ValueError) as error:
            raise GuestError(f"{self.info.machine_id}: its graphics card shows no picture: {error}") from error


async def from_outside(
    machine: GuestMachine | OSWorldMachine,
    *,
    url: str,
    card: Card | None = None,
    send: Callable[[Words], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> GuestMachine | OSWorldMachine:
    """The same machine, looked at by `card`, and used by its devices where its desktop reads them; with that `env`.

    One with our own guest server takes input in milliseconds and stays as it is. Raises: `MachineError`.
    """
    quick = isinstance(machine, GuestMachine)
    if card is None and (quick or not (send or env)):
        return machine
    await machine.aclose()
    internet = {"capabilities": machine.info.capabilities | {"internet"}} if env else {}
    info = machine.info.model_copy(update=internet)
    found = ForeignMachine(info, url=url, card=card, send=None if quick else send, env=env)
    try:
        return found if quick or send is None or await found.follows() else found.without_devices()
    except BaseException:
        await found.aclose()
        raise


def pixels_of_ppm(data: bytes) -> NDArray[np.uint8]:
    """Height x width x 3 of a binary PPM as QEMU writes it: no comments, 8 bits a channel. Raises: `ValueError`."""
    words = data[:_LONGEST_HEAD].split(maxsplit=4)
    if len(words) < 4 or words[0] != b"P6" or words[3] != b"255" or not (words[1] + words[2]).isdigit():
        raise ValueError("it is no PPM with 8 bits a channel")
    width, height = int(words[1]), int(words[2])
    start = len(b" ".join(words[:4])) + 1
    if len(data) - start != width * height * 3:
        raise ValueError(f"it is no picture of {width}x{height} px")
    return np.frombuffer(data, np.uint8, offset=start).reshape(height, width, 3)
