"""Commands in the guest are limited in time and output, and leave nothing behind."""

import ctypes
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.guest.errors import Refused
from vm_pool.guest.processes import Kept, Processes

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(dict(os.environ), str(tmp_path))


def run(processes: Processes, *argv: str, timeout_s: float = 10.0, output_limit: int = 10_000, stdin: bytes = b""):
    return processes.run(argv, timeout_s=timeout_s, output_limit=output_limit, stdin=stdin)


def test_output_code_and_both_streams_come_back(processes):
    done = run(processes, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done["returncode"], done["stdout"], done["stderr"]) == (3, "out\n", "err\n")
    assert not done["timed_out"]


def test_large_input_and_output_do_not_block_each_other(processes):
    data = b"x" * 3_000_000
    done = run(processes, "cat", stdin=data, output_limit=4_000_000)
    assert len(done["stdout"]) == len(data)


def test_a_command_that_does_not_read_its_input_ends_all_the_same(processes):
    assert run(processes, "true", stdin=b"x" * 1_000_000)["returncode"] == 0


def test_the_whole_process_group_is_killed_at_the_timeout(processes, tmp_path):
    mark = tmp_path / "pid"
    done = run(processes, "sh", "-c", f"sleep 60 & echo $! > {mark}; wait", timeout_s=0.3)
    assert done["timed_out"]
    assert done["returncode"] == -9
    deadline = time.monotonic() + 5
    while is_alive(int(mark.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(int(mark.read_text()))


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_background_child_that_holds_the_pipes_does_not_hold_the_answer(processes):
    started = time.monotonic()
    done = run(processes, "sh", "-c", "sleep 5 & echo started")
    assert done["stdout"] == "started\n"
    assert time.monotonic() - started < 3


def test_an_unknown_program_is_a_refusal_that_names_it(processes):
    with pytest.raises(Refused, match="no-such-program"):
        run(processes, "no-such-program")


def test_launched_programs_are_remembered_and_reaped(processes):
    pid = processes.launch(["true"])
    assert processes.launched == [["true"]]
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        processes.reap()
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_reaping_does_not_take_the_return_code_of_a_running_command(processes):
    import threading

    stop = threading.Event()

    def reap_all_the_time() -> None:
        while not stop.is_set():
            processes.reap()

    reaper = threading.Thread(target=reap_all_the_time)
    reaper.start()
    try:
        codes = [run(processes, sys.executable, "-c", "raise SystemExit(5)")["returncode"] for _ in range(5)]
    finally:
        stop.set()
        reaper.join()
    assert codes == [5] * 5


def test_orphans_are_collected_however_many_they_are(processes):
    others = _children()
    kernel = ctypes.CDLL(None, use_errno=True)
    assert kernel.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    try:
        run(processes, "sh", "-c", "for i in 1 2 3; do (sleep 0.05 &) ; done")
        deadline = time.monotonic() + 5
        while _children() - others and time.monotonic() < deadline:
            processes.reap()
            time.sleep(0.01)
        assert not _children() - others
    finally:
        kernel.prctl(PR_SET_CHILD_SUBREAPER, 0)


def _children() -> set[str]:
    """Of this process, those that have ended included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@given(st.binary(max_size=300), st.integers(0, 100), st.integers(1, 50))
def test_kept_output_is_the_beginning_and_the_end(data, limit, chunk):
    kept = Kept(limit)
    for start in range(0, len(data), chunk):
        kept.add(data[start : start + chunk])
    head, tail = limit - limit // 2, limit // 2
    assert kept.dropped == max(0, len(data) - limit)
    if kept.dropped:
        assert kept.text().startswith(data[:head].decode(errors="replace"))
        assert kept.text().endswith(data[len(data) - tail :].decode(errors="replace"))
