"""Promises about reading and writing files, and about the journal that tells what changed."""

import asyncio
import hashlib
import uuid
from functools import partial

from vm_pool.contract.check import Check, ContractBroken, NotApplicable, check, expect, expect_error
from vm_pool.errors import GuestError, GuestFileNotFound
from vm_pool.machine import Machine
from vm_pool.types import FileChange, FileChanges

_SIZES = {"0 bytes": 0, "1 byte": 1, "64 KiB": 65536, "1 MiB": 1 << 20, "16 MiB": 1 << 24, "200 MB": 200_000_000}


def _path(machine: Machine, name: str) -> str:
    return f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}/{name}"


async def _comes_back_whole(size: int, machine: Machine) -> None:
    path = _path(machine, "data.bin")
    block = hashlib.sha256(b"contract").digest() * 2048
    data = (block * (size // len(block) + 1))[:size]
    await machine.write(path, data)
    found = await machine.read(path)
    same = found == data
    await machine.write(path, b"")  # what is large is not left lying about
    expect(same, f"{size} bytes were written, {len(found)} came back or others")


BY_SIZE: tuple[Check[Machine], ...] = tuple(
    Check(f"a_file_of_{name.replace(' ', '_')}_comes_back_whole", "files", partial(_comes_back_whole, size), 120.0)
    for name, size in _SIZES.items()
)


@check("files")
async def a_file_is_replaced_whole(machine: Machine) -> None:
    path = _path(machine, "deep/er/data.bin")
    for data in (b"", bytes(range(256)) * 300, b"shorter"):
        await machine.write(path, data)
        expect(await machine.read(path) == data, f"{len(data)} bytes come back as they were written")


@check("files")
async def a_reader_never_sees_half_a_file(machine: Machine) -> None:
    if "v1" not in machine.info.capabilities:
        raise NotApplicable("v1", "OSWorld's upload does not promise to replace files in one step")
    path = _path(machine, "whole.bin")
    contents = {letter: letter * 300_000 for letter in (b"a", b"b")}
    await machine.write(path, contents[b"a"])

    async def write() -> None:
        for _ in range(10):
            for data in contents.values():
                await machine.write(path, data)

    writing = asyncio.create_task(write())
    try:
        for _ in range(20):
            expect(await machine.read(path) in contents.values(), "a file that is being replaced is the old or the new")
    finally:
        await writing


@check("files")
async def files_are_limited_in_size_when_asked(machine: Machine) -> None:
    path = _path(machine, "seven")
    await machine.write(path, b"shorter")
    await expect_error(GuestError, machine.read(path, max_bytes=3), "a file larger than the limit is refused")
    expect(await machine.read(path, max_bytes=7) == b"shorter", "a file as large as the limit is not")


@check("files")
async def names_may_hold_spaces_quotes_and_any_script(machine: Machine) -> None:
    for name in ("with space.txt", "한글 日本.txt", "quote'\"$(id).txt", "-dash", "percent%20&?#.txt", "..dots.."):
        path = _path(machine, name)
        await machine.write(path, name.encode())
        expect(await machine.read(path) == name.encode(), f"{name!r} comes back")


@check("files")
async def commands_see_the_files_that_were_written(machine: Machine) -> None:
    path = _path(machine, "seen.txt")
    await machine.write(path, "naïve\n".encode())
    expect((await machine.run(["cat", path])).stdout == "naïve\n", "a command reads what was written")


@check("files")
async def a_file_gets_the_mode_it_is_given(machine: Machine) -> None:
    path = _path(machine, "run.sh")
    await machine.write(path, b"#!/bin/sh\necho ran\n", mode=0o755)
    try:
        done = await machine.run([path])
    except GuestError as error:
        if "does not know it" in str(error):
            raise NotApplicable("programs", "the machine runs no programs from files") from error
        raise
    expect(done.stdout == "ran\n", f"an executable file runs: {done}")


@check("files")
async def many_files_are_written_at_once(machine: Machine) -> None:
    paths = [_path(machine, f"{number}.txt") for number in range(20)]
    await asyncio.gather(*(machine.write(path, path.encode()) for path in paths))
    found = await asyncio.gather(*map(machine.read, paths))
    expect([data.decode() for data in found] == paths, "each file has its own content")


@check("files")
async def the_home_directory_has_a_short_name(machine: Machine) -> None:
    name = f"contract-{uuid.uuid4().hex[:8]}.txt"
    await machine.write(f"~/{name}", b"home")
    expect(await machine.read(f"{machine.info.home}/{name}") == b"home", "~ is the home directory")


@check("misuse")
async def a_missing_file_is_named(machine: Machine) -> None:
    path = _path(machine, "missing")
    error = await expect_error(GuestFileNotFound, machine.read(path), "a missing file is an error of its own")
    expect(path in str(error), "and the message names it")


@check("misuse")
async def a_directory_is_no_file(machine: Machine) -> None:
    path = _path(machine, "inside")
    await machine.write(path, b"x")
    folder = path.rpartition("/")[0]
    await expect_error(GuestError, machine.read(folder), "reading a directory is refused")
    await expect_error(GuestError, machine.write(folder, b"x"), "and so is writing to it")
    expect(await machine.read(path) == b"x", "what is in it stays")


@check("misuse")
async def a_path_without_a_name_is_refused(machine: Machine) -> None:
    for path in ("", f"{machine.info.home}/nul\0l"):
        await expect_error(GuestError, machine.read(path), f"reading {path!r} is refused")
        await expect_error(GuestError, machine.write(path, b"x"), f"writing {path!r} is refused")


@check("journal")
async def the_journal_tells_what_changed(machine: Machine) -> None:
    start = await _files(machine, None)
    path = _path(machine, "note.txt")
    await machine.write(path, b"one\n")
    created = await _files(machine, start.cursor)
    _expect_change(_change(created, path), "created", None, "one\n")
    await machine.write(path, b"two\n")
    await machine.write(path, b"three\n")
    modified = await _files(machine, created.cursor)
    _expect_change(_change(modified, path), "modified", "one\n", "three\n")
    _expect_change(_change(await _files(machine, start.cursor), path), "created", None, "three\n")


@check("journal")
async def a_quiet_machine_has_no_changes(machine: Machine) -> None:
    start = await _files(machine, None)
    path = _path(machine, "note.txt")
    await machine.write(path, b"one\n")
    seen = await _files(machine, start.cursor)
    again = await _files(machine, seen.cursor)
    expect(path not in [change.path for change in again.changes], "a change is told once")


@check("journal")
async def a_cursor_that_was_never_given_out_is_refused(machine: Machine) -> None:
    await _files(machine, None)
    looked = machine.look(frozenset({"files"}), files_since="no cursor")
    await expect_error(GuestError, looked, "a cursor that was never given out is refused")


async def _files(machine: Machine, since: str | None) -> FileChanges:
    if "journal" not in machine.info.capabilities:
        raise NotApplicable("journal", "the machine keeps no journal of its files")
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
    expect(found == (kind, before, after), f"the change is {(kind, before, after)}, not {found}")
    expect(change.size == len(after.encode()) and change.sha256 is not None, "with size and hash")
