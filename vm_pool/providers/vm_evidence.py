"""What a virtual machine of an image of ours said and showed last, read from outside of it."""

from vm_pool.boot_report import printable, save_screen
from vm_pool.guest.channel_wire import SERVER_STARTS
from vm_pool.host_files import end_of
from vm_pool.local_state import read_state
from vm_pool.provider import Evidence
from vm_pool.providers import vm_screen
from vm_pool.providers.vm_places import VmFolder

_LOOKED_AT = 1 << 18
"""Bytes of the console."""


def evidence_in(folder: VmFolder) -> Evidence:
    """The console as far as the guest server's start, what comes after it as the log, and the screen. Blocks."""
    console, _, log = end_of(folder.console, _LOOKED_AT).partition(SERVER_STARTS.encode())
    state = read_state(folder.path)
    return Evidence(
        console=printable(console),
        log=printable(log),
        screen=state and _screen(folder, state.id, state.spec.width, state.spec.height),
    )


def _screen(folder: VmFolder, machine_id: str, width: int, height: int) -> str | None:
    if not folder.screen.exists():
        return None
    start = vm_screen.picture_start(folder.screen)
    return save_screen(machine_id, folder.screen, width, height, start=start)
