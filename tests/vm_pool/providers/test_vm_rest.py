"""A machine is saved when it has nothing to do, or when it never has."""

import itertools
import os
from collections.abc import Callable

from vm_pool.providers.vm_rest import idle, processor_seconds


def counter(*steps_s: float) -> Callable[[], float]:
    """Processor seconds as they are read one after the other; the last step goes on for ever."""
    total = itertools.accumulate(itertools.chain([0.0], steps_s, itertools.repeat(steps_s[-1])))
    return lambda: next(total)


async def test_it_is_waited_for_until_the_processor_rests():
    asked: list[float] = []
    used = counter(0.05, 0.05, 0.001)
    assert await idle(lambda: asked.append(used()) or asked[-1], longest_s=5)
    assert len(asked) == 4


async def test_one_that_never_rests_is_not_waited_for_longer_than_allowed():
    assert not await idle(counter(10.0), longest_s=0.2)


def test_all_threads_of_a_process_are_counted():
    before = processor_seconds(os.getpid())
    sum(range(3_000_000))
    assert processor_seconds(os.getpid()) > before > 0


def test_a_process_that_has_ended_uses_nothing():
    assert processor_seconds(2**22 + 1) == 0
