"""What one desktop answers, and how fast: frames inside and outside, input, its effect on the screen, settling."""

import asyncio
import itertools
import json
import time

import numpy as np

from benchmarks.pool_speed.crowd import ms_since
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.probes import CountsProcesses, SeesScreens, disk_kib, memory_mib
from benchmarks.pool_speed.samples import CANNOT, Findings
from benchmarks.pool_speed.starts import NO_PROCESSES
from vm_pool.errors import GuestError
from vm_pool.events import Chord, Click, InputEvent, Scroll, Text
from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source
from vm_pool.provider import Provider, Snapshot
from vm_pool.settle import changed_box
from vm_pool.types import Frame, LookPart

EDITOR = ("mousepad",)
GUEST_PACKAGE, GUEST_FRAMES = "/opt/agent-s3", "/run/agent-s3/frames"
HUNDRED = ("The quick brown fox jumps over the lazy dog 0123456789. " * 2)[:100]
_KEY = "W"
_WIDER_THAN_A_CARET = 5
"""Pixels. A change that is narrower may be a caret that blinks, and not what a key did."""
_APART = 40
"""Pixels between two clicks."""
_POLL_S = 0.02
_LOOK: frozenset[LookPart] = frozenset({"frame", "tree", "windows"})

# Runs in the guest and times its own reader of the framebuffer.
_GRAB_SCRIPT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from guest.screen import Screen
screen, times = Screen(Path(sys.argv[2])), []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter()
    screen.bgrx()
    times.append((time.perf_counter() - begin) * 1000)
print(json.dumps(times))
"""


async def open_editor(machine: Machine, plan: Plan) -> None:
    """Start an editor and wait for its window, unless there is one. Raises: `GuestError` when none comes."""
    if not await machine.windows():
        await machine.launch(EDITOR)
    deadline = time.monotonic() + plan.window_s
    while not await machine.windows():
        if time.monotonic() >= deadline:
            raise GuestError(f"{EDITOR[0]} showed no window within {plan.window_s:g} s")
        await asyncio.sleep(_POLL_S)
    await machine.settle()


async def one_machine(machine: Machine, plan: Plan, findings: Findings) -> None:
    """All that one machine with an editor is asked."""
    x, y = await _middle(machine)
    await _frames(machine, plan, findings)
    with findings.unless_it_cannot("key_to_pixel_ms"):  # while what is typed still falls into an empty document
        findings.add("key_to_pixel_ms", *[await key_to_pixel_ms(machine, plan.reaction_s) for _ in range(plan.keys)])
    with findings.unless_it_cannot("click_ms", "type100_ms"):
        await machine.perform([Click(x=x, y=y)])
        # Two places in turn: clicks on one spot are kept as far apart as two that are no double click.
        clicks = [await machine.perform([Click(x=x + _APART * (i % 2 + 1), y=y)]) for i in range(plan.inputs)]
        findings.add("click_ms", *(receipt.milliseconds for receipt in clicks))
        texts = [await machine.perform([Text(text=HUNDRED)]) for _ in range(plan.inputs)]
        findings.add("type100_ms", *(receipt.milliseconds for receipt in texts))
    with findings.unless_it_cannot("settle_ms"):
        await _calm(machine, plan.window_s)  # what was typed may take long to be written
        findings.add("settle_ms", *[(await machine.settle()).seconds * 1000 for _ in range(plan.settles)])


async def first_pixels(pool: Pool, source: Source, plan: Plan, findings: Findings) -> None:
    """From the request for a machine to its first picture, and until the first action shows on it."""
    with_editor = isinstance(source, Snapshot)
    if not with_editor:
        findings.lack("a desktop with an editor open cannot be had by one request here", "first_pixel_ms")
    with findings.unless_it_cannot("first_frame_ms", "first_pixel_ms"):
        for _ in range(plan.keys):
            begin = time.perf_counter()
            async with pool.lease(source) as machine:
                before = await machine.screenshot()
                findings.add("first_frame_ms", ms_since(begin))
                if with_editor:
                    await key_to_pixel_ms(machine, plan.reaction_s, before=before)
                    findings.add("first_pixel_ms", ms_since(begin))


async def twenty_steps(pool: Pool, source: Source, plan: Plan, findings: Findings) -> None:
    """Memory and disk of one machine at birth and when an agent has worked on it."""
    async with pool.lease(source) as machine:
        await _weigh(pool.provider, machine, "birth", findings)
        names = [f"{what}_{plan.steps}_steps" for what in ("pss_mib", "disk_kib")]
        with findings.unless_it_cannot("step_ms", *names):
            x, y = await _middle(machine)
            for number in range(plan.steps):
                begin = time.perf_counter()
                await machine.perform(_action(number, x, y))
                await machine.settle()
                await machine.look(_LOOK)
                findings.add("step_ms", ms_since(begin))
            await _weigh(pool.provider, machine, f"{plan.steps}_steps", findings)


async def key_to_pixel_ms(machine: Machine, timeout_s: float, *, before: Frame | None = None) -> float:
    """From sending a key until a picture that shows it has come. `before` None: one is taken first.

    Raises: `GuestError` when nothing changes in time.
    """
    last = before or await machine.screenshot()
    begin = time.perf_counter()
    sending = asyncio.ensure_future(machine.perform([Text(text=_KEY)]))
    try:
        while True:
            frame = await machine.screenshot()
            took = ms_since(begin)
            if _shows(last, frame):
                break
            if took >= timeout_s * 1000:
                raise GuestError(f"nothing on the screen changed within {timeout_s:g} s after a key was typed")
            await asyncio.sleep(0)
    finally:
        await asyncio.gather(sending, return_exceptions=True)
    sending.result()
    return took


def _shows(before: Frame, after: Frame) -> bool:
    if np.array_equal(before.pixels, after.pixels):  # as most are, and ten times as quick as finding what differs
        return False
    box = changed_box(before, after)
    return box is not None and box.width >= _WIDER_THAN_A_CARET


async def _frames(machine: Machine, plan: Plan, findings: Findings) -> None:
    with findings.unless_it_cannot("frame_grab_ms"):
        findings.add("frame_grab_ms", *await _guest_grabs(machine, plan.frames))
    with findings.unless_it_cannot("frame_client_ms"):
        findings.add("frame_client_ms", *[await _frame(machine) for _ in range(plan.frames)])
    if isinstance(machine, SeesScreens) and machine.outside_screen:
        findings.add("screendump_ms", *[await _frame(machine) for _ in range(plan.frames)])
    else:
        findings.lack("pictures of this machine's screen come through its guest alone", "screendump_ms")


async def _guest_grabs(machine: Machine, count: int) -> list[float]:
    command = ["python3", "-I", "-c", _GRAB_SCRIPT, GUEST_PACKAGE, GUEST_FRAMES, str(count)]
    done = await machine.run(command)
    if done.returncode != 0:
        raise GuestError(
            f"{machine.info.machine_id}: its frame reader could not be timed: {done.stderr.strip()[-200:]}"
        )
    return [float(value) for value in json.loads(done.stdout)]


async def _calm(machine: Machine, timeout_s: float) -> None:
    """Raises: `GuestError` when its screen moves for ever."""
    deadline = time.monotonic() + timeout_s
    while not (settled := await machine.settle()).quiet:
        if time.monotonic() >= deadline:
            raise GuestError(f"{machine.info.machine_id} did not come to rest within {timeout_s:g} s: {settled.reason}")


async def _frame(machine: Machine) -> float:
    begin = time.perf_counter()
    await machine.screenshot()
    return ms_since(begin)


async def _middle(machine: Machine) -> tuple[int, int]:
    """Of the topmost window; of the screen when there is none."""
    windows = await machine.windows()
    return windows[-1].box.center if windows else (machine.info.width // 2, machine.info.height // 2)


def _action(number: int, x: int, y: int) -> list[InputEvent]:
    actions: tuple[list[InputEvent], ...] = (
        [Text(text=HUNDRED)],
        [Click(x=x, y=y)],
        [Text(text="\n")],
        [Chord(keys=("ctrl", "a"))],
        [Chord(keys=("ctrl", "end"))],
        [Scroll(x=x, y=y, dy=-3)],
    )
    return next(itertools.islice(itertools.cycle(actions), number % len(actions), None))


async def _weigh(provider: Provider, machine: Machine, when: str, findings: Findings) -> None:
    if isinstance(provider, CountsProcesses):
        findings.add(f"pss_mib_{when}", *await memory_mib(provider, [machine]))
    else:
        findings.lack(NO_PROCESSES, f"pss_mib_{when}")
    try:
        kib = await disk_kib(provider, machine)
    except CANNOT as error:
        findings.lack(str(error), f"disk_kib_{when}")
        return
    if kib:
        findings.add(f"disk_kib_{when}", kib)
    else:
        findings.lack("this provider's machines take nothing on this host's disk", f"disk_kib_{when}")
