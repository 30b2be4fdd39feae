"""A gate lets many through, and nobody while it is closed."""

import asyncio

import pytest

from vm_pool.gate import Gate


async def test_a_closed_gate_waits_for_those_inside_and_keeps_others_out():
    gate, seen = Gate(), []
    leave = asyncio.Event()

    async def visit(name: str, until: asyncio.Event | None = None) -> None:
        async with gate.through():
            seen.append(name)
            if until:
                await until.wait()

    first = asyncio.create_task(visit("first", leave))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(leave.set)
    async with gate.closed(5):
        assert first.done() or seen == ["first"]
        late = asyncio.create_task(visit("late"))
        await asyncio.sleep(0)
        assert seen == ["first"]
    await asyncio.gather(first, late)
    assert seen == ["first", "late"]


async def test_a_gate_opens_again_when_somebody_stayed_inside_too_long():
    gate = Gate()
    async with gate.through():
        with pytest.raises(TimeoutError):
            async with gate.closed(0.01):
                pass
        async with gate.through():
            pass
