import os
import sys
import threading

import pytest

from bbon.patience import NICER, patiently


@pytest.mark.skipif(sys.platform != "linux", reason="threads have nice values of their own on Linux only")
async def test_patient_work_runs_after_the_work_of_others() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    theirs = await patiently(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert theirs == min(19, ours + NICER)
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


async def test_what_patient_work_returns_and_raises_comes_back() -> None:
    assert await patiently(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await patiently(int, "seven")
