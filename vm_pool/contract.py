"""What every machine must do, as named checks that run against any of them.

A check takes a ready machine with an ordinary home directory and raises `ContractBroken` when the machine does not keep
the contract. Checks may run in any order on the same machine. The commands they run are in every Debian
(`cat`, `echo`, `false`, `pwd`, `printenv`, `seq`, `sleep`).
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from vm_pool.errors import GuestError, GuestFileNotFound, VMPoolError
from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Move, Press, Release, Scroll, Text
from vm_pool.machine import Machine
from vm_pool.types import FileChange, FileChanges

Check = Callable[[Machine], Awaitable[None]]
Failure = TypeVar("Failure", bound=VMPoolError)


class ContractBroken(AssertionError):
    """A machine does not do what `vm_pool.machine.Machine` promises."""


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise ContractBroken(promise)


async def _expect_error(failure: type[Failure], call: Awaitable[object], promise: str) -> Failure:
    try:
        await call
    except failure as error:
        _expect("\n" not in str(error) and bool(str(error)), f"{promise}: with one line that says why")
        return error
    raise ContractBroken(f"{promise}: nothing was raised")


def _path(machine: Machine, name: str) -> str:
    return f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}/{name}"


async def a_frame_has_the_size_of_the_screen(machine: Machine) -> None:
    frame = await machine.screenshot()
    expected = (machine.info.height, machine.info.width, 3)
    _expect(frame.pixels.shape == expected, f"a frame is {expected}, not {frame.pixels.shape}")
    _expect(bool(frame.pixels.any()), "a ready screen is not black")


async def the_pointer_goes_where_it_is_sent(machine: Machine) -> None:
    for point in ((17, 23), (machine.info.width - 1, machine.info.height - 1), (0, 0)):
        receipt = await machine.perform([Move(x=point[0], y=point[1])])
        _expect(receipt.pointer == point, f"the pointer is at {receipt.pointer}, not {point}")
        _expect((await machine.look(frozenset())).pointer == point, "a look says where the pointer is")


async def every_kind_of_event_is_executed(machine: Machine) -> None:
    x, y = machine.info.width // 2, machine.info.height // 2
    events: list[InputEvent] = [
        Move(x=x, y=y),
        Click(x=x, y=y, button="middle", count=2),
        Press(),
        Release(),
        Drag(x=x, y=y, to_x=x + 5, to_y=y + 5, milliseconds=30),
        Scroll(x=x, y=y, dx=-1, dy=2),
        KeyDown(key="shift"),
        KeyUp(key="shift"),
        Chord(keys=("ctrl", "a")),
        Text(text="aZ 9é한"),
        Chord(keys=("esc",)),
    ]
    receipt = await machine.perform(events)
    _expect(receipt.executed == len(events), f"{len(events)} events were sent, {receipt.executed} executed")
    _expect(not receipt.repeated, "a fresh batch is no repeat")


async def a_request_id_is_executed_once(machine: Machine) -> None:
    request_id = uuid.uuid4().hex
    first = await machine.perform([Move(x=5, y=6)], request_id=request_id)
    await machine.perform([Move(x=50, y=60)])
    again = await machine.perform([Move(x=5, y=6)], request_id=request_id)
    _expect(again.repeated and not first.repeated, "the second receipt says that it is a repeat")
    _expect((await machine.look(frozenset())).pointer == (50, 60), "a repeat moves nothing")


async def a_bad_batch_is_refused_whole(machine: Machine) -> None:
    await machine.perform([Move(x=40, y=41)])
    bad: list[InputEvent] = [
        Chord(keys=("ctrl", "no-such-key")),
        KeyDown(key="no-such-key"),
        Move(x=machine.info.width, y=0),
        Click(x=0, y=machine.info.height),
        Text(text="\x00"),
    ]
    for event in bad:
        batch = [Move(x=1, y=1), event]
        await _expect_error(GuestError, machine.perform(batch), f"{event.type} that cannot be done is refused")
    _expect((await machine.look(frozenset())).pointer == (40, 41), "nothing of a refused batch is sent")


async def a_command_gives_its_output_and_code(machine: Machine) -> None:
    said = await machine.run(["echo", "two words", "한글"])
    _expect((said.returncode, said.stdout, said.stderr) == (0, "two words 한글\n", ""), f"echo answered {said}")
    failed = await machine.run(["cat", "/no/such/file"])
    _expect(failed.returncode == 1 and "/no/such/file" in failed.stderr, f"cat answered {failed}")
    _expect((await machine.run(["false"])).returncode == 1, "a return code of 1 is an answer, not an error")
    await _expect_error(GuestError, machine.run(["no-such-command-here"]), "an unknown command is an error")


async def a_command_gets_stdin_directory_and_environment(machine: Machine) -> None:
    echoed = await machine.run(["cat"], stdin="naïve 😀\n".encode())
    _expect(echoed.stdout == "naïve 😀\n", f"cat repeated {echoed.stdout!r}")
    _expect((await machine.run(["pwd"])).stdout == machine.info.home + "\n", "commands run in the home directory")
    _expect((await machine.run(["pwd"], cwd="/tmp")).stdout == "/tmp\n", "commands run where they are told to")  # noqa: S108
    shown = await machine.run(["printenv", "CONTRACT"], env={"CONTRACT": "kept"})
    _expect(shown.stdout == "kept\n", "commands get the environment they are given")


async def a_command_that_takes_too_long_is_killed(machine: Machine) -> None:
    ended = await machine.run(["sleep", "60"], timeout_s=0.2)
    _expect(ended.timed_out and ended.returncode < 0, f"sleep 60 within 0.2 s answered {ended}")
    _expect(ended.seconds < 10, f"and took {ended.seconds} s")


async def long_output_keeps_its_ends(machine: Machine) -> None:
    counted = await machine.run(["seq", "1", "20000"], output_limit=1000)
    _expect(counted.truncated, "output beyond the limit is said to be cut")
    _expect(counted.stdout.startswith("1\n2\n") and counted.stdout.endswith("19999\n20000\n"), "both ends are kept")
    _expect(len(counted.stdout) < 1200, f"{len(counted.stdout)} characters are more than the limit")


async def files_are_written_and_read_whole(machine: Machine) -> None:
    path = _path(machine, "deep/er/data.bin")
    for data in (b"", bytes(range(256)) * 300, b"shorter"):
        await machine.write(path, data)
        _expect(await machine.read(path) == data, f"{len(data)} bytes come back as they were written")
    await _expect_error(GuestError, machine.read(path, max_bytes=3), "a file larger than the limit is refused")
    _expect(await machine.read(path, max_bytes=7) == b"shorter", "a file as large as the limit is not")


async def a_missing_file_is_named(machine: Machine) -> None:
    path = _path(machine, "missing")
    error = await _expect_error(GuestFileNotFound, machine.read(path), "a missing file is an error of its own")
    _expect(path in str(error), "and the message names it")


async def the_journal_tells_what_changed(machine: Machine) -> None:
    if "journal" not in machine.info.capabilities:
        return
    path = _path(machine, "note.txt")
    start = await _files(machine, None)
    await machine.write(path, b"one\n")
    created = await _files(machine, start.cursor)
    _expect_change(_change(created, path), "created", None, "one\n")
    await machine.write(path, b"two\n")
    await machine.write(path, b"three\n")
    modified = await _files(machine, created.cursor)
    _expect_change(_change(modified, path), "modified", "one\n", "three\n")
    whole = _change(await _files(machine, start.cursor), path)
    _expect_change(whole, "created", None, "three\n")
    _expect(not (await _files(machine, modified.cursor)).changes, "a quiet machine has no changes")
    looked = machine.look(frozenset({"files"}), files_since="no cursor")
    await _expect_error(GuestError, looked, "a cursor that was never given out is refused")


async def _files(machine: Machine, since: str | None) -> FileChanges:
    files = (await machine.look(frozenset({"files"}), files_since=since)).files
    if files is None:
        raise ContractBroken("a machine with a journal gives file changes")
    return files


def _change(changes: FileChanges, path: str) -> FileChange:
    for change in changes.changes:
        if change.path == path:
            return change
    raise ContractBroken(f"{path} is among {[change.path for change in changes.changes]}")


def _expect_change(change: FileChange, kind: str, before: str | None, after: str) -> None:
    found = (change.kind, change.text_before, change.text)
    _expect(found == (kind, before, after), f"the change is {(kind, before, after)}, not {found}")
    _expect(change.size == len(after.encode()) and change.sha256 is not None, "with size and hash")


async def a_look_gives_what_was_asked_for(machine: Machine) -> None:
    nothing = await machine.look(frozenset())
    _expect((nothing.frame, nothing.tree, nothing.windows, nothing.files) == (None,) * 4, "and nothing else")
    seen = await machine.look(frozenset({"frame", "tree", "windows"}))
    _expect(seen.frame is not None and seen.windows is not None, "a frame and windows")
    if "tree" in machine.info.capabilities:
        _expect(seen.tree is not None and (await machine.tree()).root.role == "desktop-frame", "a tree")
    _expect(await machine.windows() == seen.windows, "windows are the same either way")


async def a_quiet_screen_settles(machine: Machine) -> None:
    settled = await machine.settle(quiet_ms=50, timeout_ms=5000)
    _expect(bool(settled) and settled.seconds < 5, f"an idle desktop settles: {settled.reason}")


async def launched_programs_get_a_pid(machine: Machine) -> None:
    _expect(await machine.launch(["sleep", "5"]) > 0, "a launched program has a process id")


CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        a_frame_has_the_size_of_the_screen,
        the_pointer_goes_where_it_is_sent,
        every_kind_of_event_is_executed,
        a_request_id_is_executed_once,
        a_bad_batch_is_refused_whole,
        a_command_gives_its_output_and_code,
        a_command_gets_stdin_directory_and_environment,
        a_command_that_takes_too_long_is_killed,
        long_output_keeps_its_ends,
        files_are_written_and_read_whole,
        a_missing_file_is_named,
        the_journal_tells_what_changed,
        a_look_gives_what_was_asked_for,
        a_quiet_screen_settles,
        launched_programs_get_a_pid,
    )
}
