"""What providers of this host do alike with the state of machines: saved, forked, kept, taken over."""

import asyncio
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vm_pool.errors import ConfigError, MachineError, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import DiskState, MachineFolder, new_id, read_state, state_of_new, write_state
from vm_pool.owner import this_process
from vm_pool.provider import Snapshot, Spec
from vm_pool.relaunch import Programs, programs_of, read_launched

_ASK_S = 2.0


def state_of_snapshot(machine: DiskState, programs: Programs) -> DiskState:
    """What is noted of a snapshot that is about to be taken of a machine with these programs."""
    noted = {"kind": "snapshot", "id": new_id("s"), "created": datetime.now(UTC), "owner": this_process()}
    return machine.model_copy(update={**noted, "programs": programs})


def snapshot_of(saved: DiskState, provider: str, *, includes_memory: bool) -> Snapshot:
    return Snapshot(
        snapshot_id=saved.id,
        provider=provider,
        image=saved.image_id,
        includes_memory=includes_memory,
        launched=() if includes_memory else saved.programs.launched,
        ttl_s=saved.spec.ttl_s,
    )


def saved_state(folder: Path) -> DiskState:
    """Of a snapshot. Blocks. Raises: `ConfigError` when it is gone."""
    state = read_state(folder)
    if state is None:
        raise no_snapshot(folder.name)
    return state


def no_snapshot(snapshot_id: str) -> ConfigError:
    return ConfigError(f"no snapshot {snapshot_id!r}; list what there is with: agent-s3 pool ls")


def spec_of_fork(saved: DiskState, labels: Mapping[str, str] | None) -> Spec:
    """That of the original, with the same build of its image and further labels."""
    wanted = {"image": saved.image_id, "labels": {**saved.spec.labels, **(labels or {})}}
    return saved.spec.model_copy(update=wanted)


def state_of_fork(spec: Spec, saved: DiskState) -> DiskState:
    return state_of_new(new_id("m"), spec, saved.image_id).model_copy(update={"programs": saved.programs})


def kept_state(disk: Path) -> DiskState:
    """Of a machine that this process may take over, by the folder of its disk. Blocks.

    Raises: `MachineLost` when that is gone or another living process uses it.
    """
    state = read_state(disk)
    if state is None or state.kind != "machine":
        raise MachineLost(f"{disk.name}: its disk is gone from {disk.parent}")
    if state.owner and state.owner.alive and state.owner.pid != os.getpid():
        raise MachineLost(f"{disk.name} belongs to the running process {state.owner.pid}")
    return state


def ours(kept: DiskState) -> DiskState:
    """The state of a machine that is this process's from now on; its time begins anew."""
    expires = datetime.now(UTC) + timedelta(seconds=kept.spec.ttl_s)
    return kept.model_copy(update={"owner": this_process(), "expires": expires})


@contextmanager
def ours_if_it_starts(folder: Path, kept: DiskState) -> Generator[DiskState]:
    """A machine is this process's from now on; when that fails it stays kept. Gives its new state. Blocks."""
    state = ours(kept)
    write_state(folder, state)
    try:
        yield state
    except BaseException:
        write_state(folder, kept)
        raise


def taken_over(folder: MachineFolder, kept: DiskState) -> DiskState:
    """The state of a machine that is now this process's, with the programs that its guest noted last. Blocks."""
    noted = read_launched(folder.launched)
    return ours(kept).model_copy(update={"programs": Programs(launched=noted) if noted else kept.programs})


async def given_up(machine: GuestMachine, folder: MachineFolder, state: DiskState) -> DiskState:
    """The state of a machine whose disk is kept and belongs to no run, with what `revive` needs.

    A machine that does not answer any more is asked for a moment only; then its guest's last note has to do.
    """
    programs = Programs(launched=read_launched(folder.launched) or ())
    with suppress(MachineError, TimeoutError):
        async with asyncio.timeout(_ASK_S):
            programs = await programs_of(machine)
    return state.model_copy(update={"owner": None, "programs": programs})
