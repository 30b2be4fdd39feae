"""Errors of the machine pool.

VMPoolError
├── ConfigError          the user's to mend: unknown provider, bad image name; one line and the next step
│   └── NotSupported     this provider cannot do that, by its nature or as it is set up; names the capability
├── HostUnfit            this host lacks something (bwrap, user namespaces); names the command that mends it
├── HostBusy             it has no memory or no place for another machine now; says what is missing
├── ImageError           building, finding or verifying an image failed
├── BootTimeout          a machine did not become ready in time; says what it waited for
├── PoolClosed           a lease was asked of a closed pool
└── MachineError
    ├── MachineLost      the machine is gone: process dead, socket closed
    ├── GuestTimeout     it did not answer in time
    └── GuestError       it answered with a refusal or with nonsense
        └── GuestFileNotFound
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pool.boot_report import BootReport


class VMPoolError(Exception):
    """Base of all errors of this package."""


class ConfigError(VMPoolError, ValueError):
    """The caller asked for something that does not exist or cannot be; the message ends with the next step."""


class NotSupported(ConfigError):
    """A provider cannot do that, by its nature or as it is set up."""

    def __init__(self, capability: str, message: str):
        super().__init__(message)
        self.capability = capability
        """A word of `vm_pool.provider.CAPABILITIES`."""


class HostUnfit(VMPoolError):
    """This host cannot run the provider; the message names the command that mends it."""


class HostBusy(VMPoolError):
    """This host had no room for another machine in time; the message says what was missing."""


class ImageError(VMPoolError):
    """An image could not be built, found or verified."""


class BootTimeout(VMPoolError, TimeoutError):
    """A machine did not become ready in time."""

    report: "BootReport | None" = None
    """What it said and showed last; None where nobody could look."""


class PoolClosed(VMPoolError):
    """A lease was asked of a pool that is closed."""


class MachineError(VMPoolError):
    """Base of errors about one machine."""


class MachineLost(MachineError):
    """The machine is gone; only a new one helps."""

    report: "BootReport | None" = None
    """Of a machine that was lost while it started; None for others."""


class GuestTimeout(MachineError, TimeoutError):
    """The guest did not answer in time; it may or may not have done what was asked."""


class GuestError(MachineError):
    """The guest refused, or answered with something that is not the protocol."""


class GuestFileNotFound(GuestError, FileNotFoundError):
    """The file is not there."""
