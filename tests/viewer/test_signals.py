"""Signals stop the work once, and cleanly."""

import asyncio
import os
import signal

import pytest

from viewer.faults import Stopped
from viewer.signals import run_until_signal


def test_work_that_ends_by_itself_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert run_until_signal(work()) == 7


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_cancels_and_the_second_leaves_the_cleanup_alone(which: signal.Signals) -> None:
    cleaned: list[str] = []
    heard: list[bool] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), which)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), which)
            await asyncio.sleep(0.05)
            cleaned.append("all")

    with pytest.raises(Stopped, match=which.name):
        run_until_signal(work(), heard.append)

    assert cleaned == ["all"]
    assert heard == [True, False]


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_until_signal(work())
