"""How fake machines break, as data: injected with `Script.inject`, and the same in each run of a test.

| fault | what the caller meets | like |
| --- | --- | --- |
| `Hang` | no answer: the call waits, then raises `GuestTimeout` | a frozen guest |
| `Slow` | the right answer, late | a busy host |
| `TornFrame` | a frame whose lower part shows the screen as it was before | a frame taken while it was drawn |
| `LostSocket` | `MachineLost` from this call; the machine lives on | a connection that breaks |
| `DiskFull` | `GuestError` in the guest's own words | a full disk |
| `Nonsense` | `GuestError`: the answer is malformed | a broken or hostile guest |
| `WrongAnswer` | the answer that the test chose, in place of the true one | a guest that lies |
| `Death` | `MachineLost` from this call and all later ones | a killed machine |
"""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from vm_pool.errors import GuestError, GuestTimeout, MachineError, MachineLost
from vm_pool.types import Frame, Frozen

Method = Literal[
    "screenshot", "perform", "run", "launch", "read", "write", "tree", "windows", "look", "settle", "boot", "fork"
]


class Hang(Frozen):
    """The call waits `seconds` (None: until it is cancelled) and raises `GuestTimeout`."""

    seconds: float | None = None
    done: bool = False
    """Whether what was asked for is done all the same, as it may be when only the answer is missing."""


class Slow(Frozen):
    """The call takes this much longer."""

    seconds: float = Field(ge=0)


class TornFrame(Frozen):
    """The lower `share` of the frame is that of the frame before, black where there was none."""

    share: float = Field(default=0.5, gt=0, lt=1)


class LostSocket(Frozen):
    """The connection breaks during this call; the next one works."""

    done: bool = False
    """Whether what was asked for is done all the same."""


class DiskFull(Frozen):
    """The guest answers that no space is left, and writes nothing."""


class Nonsense(Frozen):
    """The guest answers with something that is not the protocol."""

    said: str = "answer: Expecting value"


class WrongAnswer(Frozen):
    """What was asked for is done, and the guest answers `answer`, which the caller cannot tell from the truth."""

    answer: Any


class Death(Frozen):
    """The machine dies during this call."""


Fault = Hang | Slow | TornFrame | LostSocket | DiskFull | Nonsense | WrongAnswer | Death


class Planned(Frozen):
    """A fault and when it comes; the fields are those of `Script.inject`."""

    fault: Fault
    method: Method | None
    machine: int | None
    after: int = Field(ge=0)
    times: int | None = Field(ge=1)

    def hits(self, method: Method, machine: int, call: int, calls_in_all: int) -> bool:
        """Whether it comes at a machine's call number `call` of that method, number `calls_in_all` of any (from 0)."""
        if self.machine is not None and self.machine != machine:
            return False
        if self.method is not None and self.method != method:
            return False
        number = (calls_in_all if self.method is None else call) - self.after
        return number >= 0 and (self.times is None or number < self.times)


async def suffer(fault: Fault, machine_id: str, *, act: Callable[[], object], die: Callable[[], None]) -> object:
    """What a faulty call answers, where `act` is the call itself. Raises: as the table above says."""
    match fault:
        case TornFrame():
            return act()  # the picture itself is torn by `torn`
        case Slow():
            await asyncio.sleep(fault.seconds)
            return act()
        case WrongAnswer():
            act()
            return fault.answer
        case Hang():
            await _hang(fault, act)
        case LostSocket() if fault.done:
            act()
        case Death():
            die()
        case _:
            pass
    raise _error(fault, machine_id)


def _error(fault: Fault, machine_id: str) -> MachineError:
    match fault:
        case Hang():
            return GuestTimeout(f"{machine_id}: no answer within {fault.seconds or 0:g} s")
        case DiskFull():
            return GuestError(f"{machine_id}: cannot write: No space left on device")
        case Nonsense():
            return GuestError(f"{machine_id}: the guest's answer is malformed: {fault.said}")
        case Death():
            return MachineLost(f"{machine_id}: its control server has ended")
        case _:
            return MachineLost(f"{machine_id}: disconnected")


async def _hang(fault: Hang, act: Callable[[], object]) -> None:
    if fault.done:
        act()
    if fault.seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(fault.seconds)


def torn(frame: Frame, before: Frame | None, share: float) -> Frame:
    """A frame whose lower part is older than its upper part; None for `before` makes that part black."""
    pixels = frame.pixels.copy()
    top = frame.height - max(1, round(frame.height * share))
    pixels[top:] = np.zeros_like(pixels[top:]) if before is None else before.pixels[top:]
    return Frame(pixels, frame.taken_at)
