"""Starting machines: booted, forked, from spares, many at once, and reset as OSWorld's container provider does it."""

import time
from contextlib import AsyncExitStack

from benchmarks.pool_speed.crowd import crowd, ms_since
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.probes import CountsProcesses, idle_percent, memory_mib
from benchmarks.pool_speed.samples import Findings
from vm_pool.pool import Pool, Source
from vm_pool.provider import Snapshot, Spec


async def boots(pool: Pool, spec: Spec, first_ms: float, plan: Plan, findings: Findings) -> bool:
    """Boot machines from their image; says whether that is slow here. `first_ms`: what the first one took.

    Where it is fast, the first one was there to warm up; where it is slow, it counts.
    """
    slow = first_ms > plan.slow_s * 1000
    more = plan.slow_single - 1 if slow else plan.single
    took = [*([first_ms] if slow else []), *[await start_ms(pool, spec) for _ in range(more)]]
    findings.add("ready_ms_n1", *took)
    findings.add("cold_boot_ms", *took)
    if slow:
        reason = f"one takes {first_ms / 1000:.0f} s to boot here: crowds are forked, see fork_ms_n{plan.crowd}_all"
        findings.lack(reason, f"ready_ms_n{plan.crowd}_slowest")
    return slow


async def boot_crowds(pool: Pool, spec: Spec, plan: Plan, findings: Findings) -> None:
    name = f"ready_ms_n{plan.crowd}_slowest"
    with findings.unless_it_cannot(name):
        for _ in range(plan.crowds):
            async with crowd(pool, spec, plan.crowd) as started:
                findings.add(name, max(one.after_ms for one in started))


async def forks(pool: Pool, bare: Snapshot, plan: Plan, findings: Findings) -> None:
    """One after the other; then each from a spare that was started ahead."""
    with findings.unless_it_cannot("fork_ms_n1"):
        await start_ms(pool, bare)
        findings.add("fork_ms_n1", *[await start_ms(pool, bare) for _ in range(plan.forks)])
    with findings.unless_it_cannot("fork_warm_ms"):
        for _ in range(max(1, plan.forks // 2)):
            await pool.warm(bare, 1)
            findings.add("fork_warm_ms", await start_ms(pool, bare))


async def fork_crowds(pool: Pool, bare: Snapshot, plan: Plan, findings: Findings) -> None:
    every, rate = f"fork_ms_n{plan.crowd}_all", f"clones_per_s_n{plan.crowd}"
    with findings.unless_it_cannot(every, f"fork_ms_n{plan.crowd}", rate):
        for _ in range(plan.crowds):
            async with crowd(pool, bare, plan.crowd) as started:
                slowest = max(one.after_ms for one in started)
                findings.add(every, slowest)
                findings.add(f"fork_ms_n{plan.crowd}", *(one.after_ms for one in started))
                findings.add(rate, plan.crowd / slowest * 1000)


async def company(pool: Pool, source: Source, plan: Plan, findings: Findings) -> None:
    """Memory of each of a crowd at birth, and the processor time that they take when nothing is asked of them."""
    memory, idle = f"pss_mib_n{plan.crowd}", f"idle_cpu_percent_n{plan.crowd}"
    if not isinstance(pool.provider, CountsProcesses):
        findings.lack(NO_PROCESSES, "pss_mib_n1", memory, idle)
        return
    async with pool.lease(source) as machine:
        findings.add("pss_mib_n1", *await memory_mib(pool.provider, [machine]))
    with findings.unless_it_cannot(memory, idle):
        async with crowd(pool, source, plan.crowd) as started:
            machines = [one.machine for one in started]
            findings.add(memory, *await memory_mib(pool.provider, machines))
            for machine in machines:
                await machine.settle()
            findings.add(idle, *await idle_percent(pool.provider, machines, plan.idle_s))


async def resets(pool: Pool, spec: Spec, bare: Snapshot | None, count: int, findings: Findings) -> None:
    """From a used machine to the first picture of one as good as new, in two ways on the same image.

    OSWorld's container provider stops and removes the container and boots its image again; we stop the machine and
    fork another. Upstream's polling once a second and its fixed waits are left out, to its advantage.
    """
    with findings.unless_it_cannot("upstream_reset_ms"):
        findings.add("upstream_reset_ms", *[await _reset_ms(pool, bare or spec, spec) for _ in range(count)])
    if bare is not None:
        with findings.unless_it_cannot("reset_ms"):
            findings.add("reset_ms", *[await _reset_ms(pool, bare, bare) for _ in range(count)])


async def start_ms(pool: Pool, source: Source) -> float:
    """From the request for a machine until it is ready."""
    begin = time.perf_counter()
    async with pool.lease(source):
        return ms_since(begin)


async def _reset_ms(pool: Pool, used: Source, anew: Source) -> float:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.lease(used))
        begin = time.perf_counter()
        await stack.aclose()
        machine = await stack.enter_async_context(pool.lease(anew))
        await machine.screenshot()
        return ms_since(begin)


NO_PROCESSES = "this provider's machines have no processes on this host"
