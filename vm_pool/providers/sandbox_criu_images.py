"""Saving and restoring the programs of a sandbox with CRIU: its command lines, its hook, and what it complains of."""

import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vm_pool.criu import Criu
from vm_pool.errors import MachineError
from vm_pool.providers.sandbox_criu_launch import ROOT_UID, Stage

_SAVE_S, _HOOK_S = 60.0, 60.0
_GHOST_LIMIT = "256M"
"""Of deleted files that programs still hold open, each."""
_WATCHED = ("/usr/share/dbus-1", "/etc", "/home", "/usr/share/applications", "/usr/share", "/var", "/tmp", "/usr/lib")  # noqa: S108
"""Where the files and folders are that programs watch for changes, the usual ones first; CRIU looks for their names
there, since overlayfs in a user namespace gives no handles that could be opened."""
_COMPLAINT = re.compile(r"^(?:\(\d+\.\d+\))? *(?:(?P<pid>\d+):)? *Error \([^)]*\): (?:[a-z-]+: )?\s*(?P<words>.*)$")
_DUMPING = re.compile(r"\(pid: (?P<pid>\d+)\)")
_HARMLESS = ("Can't setup RLIMIT_NOFILE",)
"""What CRIU goes on from."""
_CALLING = "it was in the middle of a call to another program"
_SEALING = "it shares memory whose seals CRIU could not restore"
_PASSING = {_CALLING, _SEALING}
"""Seen to be otherwise a moment later."""
_KNOWN = {
    "Non-empty write queue on an in-flight socket": _CALLING,
    "Cannot apply seals on memfd": _SEALING,
    "Unix socket": "another client is connected to the machine",
    "Can't dump that handle": "it watches a file that CRIU cannot find any more",
    "Can't setns": "it started a daemon in a session whose leader serves a socket, which CRIU cannot restore",
}
"""What CRIU says, by how it begins, in words that say what to do about it."""
RESTORE_LOG, STAGE_NAME = "restore.log", "stage"
_WORDS_LIMIT = 160

_HOOK = """#!/bin/sh
# CRIU runs this at each stage; at the one that is waited for, it goes on when told to. The last one is told as well.
case "$CRTOOLS_SCRIPT_ACTION" in
"$AGENT_S3_STAGE")
    echo "$CRTOOLS_INIT_PID" > "$AGENT_S3_HOOK/tell" || exit 1
    read -r answer < "$AGENT_S3_HOOK/go" && [ "$answer" = go ]
    ;;
post-resume) echo 0 > "$AGENT_S3_HOOK/tell" ;;
esac
"""


class StateNotSaved(MachineError):
    """Running programs cannot be saved or restored; the message says why."""

    def __init__(self, reason: str, program: int | None = None, *, passing: bool = False):
        super().__init__(reason)
        self.program = program
        """Number inside its machine of the process that it is about; None when that is not known."""
        self.passing = passing
        """Whether it may be otherwise a moment later."""

    def of_program(self, names: Mapping[int, str]) -> str:
        """The reason, with the program's name by its number."""
        name = None if self.program is None else names.get(self.program)
        return f"{name}: {self}" if name else str(self)


@dataclass(frozen=True)
class Hook:
    """A stage of CRIU's work at which it waits for us."""

    folder: Path
    stage: str
    tell: int
    go: int

    @property
    def options(self) -> list[str]:
        return ["--action-script", str(self.folder / "hook")]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AGENT_S3_HOOK": str(self.folder),
            "AGENT_S3_STAGE": self.stage,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }

    def reached(self, process: "subprocess.Popen[bytes]") -> int | None:
        """The first restored process's id, 0 while saving, when CRIU has come to the stage; None when it ended.

        Blocks. Raises: `StateNotSaved` when neither comes in time.
        """
        pidfd = os.pidfd_open(process.pid)
        try:
            ready = select.select([self.tell, pidfd], [], [], _HOOK_S)[0]
        finally:
            os.close(pidfd)
        if not ready:
            raise StateNotSaved(f"CRIU did not come to its stage {self.stage} within {_HOOK_S:g} s")
        return int(os.read(self.tell, 32).strip() or b"0") if self.tell in ready else None

    def go_on(self, *, well: bool) -> None:
        """`well` False: CRIU gives up, and what it was saving runs on."""
        os.write(self.go, b"go\n" if well else b"stop\n")


@contextmanager
def hook(stage: str) -> Generator[Hook]:
    """Its files and an empty folder `STAGE_NAME`, in one that others can only pass through."""
    with tempfile.TemporaryDirectory(prefix="agent-s3-criu-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / STAGE_NAME).mkdir(mode=0o711)
        (folder / "hook").write_text(_HOOK, encoding="ascii")
        (folder / "hook").chmod(0o700)
        ends: list[int] = []
        try:
            for pipe in ("tell", "go"):
                os.mkfifo(folder / pipe, 0o600)
                # Open at both ends, so that neither side waits for the other to open it.
                ends.append(os.open(folder / pipe, os.O_RDWR | os.O_CLOEXEC))
            yield Hook(folder, stage, *ends)
        finally:
            for fd in ends:
                os.close(fd)


def save(criu: Criu, pid: int, images: Path, mounts: Mapping[str, Path], while_still: Callable[[], None]) -> None:
    """Write a machine's programs into a new folder; they go on afterwards, whatever happens. Blocks.

    `pid` is its first process as this host numbers it, `mounts` what is the host's, `while_still` is called while
    nothing in it runs. Raises: `StateNotSaved` with the reason; what `while_still` raises.
    """
    images.mkdir(mode=0o700)
    # While it restores, CRIU reads them as root of the machine's user namespace.
    os.chown(images, 0, ROOT_UID)
    images.chmod(0o710)
    command = [
        *(*criu.argv, "dump", "--tree", str(pid), "--leave-running"),
        *_places(images, images, "save.log"),
        *("--ghost-limit", _GHOST_LIMIT, "--force-irmap"),
        *(word for place in _WATCHED for word in ("--irmap-scan-path", place)),
        *(word for place in mounts for word in ("--external", f"mnt[{place}]:{place}")),
    ]
    with hook("post-dump") as waiting:
        process = _popen([*command, *waiting.options], waiting, images / "save.out")
        try:
            if waiting.reached(process) is not None:
                _while_it_waits(waiting, while_still)
            returncode = process.wait(_SAVE_S)
        except (subprocess.TimeoutExpired, StateNotSaved):
            process.kill()
            process.wait()
            raise StateNotSaved(f"CRIU took longer than {_SAVE_S:g} s") from None
    if returncode != 0:
        error = failure(images / "save.log")
        raise StateNotSaved(error.of_program(_name_of(error.program)), passing=error.passing)


def restore_command(criu: Criu, images: Path, work: Path, stage: Stage, waiting: Hook) -> list[str]:
    """Restores programs below it and ends when they do."""
    return [
        *(*criu.argv, "restore", "--root", str(stage.root), *_places(images, work, RESTORE_LOG)),
        *(word for place, source in stage.mounts.items() for word in ("--external", f"mnt[{place}]:{source}")),
        *waiting.options,
    ]


def failure(log: Path) -> "StateNotSaved":
    """What CRIU's log says, as an error."""
    reason = complaint(log) or "CRIU ended without a reason"
    return StateNotSaved(reason, program_in_log(log), passing=reason in _PASSING)


def complaint(log: Path) -> str | None:
    """The first thing in CRIU's log that went wrong, in one line; None when nothing did."""
    found = _complaints(log)
    if not found:
        return None
    words = found[0]["words"]
    return next((known for begin, known in _KNOWN.items() if words.startswith(begin)), _printable(words))


def program_in_log(log: Path) -> int | None:
    """The process that CRIU's complaint is about: by the host's number when saving, by the machine's when restoring."""
    for one in _complaints(log):
        if found := _DUMPING.search(one["words"]):
            return int(found["pid"])
        if one["pid"]:
            return int(one["pid"])
    return None


class Inside(NamedTuple):
    """A process of a machine."""

    pid: int
    """As this host numbers it."""
    name: str


def processes_inside(pids: Iterable[int]) -> dict[int, Inside]:
    """Those of them that are in a process namespace below this one, by the numbers that they have there."""
    found: dict[int, Inside] = {}
    for pid in pids:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            facts = {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}
            numbers = [int(word) for word in facts["NSpid"].split()]
            if len(numbers) > 1:
                found[numbers[-1]] = Inside(pid, _printable(facts["Name"]))
    return found


def until_only_its_own(pid: int, timeout_s: float) -> None:
    """Wait until the guest server holds no connection to this host, which cannot be saved. Blocks.

    Raises: `StateNotSaved` when it still does after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while _sockets_of(pid) - _sockets_inside(pid):
        if time.monotonic() >= deadline:
            raise StateNotSaved(_KNOWN["Unix socket"])
        time.sleep(0.002)


def _sockets_of(pid: int) -> set[str]:
    found: set[str] = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(str(link.readlink()))
    return {name[8:-1] for name in found if name.startswith("socket:[")}


def _sockets_inside(pid: int) -> set[str]:
    """Inode numbers of all unix sockets in the network namespace of a process."""
    return {line.split()[6] for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]}


def _places(images: Path, work: Path, log: str) -> list[str]:
    common = ["--images-dir", str(images), "--work-dir", str(work), "--log-file", log, "-v1", "--file-locks"]
    return [*common, "--manage-cgroups=ignore", "--empty-ns", "net", "--network-lock", "skip"]


def _popen(argv: Sequence[str], waiting: Hook, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=waiting.environment
        )


def _while_it_waits(waiting: Hook, work: Callable[[], None]) -> None:
    well = False
    try:
        work()
        well = True
    finally:
        waiting.go_on(well=well)


def _complaints(log: Path) -> "list[re.Match[str]]":
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    matches = (_COMPLAINT.match(line) for line in lines)
    return [match for match in matches if match and not match["words"].startswith(_HARMLESS)]


def _name_of(pid: int | None) -> dict[int, str]:
    with suppress(OSError):
        return {} if pid is None else {pid: _printable(Path(f"/proc/{pid}/comm").read_text().strip())}
    return {}


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:_WORDS_LIMIT]
