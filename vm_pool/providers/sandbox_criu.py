"""The `sandbox-criu` provider: sandboxes whose snapshots hold their running programs, where CRIU can save them.

A snapshot is rehearsed before it is given out: what cannot be restored is saved without its programs, and says why. So
is each fork looked at: one whose programs did not come back, or take no input, gets the files and programs that start
again, which its log says.
"""

import asyncio
import json
import logging
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from vm_pool import images
from vm_pool.boot_report import tail_of
from vm_pool.errors import BootTimeout, MachineError, MachineLost
from vm_pool.guest_client import GuestMachine
from vm_pool.host_processes import descendants
from vm_pool.local_state import (
    DiskState,
    MachineFolder,
    Places,
    default_places,
    machine_uid,
    make_passage,
    write_state,
)
from vm_pool.machine import Machine
from vm_pool.network import parse_network
from vm_pool.output import one_line
from vm_pool.provider import Evidence, Snapshot, Spec, Stray
from vm_pool.providers import keeping, sandbox_criu_launch
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_criu_images import (
    RESTORE_LOG,
    StateNotSaved,
    complaint,
    failure,
    processes_inside,
    save,
    until_only_its_own,
)
from vm_pool.providers.sandbox_criu_launch import LOG_NAME, external_mounts
from vm_pool.providers.sandbox_criu_restore import WORK_NAME, end_restored_elsewhere, restore
from vm_pool.providers.sandbox_criu_ways import Choice, Way
from vm_pool.providers.sandbox_disk import copy_upper
from vm_pool.providers.sandbox_launch import Launch
from vm_pool.providers.sandbox_machine import Running, start_failure
from vm_pool.relaunch import programs_of
from vm_pool.runtime_folder import read_token
from vm_pool.shield import shielded

log = logging.getLogger(__name__)

MEMORY, UPPER, FRAMES, JOURNAL = "memory", "upper", "frames", "journal"
"""What a snapshot holds: CRIU's images, and copies of the folders of the machine that go with them."""
_FIRST, _GUEST_SERVER = 1, 2
"""Numbers inside of the first process and of its first child."""
_REQUESTS_S, _LET_GO_S = 10.0, 2.0
_TAKES_INPUT_MS = 10_000


class CriuSandboxProvider(SandboxProvider):
    """As `SandboxProvider`, and forks go on with the programs as they were, where CRIU works; it does for root only."""

    name = "sandbox-criu"

    def __init__(
        self,
        *,
        places: Places | None = None,
        boot_timeout_s: float = 30.0,
        cloning: Way | Literal["auto"] = "auto",
    ) -> None:
        """`cloning` is how copies of machines are made; "auto" is "restore" where CRIU works, else "boot".

        Raises: `ConfigError` for a way that there is not.
        """
        super().__init__(places=places or default_places(self.name), boot_timeout_s=boot_timeout_s)
        self._ways = Choice(cloning)
        self._restored_from: dict[str, Path] = {}
        """Machines that are being started from saved programs, and where those lie."""
        self.pauses_ms: dict[str, float] = {}
        """Snapshot id -> for how long its machine stood still, as far as it can be seen from outside."""

    async def snapshot(self, machine: Machine) -> Snapshot:
        """Without the programs where CRIU cannot save and restore them; the result says why."""
        running = self._machines.of(machine)
        try:
            self._refuse_what_is_known(running)
            return await self._twice_if_need_be(running)
        except StateNotSaved as error:
            log.warning("%s is saved without its programs: %s", running.state.id, error)
            files = await super().snapshot(machine)
            return files.model_copy(update={"without_memory": str(error)})

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        """With programs that start again where the saved ones do not come back; its log and ours say why."""
        state, image, upper = await self._to_fork(snapshot, labels)
        if not (upper.parent / MEMORY).is_dir():
            return await self._start_new(state, image, copy_of=upper)
        try:
            return await self._start_restored(state, image, upper.parent)
        except (MachineError, BootTimeout) as error:
            reason = one_line(str(error))
        log.warning("%s: its programs start again, for they could not be restored: %s", state.id, reason)
        machine = await self._start_new(state, image, copy_of=upper)
        await asyncio.to_thread(_note, self._places.machine(state.id).log, f"programs started again: {reason}")
        return machine

    async def ways(self, spec: Spec) -> tuple[str, ...]:
        """How its machines are copied on this host and why."""
        await asyncio.to_thread(self._prepare, spec)
        way, reason = self._ways.cloning
        return (f"copies by {way}: {reason}",)

    async def evidence(self, machine_id: str) -> Evidence:
        found = await super().evidence(machine_id)
        folder = self._places.machine(machine_id)
        inside = await asyncio.to_thread(tail_of, folder.journal / LOG_NAME, without=read_token(folder) or "")
        return found.model_copy(update={"log": "\n".join(filter(None, (inside, found.log)))})

    def _refuse_what_is_known(self, running: Running) -> None:
        """Raises: `StateNotSaved`."""
        if self._ways.cloning.way == "boot":
            raise StateNotSaved(self._ways.cloning.reason)
        if parse_network(running.state.spec.network).by_proxy:
            raise StateNotSaved("its way out to a network is open, and CRIU saves no such connections")

    async def _twice_if_need_be(self, running: Running) -> Snapshot:
        """Programs that start call others all the time, in the middle of which they cannot be saved."""
        try:
            return await self._with_programs(running)
        except StateNotSaved as error:
            if not error.passing:
                raise
        await running.machine.settle()
        return await self._with_programs(running)

    async def drop(self, snapshot: Snapshot) -> None:
        self.pauses_ms.pop(snapshot.snapshot_id, None)
        await super().drop(snapshot)

    async def _with_programs(self, running: Running) -> Snapshot:
        """Raises: `StateNotSaved`."""
        state = keeping.state_of_snapshot(running.state, await programs_of(running.machine))
        folder = self._places.snapshot(state.id)
        snapshot = keeping.snapshot_of(state, self.name, includes_memory=True)
        try:
            names = await self._save_apart(running, folder, state)
            await self._rehearse(snapshot, names)
        except BaseException:
            await shielded(self.drop(snapshot))
            raise
        return snapshot

    async def _save_apart(self, running: Running, folder: Path, state: DiskState) -> dict[int, str]:
        """Save while no client of ours is connected. Returns the programs' names by their numbers inside."""
        try:
            async with running.machine.apart(_REQUESTS_S):
                return await shielded(asyncio.to_thread(self._save, running, folder, state))
        except TimeoutError as error:
            raise StateNotSaved(f"a request to it was still under way after {_REQUESTS_S:g} s") from error

    def _save(self, running: Running, folder: Path, state: DiskState) -> dict[int, str]:
        """Blocks. Raises: `StateNotSaved`."""
        inside = processes_inside(descendants(running.process.pid))
        if not {_FIRST, _GUEST_SERVER} <= inside.keys():
            raise MachineLost(f"{running.state.id} has ended")
        until_only_its_own(inside[_GUEST_SERVER].pid, _LET_GO_S)
        make_passage(folder)
        write_state(folder, state)

        def copy() -> None:
            for source, name in ((running.folder.upper, UPPER), (running.folder.frames, FRAMES)):
                copy_upper(source, folder / name)
            copy_upper(running.folder.journal, folder / JOURNAL)

        mounts = external_mounts(running.folder, self._guest_codes[running.image.id])
        begin = time.perf_counter()
        save(self._ways.criu, inside[_FIRST].pid, folder / MEMORY, mounts, copy)
        self.pauses_ms[state.id] = (time.perf_counter() - begin) * 1000
        return {number: process.name for number, process in inside.items()}

    async def _rehearse(self, snapshot: Snapshot, names: Mapping[int, str]) -> None:
        """Restore it once. Raises: `StateNotSaved` with the name of the program that could not be restored."""
        state, image, upper = await self._to_fork(snapshot, None)
        try:
            await self.stop(await self._start_restored(state, image, upper.parent))
        except StateNotSaved as error:
            raise StateNotSaved(error.of_program(names)) from error
        except (MachineError, BootTimeout) as error:
            raise StateNotSaved(f"what was restored did not answer: {error}") from error

    def _prepare(self, spec: Spec) -> images.Image:
        _ = self._ways.cloning  # refused here, before anything is made
        return super()._prepare(spec)

    async def _start_restored(self, state: DiskState, image: images.Image, saved: Path) -> Machine:
        """Raises: `MachineError` or `BootTimeout`, after which nothing is left of it."""
        if self._ways.cloning.way == "boot":
            raise StateNotSaved(self._ways.cloning.reason)
        self._restored_from[state.id] = saved
        try:
            return await self._start_new(state, image, copy_of=saved / UPPER)
        finally:
            self._restored_from.pop(state.id, None)

    async def _launch(self, launch: Launch) -> "subprocess.Popen[bytes]":
        if self._ways.cloning.way == "boot":
            return await super()._launch(launch)
        saved = self._restored_from.get(launch.folder.disk.name)
        begin = self._begin_restored(launch, saved) if saved else self._begin_afresh(launch)
        starting = asyncio.ensure_future(begin)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(MachineError):
                (await starting).kill()
            raise

    async def _begin_afresh(self, launch: Launch) -> "subprocess.Popen[bytes]":
        return await asyncio.to_thread(sandbox_criu_launch.start, launch, self._filter)

    async def _begin_restored(self, launch: Launch, saved: Path) -> "subprocess.Popen[bytes]":
        def begin() -> "subprocess.Popen[bytes]":
            _put_in_place(saved / FRAMES, launch.folder.frames, 0o700)
            _put_in_place(saved / JOURNAL, launch.folder.journal, 0o755)
            return restore(self._ways.criu, launch, saved / MEMORY)

        return await asyncio.to_thread(begin)

    def _start_failure(self, folder: MachineFolder) -> Exception:
        """The session's log lies inside; what builds the sandbox complains outside, CRIU in a log of its own."""
        restoring = folder.disk / WORK_NAME / RESTORE_LOG
        if complaint(restoring):
            return failure(restoring)
        if folder.log.exists() and folder.log.read_bytes().strip():
            return start_failure(folder.log)
        said = tail_of(folder.journal / LOG_NAME).splitlines() or ["it said nothing"]
        return MachineLost(f"the desktop session ended while it started: {said[-1]!r}")

    async def _bring_back(self, machine: GuestMachine, state: DiskState) -> None:
        if state.id not in self._restored_from:
            await super()._bring_back(machine, state)
            return
        await asyncio.to_thread(_note_launched, self._places.machine(state.id), state)
        # Its X server answers, and its focused program takes what comes from there.
        taken = await machine.settle(quiet_ms=0, timeout_ms=_TAKES_INPUT_MS)
        if not taken:
            raise StateNotSaved(f"what was restored takes no input: {taken.reason}")

    async def _remove_stray(self, stray: Stray) -> None:
        if stray.kind == "machine":
            await asyncio.to_thread(end_restored_elsewhere, self._places.machine(stray.id))
        await super()._remove_stray(stray)

    def _strays(self) -> list[Stray]:
        """Image builds are the `sandbox` provider's to name."""
        return [stray for stray in super()._strays() if stray.kind != "build"]


def _put_in_place(saved: Path, place: Path, mode: int) -> None:
    """A copy of a saved folder instead of the empty one that is there."""
    place.rmdir()
    copy_upper(saved, place)
    place.chmod(mode)


def _note_launched(folder: MachineFolder, state: DiskState) -> None:
    """Its guest server writes this file only when it launches something."""
    partial = folder.runtime / "launched.json"
    partial.write_text(json.dumps(state.programs.launched), encoding="utf-8")
    os.chown(partial, machine_uid(), machine_uid())
    partial.replace(folder.launched)


def _note(log_file: Path, line: str) -> None:
    """In the log that `pool logs` shows."""
    with log_file.open("a", encoding="utf-8") as file:
        file.write(f"agent-s3: {line}\n")
