"""Measures a provider: starting machines, memory, frames, input, settling."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol, runtime_checkable

from benchmarks.pool_speed.samples import GRAB_SCRIPT, as_report, pss_mib
from vm_pool.errors import GuestError
from vm_pool.events import Click, Text
from vm_pool.machine import Machine
from vm_pool.pool import Pool
from vm_pool.provider import Provider, Spec

GUEST_PACKAGE, GUEST_FRAMES = "/opt/agent-s3", "/run/agent-s3/frames"
WIDTH, HEIGHT = 1920, 1080
HUNDRED = ("The quick brown fox jumps over the lazy dog 0123456789. " * 2)[:100]
_EDITOR = ("mousepad",)
_WINDOW_S = 30.0
_APART = 40
"""Pixels between two clicks."""

Note = Callable[[str], None]
Samples = dict[str, list[float]]


class Plan(NamedTuple):
    """How much is measured."""

    single: int = 9
    """Starts one after the other, after one that does not count."""
    crowd: int = 16
    crowds: int = 3
    """How often that many are started at once."""
    frames: int = 50
    inputs: int = 30
    settles: int = 5
    starts: int = 16
    """How many of a crowd start at once."""


@runtime_checkable
class CountsProcesses(Protocol):
    """A provider that can name a machine's processes on this host; of others memory is not reported."""

    def process_ids(self, machine: Machine) -> set[int]: ...


async def measure(
    provider: Provider, image: str, *, plan: Plan | None = None, on_note: Note = lambda _: None
) -> dict[str, object]:
    """`{"provider", "image", "metrics": {NAME: {"min", "p50", "max", "n"}}}`; times in ms, memory in MiB.

    Raises: what the provider raises when a machine cannot be started.
    """
    plan = plan or Plan()
    spec = Spec(image=image, width=WIDTH, height=HEIGHT, labels={"purpose": "bench"})
    samples: Samples = {}
    async with Pool(provider, concurrency=plan.crowd, starts=plan.starts) as pool:
        on_note("starting machines one by one")
        samples["ready_ms_n1"] = await _single_starts(pool, spec, plan.single)
        on_note(f"starting {plan.crowd} machines at once")
        samples |= await _crowds(pool, spec, plan)
        on_note("frames, input and settling")
        async with pool.lease(spec) as machine:
            samples |= await _one_machine(machine, plan)
    return as_report(provider.name, image, samples)


async def _single_starts(pool: Pool, spec: Spec, count: int) -> list[float]:
    return [await _single_start(pool, spec) for _ in range(count + 1)][1:]


async def _single_start(pool: Pool, spec: Spec) -> float:
    begin = time.perf_counter()
    async with pool.lease(spec):
        return _ms_since(begin)


async def _crowds(pool: Pool, spec: Spec, plan: Plan) -> Samples:
    samples: Samples = {}
    for _ in range(plan.crowds):
        async with AsyncExitStack() as stack:
            begin = time.perf_counter()
            leases = (_ready_after(stack, pool, spec, begin) for _ in range(plan.crowd))
            started = await asyncio.gather(*leases)
            samples.setdefault(f"ready_ms_n{plan.crowd}_slowest", []).append(max(after for _, after in started))
            if isinstance(pool.provider, CountsProcesses):
                machines = [machine for machine, _ in started]
                samples[f"pss_mib_n{plan.crowd}"] = await asyncio.to_thread(_memory, pool.provider, machines)
    return samples


async def _ready_after(stack: AsyncExitStack, pool: Pool, spec: Spec, begin: float) -> tuple[Machine, float]:
    machine = await stack.enter_async_context(pool.lease(spec))
    return machine, _ms_since(begin)


def _memory(provider: CountsProcesses, machines: list[Machine]) -> list[float]:
    return [pss_mib(provider.process_ids(machine)) for machine in machines]


async def _one_machine(machine: Machine, plan: Plan) -> Samples:
    await machine.launch(_EDITOR)
    x, y = await _editor_center(machine)
    await machine.settle()
    samples: Samples = {"frame_grab_ms": await _guest_grabs(machine, plan.frames)}
    samples["frame_client_ms"] = [await _frame(machine) for _ in range(plan.frames)]
    await machine.perform([Click(x=x, y=y)])
    # Two places in turn: clicks on one spot are kept as far apart as two that are no double click.
    clicks = [await machine.perform([Click(x=x + _APART * (i % 2 + 1), y=y)]) for i in range(plan.inputs)]
    samples["click_ms"] = [receipt.milliseconds for receipt in clicks]
    texts = [await machine.perform([Text(text=HUNDRED)]) for _ in range(plan.inputs)]
    samples["type100_ms"] = [receipt.milliseconds for receipt in texts]
    await machine.settle()
    samples["settle_ms"] = [(await machine.settle()).seconds * 1000 for _ in range(plan.settles)]
    return samples


async def _guest_grabs(machine: Machine, count: int) -> list[float]:
    command = ["python3", "-I", "-c", GRAB_SCRIPT, GUEST_PACKAGE, GUEST_FRAMES, str(count)]
    done = await machine.run(command)
    if done.returncode != 0:
        raise GuestError(
            f"{machine.info.machine_id}: its frame reader could not be timed: {done.stderr.strip()[-200:]}"
        )
    return [float(value) for value in json.loads(done.stdout)]


async def _frame(machine: Machine) -> float:
    begin = time.perf_counter()
    await machine.screenshot()
    return _ms_since(begin)


async def _editor_center(machine: Machine) -> tuple[int, int]:
    """Waits for the editor's window. Raises: `GuestError` when none comes."""
    deadline = time.monotonic() + _WINDOW_S
    while not (windows := await machine.windows()):
        if time.monotonic() >= deadline:
            raise GuestError(f"{_EDITOR[0]} showed no window within {_WINDOW_S:g} s")
        await asyncio.sleep(0.02)
    return windows[-1].box.center


def _ms_since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000
