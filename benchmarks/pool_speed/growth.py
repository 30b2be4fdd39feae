"""How starting, memory and processor time grow: with the number of forks, and with the memory of each."""

from statistics import median

from benchmarks.pool_speed.branch import branches
from benchmarks.pool_speed.crowd import crowd
from benchmarks.pool_speed.plan import Plan
from benchmarks.pool_speed.probes import CountsProcesses, idle_percent, memory_mib
from benchmarks.pool_speed.samples import Findings
from benchmarks.pool_speed.starts import start_ms
from vm_pool.pool import Pool
from vm_pool.provider import Snapshot, Spec

_FORKS = 3


async def with_number(pool: Pool, bare: Snapshot, plan: Plan, findings: Findings) -> None:
    """One row for each size of a crowd of forks."""
    for count in plan.growth_n:
        with findings.unless_it_cannot(f"growth n={count}"):
            async with crowd(pool, bare, count) as started:
                slowest = max(one.after_ms for one in started)
                row = {
                    "n": float(count),
                    "all_ms": slowest,
                    "median_ms": median(one.after_ms for one in started),
                    "clones_per_s": count / slowest * 1000,
                }
                if isinstance(pool.provider, CountsProcesses):
                    machines = [one.machine for one in started]
                    row["pss_mib_each"] = median(await memory_mib(pool.provider, machines))
                    for machine in machines:
                        await machine.settle()
                    row["idle_cpu_percent_all"] = sum(await idle_percent(pool.provider, machines, plan.idle_s))
            findings.growth.setdefault("n", []).append(_rounded(row))


async def with_memory(pool: Pool, spec: Spec, plan: Plan, findings: Findings) -> None:
    """One row for each size of memory; where a size is no more than a limit there is nothing to compare."""
    for mib in plan.growth_memory_mib:
        with findings.unless_it_cannot(f"growth memory_mib={mib}"):
            row = await _with_memory(pool, spec.model_copy(update={"memory_mib": mib}), plan)
            findings.growth.setdefault("memory_mib", []).append(_rounded({"memory_mib": float(mib), **row}))


async def _with_memory(pool: Pool, spec: Spec, plan: Plan) -> dict[str, float]:
    async with pool.lease(spec) as machine:
        await machine.settle()
        saved = await pool.provider.snapshot(machine)
    try:
        found = Findings()
        await branches(pool, saved, plan._replace(branches=1), found)
        row = {name: values[0] for name, values in found.samples.items()}
        await start_ms(pool, saved)
        row["fork_ms"] = median([await start_ms(pool, saved) for _ in range(_FORKS)])
        if isinstance(pool.provider, CountsProcesses):
            async with pool.lease(saved) as machine:
                row["pss_mib_n1"] = (await memory_mib(pool.provider, [machine]))[0]
    finally:
        await pool.provider.drop(saved)
    return row


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in row.items()}
