"""What every machine and provider must do, as named checks that run against any of them.

A check takes a ready machine with an ordinary home directory, or a provider and what to start, and raises
`ContractBroken` when the contract is not kept or `NotApplicable` when the promise was never made. Checks of a machine
may run in any order on the same machine.
"""

from collections.abc import Mapping

from vm_pool.contract.check import Check, ContractBroken, NotApplicable, Outcome, Result, run_check
from vm_pool.contract.machine_checks import MACHINE_CHECKS
from vm_pool.machine import Machine

CHECKS: Mapping[str, Check[Machine]] = {one.name: one for one in MACHINE_CHECKS}
"""Checks of a machine, by name."""

__all__ = ["CHECKS", "MACHINE_CHECKS", "Check", "ContractBroken", "NotApplicable", "Outcome", "Result", "run_check"]
