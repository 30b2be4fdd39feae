"""Runs every check against a provider: the contract of machines, that of providers, and the fidelity of its clones."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Literal

from vm_pool.contract.check import Check, NotApplicable, Result, Subject, run_check
from vm_pool.contract.clones import clones_of_a_running_desktop
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.machine_checks import MACHINE_CHECKS
from vm_pool.contract.pace import at_pace, pace_of
from vm_pool.contract.provider_checks import PROVIDER_CHECKS, Source
from vm_pool.errors import NotSupported, VMPoolError
from vm_pool.provider import HasWays, Provider, Spec, capabilities_of
from vm_pool.types import Frozen

OnResult = Callable[[Result], None]


class Certificate(Frozen):
    """What a provider was seen to do. It holds when nothing failed; what does not apply is named with its reason."""

    schema_version: Literal[1] = 1
    provider: str
    image: str
    """As it was asked for."""
    clones: int
    """How many were compared."""
    taken_at: datetime
    ways: tuple[str, ...] = ()
    """How the provider runs and copies machines here and why, a line each; empty when there is one way only."""
    pace: float = 1.0
    """How much slower than this host the machines compute: all time limits were that much longer."""
    capabilities: tuple[str, ...]
    """Of the provider and of its machines, in order."""
    results: tuple[Result, ...]

    def count(self, outcome: str) -> int:
        return sum(result.outcome == outcome for result in self.results)

    @property
    def holds(self) -> bool:
        return not self.count("failed")


async def certify(
    provider: Provider,
    spec: Spec,
    *,
    clones: int = 3,
    on_result: OnResult = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Certificate:
    """Run all checks, one after the other; `on_result` is called after each.

    Raises: `ValueError` for fewer than two clones; what `boot` raises when not even one machine can be started.
    """
    if clones < 2:
        raise ValueError(f"{clones} clones cannot be compared; take at least 2")
    taken_at, results = clock(), list[Result]()

    def note(result: Result) -> None:
        results.append(result)
        on_result(result)

    async with provider.session():
        ways = await provider.ways(spec) if isinstance(provider, HasWays) else ()
        source = Source(provider, spec)
        of_machine, pace = await _machine_checks(source, note)
        await _all(PROVIDER_CHECKS, source, note, pace)
        await _fidelity_checks(source, clones, note, pace)
    capabilities = (*sorted(capabilities_of(provider)), *sorted(of_machine))
    return Certificate(
        provider=provider.name,
        image=spec.image,
        clones=clones,
        taken_at=taken_at,
        ways=ways,
        pace=round(pace, 2),
        capabilities=capabilities,
        results=tuple(results),
    )


async def _machine_checks(source: Source, note: OnResult) -> tuple[frozenset[str], float]:
    """Returns the machine's capabilities and its pace."""
    async with source.machine() as machine:
        pace = await pace_of(machine)
        await _all(MACHINE_CHECKS, machine, note, pace)
        return machine.info.capabilities, pace


async def _fidelity_checks(source: Source, clones: int, note: OnResult, pace: float) -> None:
    """Where clones cannot be made each check says why."""
    async with AsyncExitStack() as stack:
        try:
            stack.enter_context(at_pace(pace))
            made = await stack.enter_async_context(clones_of_a_running_desktop(source, clones))
        except (NotApplicable, NotSupported) as lack:
            _none(note, "not_applicable", str(lack), lack.capability)
            return
        except (VMPoolError, AssertionError, TimeoutError) as error:
            _none(note, "failed", f"{clones} clones could not be made: {error}", None)
            return
        await _all(FIDELITY_CHECKS, made, note, pace)


def _none(note: OnResult, outcome: Literal["failed", "not_applicable"], reason: str, missing: str | None) -> None:
    for one in FIDELITY_CHECKS:
        note(
            Result(
                check=one.sentence, group=one.group, outcome=outcome, reason=reason[:300], missing=missing, seconds=0.0
            )
        )


async def _all(checks: Sequence[Check[Subject]], subject: Subject, note: OnResult, pace: float) -> None:
    for one in checks:
        note(await run_check(one, subject, pace=pace))
