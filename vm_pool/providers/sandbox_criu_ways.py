"""How copies of sandboxes are made: their programs restored by CRIU, or started again on a copy of the disk."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

from vm_pool.criu import Criu, find_criu
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.providers.vm_cloning import Cloning

Way = Literal["restore", "boot"]
"""In the words of `vm_cloning`."""
WAYS: tuple[Way, ...] = ("restore", "boot")


class Choice:
    """Made once, when it is first asked for, which blocks. "auto": "restore" where CRIU works, else "boot".

    Raises on making: `ConfigError` for a way that there is not.
    """

    def __init__(self, wanted: Way | Literal["auto"], find: Callable[[], Criu] = find_criu):
        if wanted != "auto" and wanted not in WAYS:
            raise ConfigError(f"unknown way of cloning {wanted!r}; known: auto, {', '.join(WAYS)}")
        self._wanted, self._find = wanted, find

    @cached_property
    def cloning(self) -> Cloning:
        """Raises: `HostUnfit` where what was asked for cannot be."""
        if self._wanted == "boot":
            return Cloning("boot", "it was asked for")
        try:
            return Cloning("restore", f"CRIU {self.criu.version} saves the programs")
        except HostUnfit as error:
            if self._wanted == "restore":
                raise
            return Cloning("boot", str(error))

    @cached_property
    def criu(self) -> Criu:
        """One that was tried. Raises: `HostUnfit`."""
        criu = self._find()
        criu.check()
        return criu
