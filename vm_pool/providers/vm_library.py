"""libvirt's Python binding, an extra without types, made quiet; and its event loop."""

import importlib
import os
import threading
from functools import cache
from typing import Any


def _import_quietly() -> tuple[Any, Any]:
    """libvirt writes on standard error what is unusual about our machines, unless told not to; errors are raised."""
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
    return importlib.import_module("libvirt"), importlib.import_module("libvirt_qemu")


libvirt, libvirt_qemu = _import_quietly()


@cache
def run_event_loop() -> None:
    """libvirt's own, in a thread that lives as long as this process; without it nobody reads QEMU's answers."""
    libvirt.registerErrorHandler(_keep_quiet, None)
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True, name="libvirt-events").start()


def _keep_quiet(_context: Any, _error: Any) -> None:
    """Errors are raised; nothing needs to print them as well."""


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
