import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbon import deliver
from bbon.deliver import UnsafePath
from bbon.types import Delivered
from vm_pool.errors import MachineLost
from vm_pool.providers.fake import FakeMachine
from vm_pool.types import FileChange, FileChangeKind

ROOT = Path(__file__).parents[2]
FINAL = "/home/user/Documents/final.txt"


def change(path: str, kind: FileChangeKind = "created") -> FileChange:
    return FileChange(path=path, kind=kind, size=None if kind == "deleted" else 3, sha256="x")


async def exported(folder: Path, files: dict[str, bytes], **limits: int) -> list[FileChange]:
    changes = [change(path) for path in files]
    await deliver.export(FakeMachine(files=files), changes, folder, **limits)
    return changes


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def content(delivered: Delivered) -> bytes:
    assert delivered.host_path is not None
    return Path(delivered.host_path).read_bytes()


async def test_the_winners_files_arrive_with_their_relative_paths(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc", "/etc/hosts": b"h"})
    given = deliver.deliver([*files, change("/home/user/gone", "deleted")], tmp_path / "files", tmp_path / "out")
    assert everything_below(tmp_path / "out") == {"Documents/final.txt": b"abc", "_outside_home/etc/hosts": b"h"}
    assert [(d.kind, d.host_path is None, d.bytes) for d in given] == [
        ("created", False, 3),
        ("created", False, 1),
        ("deleted", True, 0),
    ]


async def test_a_new_folder_is_a_result_too(tmp_path: Path) -> None:
    made = FileChange(path="/home/user/Documents/new/", kind="created", mode=0o755)
    await deliver.export(FakeMachine(), [made], tmp_path / "files")
    given = deliver.deliver([made], tmp_path / "files", tmp_path / "out")
    assert (tmp_path / "out" / "Documents" / "new").is_dir()
    assert (given[0].note, given[0].bytes) == ("", 0)


async def test_without_a_target_they_stay_in_the_run_folder(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc"})
    given = deliver.deliver(files, tmp_path / "files", None)
    assert content(given[0]) == b"abc"
    assert str(tmp_path / "files") in (given[0].host_path or "")


@pytest.mark.parametrize(
    "path", ["/home/user/../../etc/passwd", "relative", "", "/", "/a\0b", "/" + "x" * 300, "/a" * 1500, "/.."]
)
async def test_hostile_paths_are_never_written(tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        files = await exported(tmp_path / "run" / "files", {path: b"evil"})
    given = deliver.deliver(files, tmp_path / "run" / "files", tmp_path / "out")
    assert everything_below(tmp_path) == {}
    assert given[0].host_path is None
    assert given[0].note
    assert "was not exported" in caplog.text


@given(st.text(max_size=60))
def test_safe_parts_never_climb(path: str) -> None:
    try:
        parts = deliver.safe_parts("/" + path)
    except UnsafePath:
        return
    base = Path("/base")
    assert Path(*base.joinpath(*parts).parts).is_relative_to(base)
    assert ".." not in parts


async def test_another_file_of_the_user_is_kept_and_that_is_said(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc"})
    mine = tmp_path / "out" / "Documents" / "final.txt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    given = deliver.deliver(files, tmp_path / "files", tmp_path / "out")
    assert mine.read_bytes() == b"mine"
    assert "other content" in given[0].note
    assert content(given[0]) == b"abc"


async def test_what_is_not_where_it_was_asked_for_is_a_shortfall(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc"})
    (tmp_path / "file").touch()
    assert deliver.shortfall(deliver.deliver(files, tmp_path / "files", tmp_path / "out")) is None
    words = deliver.shortfall(deliver.deliver(files, tmp_path / "files", tmp_path / "file")) or ""
    assert words.startswith(f"not delivered: 1 of the winner's files; {FINAL}: ")


def test_a_file_that_does_not_fit_on_the_disk_leaves_no_part_of_it(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    write = "import sys; from bbon.deliver import write_new; from pathlib import Path\n"
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))\n"
    code = f"{write}{limit}write_new(Path(sys.argv[1]), bytes(99))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "OSError" in done.stderr
    assert everything_below(tmp_path) == {}


@pytest.mark.parametrize(("inside", "here"), [(0o755, 0o755), (0o600, 0o600), (0o4777, 0o755), (0o000, 0o600)])
async def test_a_script_stays_a_program_and_a_secret_private(tmp_path: Path, inside: int, here: int) -> None:
    await exported(tmp_path / "files", {FINAL: b"abc"})
    file = change(FINAL).model_copy(update={"mode": inside})
    deliver.deliver([file], tmp_path / "files", tmp_path / "out")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out" / "Documents" / "final.txt").stat().st_mode) == here & ~umask


async def test_delivering_twice_is_no_conflict(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc"})
    first = deliver.deliver(files, tmp_path / "files", tmp_path / "out")
    assert deliver.deliver(files, tmp_path / "files", tmp_path / "out") == first


async def test_links_in_the_target_folder_are_not_followed_out_of_it(tmp_path: Path) -> None:
    files = await exported(tmp_path / "files", {FINAL: b"abc", "/home/user/a.txt": b"abc"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Documents").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    given = deliver.deliver(files, tmp_path / "files", tmp_path / "out")
    assert everything_below(tmp_path / "elsewhere") == {}
    assert all(d.note for d in given)


async def test_noise_and_files_that_are_too_large_stay_behind(tmp_path: Path) -> None:
    files = {"/home/user/.cache/x": b"1", "/home/user/big": b"12345", "/home/user/ok": b"1"}
    await exported(tmp_path, files, max_file_bytes=4)
    assert everything_below(tmp_path) == {"home/user/ok": b"1"}


async def test_a_file_that_vanished_does_not_keep_the_others(tmp_path: Path) -> None:
    machine = FakeMachine(files={"/home/user/b": b"1"})
    await deliver.export(machine, [change("/home/user/a"), change("/home/user/b")], tmp_path)
    assert everything_below(tmp_path) == {"home/user/b": b"1"}


async def test_a_lost_machine_is_not_mistaken_for_a_missing_file(tmp_path: Path) -> None:
    machine = FakeMachine(files={"/home/user/b": b"1"})
    machine.lose()
    with pytest.raises(MachineLost):
        await deliver.export(machine, [change("/home/user/b")], tmp_path)


async def test_exporting_again_leaves_nothing_of_the_first_time(tmp_path: Path) -> None:
    await exported(tmp_path / "f", {"/home/user/a": b"1"})
    await exported(tmp_path / "f", {"/home/user/b": b"2"})
    assert everything_below(tmp_path / "f") == {"home/user/b": b"2"}
