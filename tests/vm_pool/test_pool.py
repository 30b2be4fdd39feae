"""The pool lends machines, keeps to its bounds, replaces the lost and gives everything back."""

import asyncio
from datetime import UTC, datetime

import pytest

from vm_pool.errors import BootTimeout, HostBusy, HostUnfit, MachineLost, PoolClosed
from vm_pool.pool import Pool, Source
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import Script

SPEC = Spec(image="fake", width=64, height=48)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def alive(provider: FakeProvider) -> int:
    return sum(not machine.lost for machine in provider.machines)


async def test_a_leased_machine_is_stopped_when_the_block_is_left():
    provider = FakeProvider()
    async with Pool(provider, concurrency=2, clock=lambda: NOON) as pool:
        async with pool.lease(SPEC, labels={"run": "r1"}) as machine:
            assert alive(provider) == 1
            (lease,) = pool.leases()
            assert (lease.machine_id, lease.labels, lease.since) == (machine.info.machine_id, {"run": "r1"}, NOON)
        assert alive(provider) == 0
        assert pool.leases() == []


async def test_a_machine_is_stopped_when_its_user_fails():
    provider = FakeProvider()
    async with Pool(provider, concurrency=1) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.lease(SPEC):
                raise ZeroDivisionError
        assert alive(provider) == 0


async def test_no_more_machines_are_lent_at_once_than_the_bound():
    provider = FakeProvider()
    most = 0

    async def use(pool: Pool) -> None:
        nonlocal most
        async with pool.lease(SPEC):
            most = max(most, alive(provider))
            await asyncio.sleep(0)

    async with Pool(provider, concurrency=3) as pool, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(use(pool))
    assert (most, len(provider.machines)) == (3, 10)


async def test_no_more_machines_start_at_once_than_the_bound():
    starting = most = 0

    class Watched(FakeProvider):
        async def boot(self, spec):
            nonlocal starting, most
            starting += 1
            most = max(most, starting)
            await asyncio.sleep(0.001)
            machine = await super().boot(spec)
            starting -= 1
            return machine

    async def use(pool: Pool) -> None:
        async with pool.lease(SPEC):
            await asyncio.sleep(0.01)

    async with Pool(Watched(), concurrency=8, starts=2) as pool, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(use(pool))
    assert most == 2


async def test_forks_are_leased_like_machines():
    provider = FakeProvider(files={"/home/user/a": b"1"})
    async with Pool(provider, concurrency=4) as pool:
        async with pool.lease(SPEC) as original:
            await original.write("/home/user/a", b"2")
            snapshot = await provider.snapshot(original)
        async with pool.lease(snapshot) as fork:
            assert await fork.read("/home/user/a") == b"2"


async def test_a_lost_machine_is_replaced_and_the_replacement_is_stopped():
    provider = FakeProvider()
    async with Pool(provider, concurrency=1) as pool:
        async with pool.lease(SPEC) as machine:
            provider.machines[0].lose()
            assert not await pool.healthy(machine)
            other = await pool.replace(machine)
            assert await pool.healthy(other)
            assert [lease.machine_id for lease in pool.leases()] == [other.info.machine_id]
            with pytest.raises(MachineLost, match="not lent by this pool"):
                await pool.replace(machine)
        assert alive(provider) == 0


async def test_a_start_that_times_out_is_tried_once_more():
    script = Script()
    script.faults["boot"].append(BootTimeout("slow"))
    provider = FakeProvider(script=script)
    async with Pool(provider, concurrency=1) as pool:
        async with pool.lease(SPEC) as machine:
            assert await pool.healthy(machine)
        script.faults["boot"].extend([BootTimeout("slow"), BootTimeout("slower")])
        with pytest.raises(BootTimeout, match="slower"):
            async with pool.lease(SPEC):
                pass
        async with pool.lease(SPEC):
            assert alive(provider) == 1


async def test_a_host_that_cannot_is_not_asked_twice():
    asked = 0

    class Bare(FakeProvider):
        async def boot(self, spec):
            nonlocal asked
            asked += 1
            raise HostUnfit("no bwrap")

    async with Pool(Bare(), concurrency=1) as pool:
        with pytest.raises(HostUnfit, match="no bwrap"):
            async with pool.lease(SPEC):
                pass
    assert asked == 1


async def test_warm_machines_are_lent_first_unless_they_have_died():
    provider = FakeProvider()
    async with Pool(provider, concurrency=2) as pool:
        await pool.warm(SPEC, 2)
        provider.machines[0].lose()
        async with pool.lease(SPEC) as machine:
            assert machine is provider.machines[1]
        async with pool.lease(Spec(image="fake", width=32, height=32)):
            assert len(provider.machines) == 3
        await pool.warm(SPEC, 1)
    assert alive(provider) == 0


async def test_a_provider_that_prepares_is_told_and_its_machines_are_not_held_by_the_pool():
    class Preparing(FakeProvider):
        prepared = 0

        async def prepare(self, snapshot, count):
            self.prepared += count

    provider = Preparing()
    async with Pool(provider, concurrency=2) as pool:
        async with pool.lease(SPEC) as machine:
            snapshot = await provider.snapshot(machine)
        await pool.warm(snapshot, 3)
        assert provider.prepared == 3
        assert alive(provider) == 0
        await pool.warm(SPEC, 1)
        assert (provider.prepared, alive(provider)) == (3, 1)


async def test_a_cancelled_lease_gives_its_place_back():
    provider = FakeProvider(script=Script(delay_s=0.05))
    async with Pool(provider, concurrency=1) as pool:
        waiting = asyncio.create_task(_hold(pool))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(1), pool.lease(SPEC):
            assert alive(provider) == 1


async def test_a_pool_that_is_not_open_lends_nothing():
    pool = Pool(FakeProvider(), concurrency=1)
    with pytest.raises(PoolClosed, match="async with"):
        async with pool.lease(SPEC):
            pass
    async with pool:
        pass
    with pytest.raises(PoolClosed):
        await pool.warm(SPEC, 1)


def test_a_pool_lends_at_least_one_machine():
    with pytest.raises(ValueError, match="at least one"):
        Pool(FakeProvider(), concurrency=0)


async def _hold(pool: Pool) -> None:
    async with pool.lease(SPEC):
        await asyncio.sleep(10)


async def spares_of(pool: Pool, source: Source, count: int) -> None:
    """Wait until so many wait."""
    async with asyncio.timeout(30):
        while pool.spares(source) != count:  # noqa: ASYNC110 - filled in the background
            await asyncio.sleep(0.002)


async def test_spares_of_what_was_lent_are_filled_in_the_background_and_dropped_on_close():
    provider = FakeProvider()
    async with Pool(provider, concurrency=1, spares=2) as pool:
        assert pool.spares(SPEC) == 0
        async with pool.lease(SPEC, labels={"run": "r1", "rollout": "0"}):
            await spares_of(pool, SPEC, 2)
        assert alive(provider) == 2
        assert [stray.labels for stray in await provider.strays()] == [{"run": "r1"}] * 2
        async with pool.lease(SPEC) as machine:
            assert machine is provider.machines[1]
            await spares_of(pool, SPEC, 2)
        assert len(provider.machines) == 4
    assert alive(provider) == 0


async def test_each_snapshot_has_spares_of_its_own():
    provider = FakeProvider(files={"/home/user/a": b"1"})
    async with Pool(provider, concurrency=2, spares=1) as pool:
        async with pool.lease(SPEC) as original:
            first = await provider.snapshot(original)
            await original.write("/home/user/a", b"2")
            second = await provider.snapshot(original)
        for snapshot, content in ((first, b"1"), (second, b"2")):
            async with pool.lease(snapshot):
                await spares_of(pool, snapshot, 1)
            async with pool.lease(snapshot) as fork:
                assert await fork.read("/home/user/a") == content


async def test_spares_that_cannot_be_had_do_not_disturb_leases():
    class Small(FakeProvider):
        async def boot(self, spec):
            if alive(self):
                raise HostBusy("no room for another")
            return await super().boot(spec)

    async with Pool(Small(), concurrency=1, spares=1) as pool:
        for _ in range(3):
            async with pool.lease(SPEC) as machine:
                await asyncio.sleep(0.01)
                assert await pool.healthy(machine)


async def test_a_provider_that_prepares_forks_itself_is_asked_for_so_many():
    class Preparing(FakeProvider):
        def __init__(self):
            super().__init__()
            self.prepared: list[int] = []

        async def prepare(self, snapshot, count):
            self.prepared.append(count)

    provider = Preparing()
    async with Pool(provider, concurrency=2, spares=2) as pool:
        async with pool.lease(SPEC) as original:
            snapshot = await provider.snapshot(original)
        async with pool.lease(snapshot):
            await spares_of(pool, snapshot, 2)
        assert provider.prepared == [1, 1]
        async with pool.lease(snapshot):
            await spares_of(pool, snapshot, 2)
        assert provider.prepared == [1, 1, 1]


@pytest.mark.parametrize("wrong", [{"spares": -1}, {"lease_s": 0}])
def test_a_pool_keeps_no_fewer_spares_than_none_and_leases_that_last(wrong):
    with pytest.raises(ValueError, match="neither may be negative"):
        Pool(FakeProvider(), concurrency=1, **wrong)
