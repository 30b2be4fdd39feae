"""Runs every check against a provider: the contract of machines, that of providers, and the fidelity of its clones."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Literal

from vm_pool.contract.check import Check, NotApplicable, Result, Subject, run_check
from vm_pool.contract.clones import clones_of_a_running_desktop
from vm_pool.contract.fidelity import FIDELITY_CHECKS
from vm_pool.contract.machine_checks import MACHINE_CHECKS
from vm_pool.contract.provider_checks import PROVIDER_CHECKS, Source
from vm_pool.errors import NotSupported, VMPoolError
from vm_pool.provider import Provider, Spec, capabilities_of
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
        source = Source(provider, spec)
        of_machine = await _machine_checks(source, note)
        await _all(PROVIDER_CHECKS, source, note)
        await _fidelity_checks(source, clones, note)
    capabilities = (*sorted(capabilities_of(provider)), *sorted(of_machine))
    return Certificate(
        provider=provider.name,
        image=spec.image,
        clones=clones,
        taken_at=taken_at,
        capabilities=capabilities,
        results=tuple(results),
    )


async def _machine_checks(source: Source, note: OnResult) -> frozenset[str]:
    async with source.machine() as machine:
        await _all(MACHINE_CHECKS, machine, note)
        return machine.info.capabilities


async def _fidelity_checks(source: Source, clones: int, note: OnResult) -> None:
    """Where clones cannot be made each check says why."""
    async with AsyncExitStack() as stack:
        try:
            made = await stack.enter_async_context(clones_of_a_running_desktop(source, clones))
        except (NotApplicable, NotSupported) as lack:
            _none(note, "not_applicable", str(lack), lack.capability)
            return
        except (VMPoolError, AssertionError, TimeoutError) as error:
            _none(note, "failed", f"{clones} clones could not be made: {error}", None)
            return
        await _all(FIDELITY_CHECKS, made, note)


def _none(note: OnResult, outcome: Literal["failed", "not_applicable"], reason: str, missing: str | None) -> None:
    for one in FIDELITY_CHECKS:
        note(
            Result(
                check=one.sentence, group=one.group, outcome=outcome, reason=reason[:300], missing=missing, seconds=0.0
            )
        )


async def _all(checks: Sequence[Check[Subject]], subject: Subject, note: OnResult) -> None:
    for one in checks:
        note(await run_check(one, subject))
