"""What providers of this host do alike with machines that are kept, taken over, forked and ended."""

import asyncio
import os
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from vm_pool.errors import MachineError, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import DiskState, MachineFolder, read_state, state_of_new
from vm_pool.owner import this_process
from vm_pool.provider import Spec
from vm_pool.relaunch import Programs, programs_of, read_launched

_ASK_S = 2.0


def kept_state(folder: MachineFolder) -> DiskState:
    """Of a machine that this process may take over. Blocks.

    Raises: `MachineLost` when its disk is gone or another living process uses it.
    """
    machine_id = folder.disk.name
    state = read_state(folder.disk)
    if state is None or state.kind != "machine":
        raise MachineLost(f"{machine_id}: its disk is gone from {folder.disk.parent}")
    if state.owner and state.owner.alive and state.owner.pid != os.getpid():
        raise MachineLost(f"{machine_id} belongs to the running process {state.owner.pid}")
    return state


def taken_over(folder: MachineFolder, state: DiskState) -> DiskState:
    """The state of a machine that is now this process's, with the programs that its guest noted last. Blocks."""
    noted = read_launched(folder.launched)
    programs = Programs(launched=noted) if noted else state.programs
    expires = datetime.now(UTC) + timedelta(seconds=state.spec.ttl_s)
    return state.model_copy(update={"owner": this_process(), "expires": expires, "programs": programs})


async def given_up(machine: GuestMachine, folder: MachineFolder, state: DiskState) -> DiskState:
    """The state of a machine whose disk is kept and belongs to no run, with what `revive` needs.

    A machine that does not answer any more is asked for a moment only; then its guest's last note has to do.
    """
    programs = Programs(launched=read_launched(folder.launched) or ())
    with suppress(MachineError, TimeoutError):
        async with asyncio.timeout(_ASK_S):
            programs = await programs_of(machine)
    return state.model_copy(update={"owner": None, "programs": programs})


def spec_of_fork(saved: DiskState, labels: Mapping[str, str] | None) -> Spec:
    """That of the original, with the same build of its image and further labels."""
    wanted = {"image": saved.image_id, "labels": {**saved.spec.labels, **(labels or {})}}
    return saved.spec.model_copy(update=wanted)


def state_of_fork(machine_id: str, spec: Spec, saved: DiskState) -> DiskState:
    return state_of_new(machine_id, spec, saved.image_id).model_copy(update={"programs": saved.programs})


async def all_ended(stops: Iterable[Awaitable[None]]) -> None:
    """One that cannot be cleared up does not keep the others. Raises: what the first such one raised."""
    for failure in await asyncio.gather(*stops, return_exceptions=True):
        if failure is not None:
            raise failure
