"""Starting a sandbox whose programs CRIU can save, and the place in which it restores them.

    sh (control group) > prlimit > unshare (a user namespace) > sh (waits for its map) > setpriv (its root)
       > unshare > sh (mounts the overlay) > bwrap > setpriv (the desktop's user, no capabilities)
       > sh (the first process) > guest server

It differs from `sandbox_launch` where CRIU asks for it: there is one user namespace and not three, in which a second
powerless uid stands for root; a shell is the first process; and what its log goes to lies inside. Nested user
namespaces are switched off by the kernel's limit for this one. In the end nothing inside has any capability.
"""

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from vm_pool.errors import HostUnfit
from vm_pool.guest_code import GUEST_CODE, RUN, UID, guest_server
from vm_pool.local_state import HOST_UID, MachineFolder
from vm_pool.providers import sandbox_launch
from vm_pool.providers.sandbox_launch import Launch, from_lasting_thread, limited, overlay_options

ROOT_UID = HOST_UID + 1
"""The host's uid and gid behind root inside; they own nothing."""
ID_MAP = f"0 {ROOT_UID} 1\n{UID} {HOST_UID} 1\n"
LOG_NAME = "session.log"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""What bwrap's `--dev` takes from the host."""
OWN_LIMITS = f"{sandbox_launch.SHARE} echo 0 > /proc/sys/user/max_user_namespaces"
"""Of what the kernel counts by user namespace: file watches, and no nested namespaces."""

_WAIT = 'echo unshared; read -r go || exit 125; exec "$@"'
_WAIT_AND_CLOSE = f"{_WAIT} </dev/null >&2"
_MOUNT = 'mount -t overlay overlay -o "$1" "$2" || exit 125; shift 2; exec "$@"'
_STAGE = """
mount -t tmpfs -o mode=755 tmpfs "$1" && cd "$1" || exit 125
mkdir root && mount -t overlay overlay -o "nosuid,nodev,$2" root || exit 125
shift 2
place=0
for source; do
    if [ -d "$source" ]; then mkdir "$place"; else : > "$place"; fi || exit 125
    mount --bind "$source" "$place" || exit 125
    place=$((place + 1))
done
cd /
echo staged
read -r end
"""
# A shell stays the first process: it collects orphans, and has no socket that CRIU could not restore beside them.
_FIRST = 'exec </dev/null >>"$1" 2>&1; shift; "$@"; exit $?'
_LIMIT_AND_GO = f'{OWN_LIMITS} || exit 125; exec "$@"'


class Stage(NamedTuple):
    """Where what is to be mounted in a machine lies."""

    holder: int
    """Process id of one that holds the mount namespace in which it does."""
    root: Path
    mounts: dict[str, Path]
    """As `external_mounts`."""


def external_mounts(folder: MachineFolder, guest_code: Path) -> dict[str, Path]:
    """What is mounted from the host, by its place inside: the same for all machines but for where it comes from."""
    return {
        **{f"/dev/{name}": Path("/dev", name) for name in DEVICES},
        "/etc/machine-id": folder.machine_id,
        f"{RUN}/ctl": folder.ctl,
        f"{RUN}/frames": folder.frames,
        f"{RUN}/journal": folder.journal,
        GUEST_CODE: guest_code,
    }


def start(launch: Launch, filter_program: bytes) -> "subprocess.Popen[bytes]":
    """Start the sandbox; returns as soon as it is on its way. Blocks for some ms."""
    seccomp_fd = os.memfd_create("seccomp", 0)
    try:
        os.write(seccomp_fd, filter_program)
        os.lseek(seccomp_fd, 0, os.SEEK_SET)
        process = _popen([*limited(launch), *_command(launch, seccomp_fd)], launch.folder.log, pass_fds=[seccomp_fd])
    finally:
        os.close(seccomp_fd)
    _give_its_map(process, launch.folder.log)
    _pipe(process.stdin).close()
    _pipe(process.stdout).close()
    return process


@contextmanager
def staged(launch: Launch, folder: Path) -> Generator[Stage]:
    """All that a machine's restored programs see of this host, mounted below a folder, in a mount namespace of its own.

    The folder must be one that any user can pass through: CRIU looks there as root of the machine's user namespace.
    The overlay is mounted with the rights of such a namespace, as in `start`: no root of this host stands behind its
    files. Raises: `HostUnfit` when something cannot be mounted.
    """
    mounts = external_mounts(launch.folder, launch.guest_code)
    sources = map(str, mounts.values())
    staging = ["sh", "-c", _STAGE, "stage", str(folder), overlay_options(launch), *sources]
    process = _popen([*_unshared(_WAIT), *_OWN_MOUNTS, *staging], launch.folder.log)
    try:
        _give_its_map(process, launch.folder.log)
        _expect(process, b"staged\n", launch.folder.log)
        places = {place: folder / str(number) for number, place in enumerate(mounts)}
        yield Stage(process.pid, folder / "root", places)
    finally:
        process.kill()
        process.wait()
        _pipe(process.stdin).close()
        _pipe(process.stdout).close()


def _command(launch: Launch, seccomp_fd: int) -> list[str]:
    """From the user namespace down to the guest server."""
    user = ["--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    return [
        *_unshared(_WAIT_AND_CLOSE),
        *("sh", "-c", _LIMIT_AND_GO, "limit"),
        *_OWN_MOUNTS,
        *("sh", "-c", _MOUNT, "mount", overlay_options(launch), str(launch.folder.merged)),
        *_bwrap(launch, seccomp_fd),
        # The parent's death signal is asked for again: becoming another user lets go of it.
        *("setpriv", *user, "--ambient-caps=-all", "--pdeathsig", "KILL", "--"),
        *("sh", "-c", _FIRST, "first", f"{RUN}/journal/{LOG_NAME}"),
        *guest_server(launch.spec),
    ]


def _unshared(wait: str) -> list[str]:
    """In a user namespace of its own as its root, once it has a map. It belongs to root of this host, as CRIU needs."""
    as_its_root = ["--reuid", "0", "--regid", "0", "--groups", str(UID), "--inh-caps=-all", "--ambient-caps=-all"]
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--user", "--keep-caps", "--", "sh", "-c", wait, "wait"),
        *("setpriv", *as_its_root, "--pdeathsig", "KILL", "--"),
    ]


_OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "--")


def _bwrap(launch: Launch, seccomp_fd: int) -> list[str]:
    """As `sandbox_launch.bwrap`, in the user namespace that is there; places of the user's that were of its root."""
    words = iter(sandbox_launch.bwrap(launch, seccomp_fd))
    command: list[str] = []
    for word in words:
        if word in ("--unshare-user", "--disable-userns"):
            continue
        if word in ("--uid", "--gid"):
            next(words)
        elif word == "--unshare-all":
            command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        elif word == "--tmpfs":
            command += ["--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", next(words)]  # noqa: S108
            command += ["--perms", "0755", "--dir", RUN]
        elif word == "--seccomp":
            needed = [option for name in ("SETUID", "SETGID", "SETPCAP") for option in ("--cap-add", f"CAP_{name}")]
            command += ["--as-pid-1", *needed, word]
        else:
            command.append(word)
    return command


def _popen(argv: Sequence[str], log: Path, *, pass_fds: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return from_lasting_thread(
            lambda: subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=pass_fds,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        )


def _give_its_map(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Raises: `HostUnfit` when it ended instead of making its namespace."""
    _expect(process, b"unshared\n", log)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{process.pid}/{name}").write_text(ID_MAP, encoding="ascii")
    with suppress(BrokenPipeError):
        _pipe(process.stdin).write(b"go\n")
        _pipe(process.stdin).flush()


def _expect(process: "subprocess.Popen[bytes]", line: bytes, log: Path) -> None:
    """The processes that answer are this host's own programs, which end when they cannot go on."""
    if _pipe(process.stdout).readline() != line:
        process.kill()
        process.wait()
        words = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise HostUnfit(f"the sandbox did not start: {words[0]}; run: agent-s3 doctor")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
