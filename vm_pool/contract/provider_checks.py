"""Promises of a provider: starting, snapshots, forks, stopping, and what is left behind."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vm_pool.contract.check import Check, NotApplicable, check, checks_in, expect, expect_error
from vm_pool.errors import GuestError, MachineLost, VMPoolError
from vm_pool.machine import Machine
from vm_pool.provider import Provider, Snapshot, Spec, capabilities_of
from vm_pool.shield import shielded

_STARTS_AT_ONCE = 3


@dataclass(frozen=True)
class Source:
    """What is certified: an open provider, and what to start there."""

    provider: Provider
    spec: Spec

    def need(self, capability: str, reason: str) -> None:
        """Raises: `NotApplicable`."""
        if capability not in capabilities_of(self.provider):
            raise NotApplicable(capability, reason)

    @asynccontextmanager
    async def machine(self) -> AsyncGenerator[Machine]:
        machine = await self.provider.boot(self.spec)
        try:
            yield machine
        finally:
            await shielded(self.provider.stop(machine))

    @asynccontextmanager
    async def snapshot(self, machine: Machine) -> AsyncGenerator[Snapshot]:
        self.need("snapshot", f"the provider {self.provider.name!r} takes no snapshots")
        snapshot = await self.provider.snapshot(machine)
        try:
            yield snapshot
        finally:
            await shielded(self.provider.drop(snapshot))

    @asynccontextmanager
    async def fork(self, snapshot: Snapshot) -> AsyncGenerator[Machine]:
        self.need("fork", f"the provider {self.provider.name!r} makes no forks")
        machine = await self.provider.fork(snapshot)
        try:
            yield machine
        finally:
            await shielded(self.provider.stop(machine))


@check("boot")
async def a_booted_machine_takes_input_and_shows_its_screen(source: Source) -> None:
    async with source.machine() as machine:
        frame = await machine.screenshot()
        expect(bool(frame.pixels.any()), "its screen is not black")
        expect((await machine.perform([])).executed == 0, "it takes input")
        expect(machine.info.provider == source.provider.name, "it says whose it is")


@check("boot")
async def a_machine_has_the_screen_that_was_asked_for(source: Source) -> None:
    source.need("size", "the screens of these machines are as large as they are")
    wanted = source.spec.model_copy(update={"width": 800, "height": 600})
    machine = await source.provider.boot(wanted)
    try:
        expect((machine.info.width, machine.info.height) == (800, 600), f"a screen of 800x600, not {machine.info}")
        expect((await machine.screenshot()).pixels.shape == (600, 800, 3), "and frames of that size")
    finally:
        await source.provider.stop(machine)


@check("boot")
async def machines_that_start_at_once_are_different_ones(source: Source) -> None:
    path = f"/tmp/contract-{uuid.uuid4().hex[:8]}"  # noqa: S108 - in the machine
    starts = [source.provider.boot(source.spec) for _ in range(_STARTS_AT_ONCE)]
    started = await asyncio.gather(*starts, return_exceptions=True)
    machines = [machine for machine in started if not isinstance(machine, BaseException)]
    try:
        if len(machines) < len(started):
            lost = next(error for error in started if isinstance(error, BaseException))
            raise NotApplicable("slots", f"{len(machines)} of {len(started)} could be started at once: {lost}")
        expect(len({machine.info.machine_id for machine in machines}) == len(machines), "each has an id of its own")
        await machines[0].write(path, b"mine")
        await expect_error(GuestError, machines[1].read(path), "what one writes the other does not have")
    finally:
        await asyncio.gather(*map(source.provider.stop, machines))


@check("boot")
async def a_new_machine_holds_nothing_of_an_earlier_one(source: Source) -> None:
    source.need("fresh", "machines are lent again as they were left; give a reset hook to change that")
    path = f"/tmp/contract-{uuid.uuid4().hex[:8]}"  # noqa: S108 - in the machine
    async with source.machine() as first:
        await first.write(path, b"left behind")
    async with source.machine() as second:
        await expect_error(GuestError, second.read(path), "a file of the machine before is gone")


@check("boot")
async def an_image_that_does_not_exist_is_refused_in_one_line(source: Source) -> None:
    source.need("image", "this provider does not choose images")
    wanted = source.spec.model_copy(update={"image": "no-such-image"})
    error = await expect_error(VMPoolError, source.provider.boot(wanted), "an unknown image is refused")
    expect("no-such-image" in str(error), "and the message names it")


@check("boot")
async def a_start_that_is_cancelled_leaves_nothing(source: Source) -> None:
    before = {stray.id for stray in await source.provider.strays()}
    starting = asyncio.ensure_future(source.provider.boot(source.spec))
    await asyncio.wait([starting], timeout=0.05)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await source.provider.stop(await starting)  # it may have been quicker
    after = {stray.id for stray in await source.provider.strays()}
    expect(after <= before, f"{sorted(after - before)} stayed")


@check("snapshot")
async def a_machine_goes_on_after_its_snapshot(source: Source) -> None:
    async with source.machine() as machine, source.snapshot(machine) as snapshot:
        expect(snapshot.provider == source.provider.name, "a snapshot says whose it is")
        path = f"{machine.info.home}/after"
        await machine.write(path, b"goes on")
        expect(await machine.read(path) == b"goes on", "it takes files after a snapshot")


@check("snapshot")
async def a_snapshot_can_be_dropped_twice(source: Source) -> None:
    async with source.machine() as machine, source.snapshot(machine) as snapshot:
        await source.provider.drop(snapshot)
        await source.provider.drop(snapshot)


@check("snapshot")
async def a_snapshot_that_was_dropped_cannot_be_forked(source: Source) -> None:
    async with source.machine() as machine, source.snapshot(machine) as snapshot:
        source.need("fork", "there are no forks")
        await source.provider.drop(snapshot)
        await expect_error(VMPoolError, source.provider.fork(snapshot), "a dropped snapshot is refused")


@check("snapshot")
async def a_machine_that_is_stopped_gives_no_snapshot(source: Source) -> None:
    source.need("snapshot", "there are no snapshots")
    async with source.machine() as machine:
        await source.provider.stop(machine)
        await expect_error(VMPoolError, source.provider.snapshot(machine), "a stopped machine has no state to save")


@check("fork")
async def a_fork_holds_what_was_saved_and_not_what_came_later(source: Source) -> None:
    async with source.machine() as machine:
        path = f"{machine.info.home}/state"
        await machine.write(path, b"saved")
        async with source.snapshot(machine) as snapshot:
            await machine.write(path, b"later")
            async with source.fork(snapshot) as fork:
                expect(await fork.read(path) == b"saved", "a fork has the state of the snapshot")
            expect(await machine.read(path) == b"later", "the original goes its own way")


@check("fork")
async def a_snapshot_is_not_changed_by_its_forks(source: Source) -> None:
    async with source.machine() as machine:
        path = f"{machine.info.home}/state"
        await machine.write(path, b"saved")
        async with source.snapshot(machine) as snapshot:
            async with source.fork(snapshot) as first:
                await first.write(path, b"changed")
            async with source.fork(snapshot) as second:
                expect(await second.read(path) == b"saved", "a second fork has the saved state")


@check("fork")
async def forks_live_on_when_snapshot_and_original_are_gone(source: Source) -> None:
    machine = await source.provider.boot(source.spec)
    try:
        path = f"{machine.info.home}/state"
        await machine.write(path, b"saved")
        async with source.snapshot(machine) as snapshot, source.fork(snapshot) as fork:
            await source.provider.stop(machine)
            await source.provider.drop(snapshot)
            expect(await fork.read(path) == b"saved", "a fork needs neither snapshot nor original")
    finally:
        await source.provider.stop(machine)


@check("fork")
async def a_fork_can_be_forked(source: Source) -> None:
    async with source.machine() as machine:
        path = f"{machine.info.home}/state"
        async with source.snapshot(machine) as first, source.fork(first) as fork:
            await fork.write(path, b"of the fork")
            async with source.snapshot(fork) as second, source.fork(second) as grandchild:
                expect(await grandchild.read(path) == b"of the fork", "a fork of a fork has the fork's state")


@check("stop")
async def a_stopped_machine_is_lost(source: Source) -> None:
    machine = await source.provider.boot(source.spec)
    await source.provider.stop(machine)
    await expect_error(MachineLost, machine.look(frozenset()), "a stopped machine answers nothing any more")


@check("stop")
async def a_machine_can_be_stopped_twice_and_from_two_places(source: Source) -> None:
    machine = await source.provider.boot(source.spec)
    await asyncio.gather(source.provider.stop(machine), source.provider.stop(machine))
    await source.provider.stop(machine)


@check("stop")
async def a_machine_that_was_kept_is_revived_with_its_files(source: Source) -> None:
    source.need("keep_disk", "nothing of a stopped machine is kept")
    machine = await source.provider.boot(source.spec)
    try:
        path = f"{machine.info.home}/kept"
        await machine.write(path, b"kept")
    finally:
        await source.provider.stop(machine, keep_disk=True)
    revived = await source.provider.revive(machine.info.machine_id)
    try:
        expect(await revived.read(path) == b"kept", "its files are there")
        expect(revived.info.machine_id == machine.info.machine_id, "under the same id")
    finally:
        await source.provider.stop(revived)


@check("stop")
async def a_machine_that_never_was_cannot_be_revived(source: Source) -> None:
    revived = source.provider.revive("m-never-was")
    await expect_error(MachineLost, revived, "an unknown machine is lost")


@check("strays")
async def a_running_machine_is_listed_with_its_owner(source: Source) -> None:
    async with source.machine() as machine:
        listed = {stray.id: stray for stray in await source.provider.strays()}
        stray = listed.get(machine.info.machine_id)
        expect(stray is not None and stray.owner_alive, f"{machine.info.machine_id} is among {sorted(listed)}")
    listed = {stray.id: stray for stray in await source.provider.strays()}
    expect(machine.info.machine_id not in listed, "and is not listed after it was stopped")


@check("strays")
async def strays_carry_the_labels_of_their_run(source: Source) -> None:
    source.need("labels", "this provider keeps no labels")
    labels = {**source.spec.labels, "contract": uuid.uuid4().hex[:8]}
    machine = await source.provider.boot(source.spec.model_copy(update={"labels": labels}))
    try:
        strays = [stray for stray in await source.provider.strays() if stray.id == machine.info.machine_id]
        expect(bool(strays) and dict(strays[0].labels) == labels, f"its labels are {labels}")
    finally:
        await source.provider.stop(machine)


@check("strays")
async def a_stray_can_be_removed_twice(source: Source) -> None:
    machine = await source.provider.boot(source.spec)
    try:
        strays = [stray for stray in await source.provider.strays() if stray.id == machine.info.machine_id]
        expect(len(strays) == 1, "it is listed once")
        await source.provider.remove(strays[0])
        await source.provider.remove(strays[0])
        await expect_error(MachineLost, machine.look(frozenset()), "a removed machine is lost")
    finally:
        await source.provider.stop(machine)


PROVIDER_CHECKS: tuple[Check[Source], ...] = checks_in(globals())
"""All of this module, in their order."""
