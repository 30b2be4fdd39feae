"""All checks of a machine, in the order in which they are run."""

from vm_pool.contract import clients, commands, desktops, files, frames, inputs, texts
from vm_pool.contract.check import Check, checks_in
from vm_pool.machine import Machine

MACHINE_CHECKS: tuple[Check[Machine], ...] = (
    *checks_in(vars(frames)),
    *checks_in(vars(inputs)),
    *checks_in(vars(texts)),
    *checks_in(vars(commands)),
    *checks_in(vars(files)),
    *files.BY_SIZE,
    *checks_in(vars(desktops)),
    *checks_in(vars(clients)),
)
