"""Measures a provider: starting, forking and saving machines, memory, disk, frames, input, settling."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from benchmarks.pool_speed import growth, starts
from benchmarks.pool_speed.branch import branches
from benchmarks.pool_speed.crowd import ms_since
from benchmarks.pool_speed.desk import first_pixels, one_machine, open_editor, twenty_steps
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.samples import Findings
from benchmarks.pool_speed.surroundings import host_facts, load, ways
from vm_pool.machine import Machine
from vm_pool.pool import Pool, Source
from vm_pool.provider import Provider, Snapshot, Spec

Note = Callable[[str], None]
_BY_FORK = ("fork_ms_n1", "fork_warm_ms", "fork_editor_ms_n1", "branch_ms", "branch_pause_ms", "reset_ms")


async def measure(
    provider: Provider,
    image: str,
    *,
    plan: Plan | None = None,
    on_note: Note = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """`{"provider", "image", "metrics": {NAME: {"min", "p50", "max", "n"}}, "ratios", "absent", "machine", "host"}`.

    Times in ms, memory in MiB, disk in KiB. `absent` says why a metric that others have is missing; `growth` has a row
    for each number or size that the plan compares. Raises: what the provider raises when a machine cannot be started.
    """
    plan = plan or Plan()
    spec = _spec(image, plan)
    findings, host = Findings(), host_facts(clock())
    async with (
        Pool(provider, concurrency=max(plan.crowd, *plan.growth_n, 2), starts=plan.starts) as pool,
        AsyncExitStack() as stack,
    ):
        on_note("booting a desktop and saving it, bare and with an editor")
        first_ms, bare, editor = await _saved_desktops(pool, spec, plan, findings, stack)
        on_note("booting desktops one by one")
        slow = await starts.boots(pool, spec, first_ms, plan, findings)
        if not slow:
            on_note(f"booting {plan.crowd} at once")
            await starts.boot_crowds(pool, spec, plan, findings)
        await _forks(pool, bare, plan, findings, on_note)
        on_note("memory and idle processor time")
        await starts.company(pool, bare if bare and slow else spec, plan, findings)
        await _working(pool, editor or spec, plan, findings, on_note, editor_there=bare is None or editor is not None)
        on_note("resets")
        await starts.resets(pool, spec, bare, plan.slow_resets if slow else plan.resets, findings)
        await _grow(pool, spec, bare, plan, findings, on_note)
        host["ways"] = await ways(provider, spec)
    _compare(findings)
    host["load_after"] = load()
    machine = {"width": plan.width, "height": plan.height, "memory_mib": plan.memory_mib}
    return findings.report(provider.name, image) | {"machine": machine, "host": host}


async def _saved_desktops(
    pool: Pool, spec: Spec, plan: Plan, findings: Findings, stack: AsyncExitStack
) -> tuple[float, Snapshot | None, Snapshot | None]:
    """What the first boot took, in ms; a bare desktop and one with an editor, None where they cannot be saved.

    They are dropped with the stack. Raises: what the provider raises when the first one cannot be started.
    """
    saved: list[Snapshot] = []
    crowd = (f"fork_ms_n{plan.crowd}_all", f"fork_ms_n{plan.crowd}", f"clones_per_s_n{plan.crowd}")
    begin = time.perf_counter()
    async with pool.lease(spec) as machine:
        first_ms = ms_since(begin)
        with findings.unless_it_cannot(*_BY_FORK, *crowd):
            await machine.settle()
            saved.append(await _saved(pool, machine, stack))
            with findings.unless_it_cannot("fork_editor_ms_n1", "branch_ms", "branch_pause_ms"):
                await open_editor(machine, plan)
                saved.append(await _saved(pool, machine, stack))
    bare, editor, *_ = [*saved, None, None]
    return first_ms, bare, editor


async def _forks(pool: Pool, bare: Snapshot | None, plan: Plan, findings: Findings, on_note: Note) -> None:
    if bare is None:
        return
    on_note("forks, one by one and from spares")
    await starts.forks(pool, bare, plan, findings)
    on_note(f"{plan.crowd} forks at once")
    await starts.fork_crowds(pool, bare, plan, findings)


async def _saved(pool: Pool, machine: Machine, stack: AsyncExitStack) -> Snapshot:
    snapshot = await pool.provider.snapshot(machine)
    stack.push_async_callback(pool.provider.drop, snapshot)
    return snapshot


async def _working(
    pool: Pool, source: Source, plan: Plan, findings: Findings, on_note: Note, *, editor_there: bool
) -> None:
    """From machines with an editor open, where they can be had; False: it was waited for in vain already."""
    if isinstance(source, Snapshot):
        on_note("from the request to the first picture and the first key")
        took = [await starts.start_ms(pool, source) for _ in range(plan.branches)]
        findings.add("fork_editor_ms_n1", *took)
    await first_pixels(pool, source, plan, findings)
    on_note("frames, input and settling")
    async with pool.lease(source) as machine:
        with findings.unless_it_cannot():
            if editor_there:
                await open_editor(machine, plan)
        await one_machine(machine, plan, findings)
    on_note(f"{plan.steps} steps")
    await twenty_steps(pool, source, plan, findings)
    if isinstance(source, Snapshot):
        on_note("saving a fork in the middle of its work")
        await branches(pool, source, plan, findings)


async def _grow(pool: Pool, spec: Spec, bare: Snapshot | None, plan: Plan, findings: Findings, on_note: Note) -> None:
    if plan.growth_n and bare is not None:
        on_note(f"growth with the number of forks: {', '.join(map(str, plan.growth_n))}")
        await growth.with_number(pool, bare, plan, findings)
    if not plan.growth_memory_mib:
        return
    if bare is None or not bare.includes_memory or not pool.provider.birth_mib:
        reason = "machines of this provider have no memory of their own on this host; a size is only a limit"
        findings.lack(reason, "growth memory_mib")
        return
    on_note(f"growth with memory: {', '.join(map(str, plan.growth_memory_mib))} MiB")
    await growth.with_memory(pool, spec, plan, findings)


def _compare(findings: Findings) -> None:
    """Ratios of this same run."""
    findings.ratio("cold_boot_over_fork", "cold_boot_ms", "fork_ms_n1")
    findings.ratio("cold_boot_over_warm_fork", "cold_boot_ms", "fork_warm_ms")
    findings.ratio("upstream_reset_over_reset", "upstream_reset_ms", "reset_ms")


def _spec(image: str, plan: Plan) -> Spec:
    return Spec(
        image=image,
        width=plan.width,
        height=plan.height,
        memory_mib=plan.memory_mib,
        labels={"purpose": "bench"},
    )
