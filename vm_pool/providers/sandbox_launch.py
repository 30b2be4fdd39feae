"""Starting one sandbox: the chain of commands from this process down to the guest server.

    sh (enters the control group) > prlimit > setpriv (root only: becomes the machine's uid)
       > unshare (a user namespace of one uid) > sh (mounts the overlay) > bwrap (the sandbox) > guest server

Each replaces the one before, so that the process we start is the one that `--die-with-parent` ties to us. The shell
texts are fixed; everything variable is an argument.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vm_pool.guest_code import GUEST_CODE, HOME, RUN, UID, USER, guest_server
from vm_pool.local_state import HOST_UID, MachineFolder
from vm_pool.provider import Spec
from vm_pool.providers.sandbox_cgroup import Group, prlimit_options

TOOLS = {"bwrap": "bubblewrap", "unshare": "util-linux", "setpriv": "util-linux", "prlimit": "util-linux"}
"""Programs that a start needs and the packages they come in."""
_ENTER_GROUP = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"'
_WATCHERS, _WATCHED = 32, 65_536
"""Inotify instances and watches of one machine. The kernel counts them by user id, which all machines of a user share:
without limits of its own the first one could leave none to the others. An idle desktop has two instances."""
SHARE = (
    f"{{ echo {_WATCHERS} > /proc/sys/user/max_inotify_instances;"
    f" echo {_WATCHED} > /proc/sys/user/max_inotify_watches; }} 2>/dev/null;"
)
_MOUNT = SHARE + ' mount -t overlay overlay -o "$1" "$2" || exit 125; shift 2; exec "$@"'
_ENVIRONMENT = {
    "HOME": HOME,
    "USER": USER,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
}

# --die-with-parent fires when the *thread* that started bwrap ends, not only the process; this one lives on.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")


@dataclass(frozen=True)
class Launch:
    """Everything that decides how a sandbox is started."""

    rootfs: Path
    guest_code: Path
    folder: MachineFolder
    spec: Spec
    group: Group | None
    """None: no control group here, limits per process stand in."""


def start(launch: Launch, filter_program: bytes) -> "subprocess.Popen[bytes]":
    """Start the sandbox; returns as soon as its first process runs. Blocks for about 2 ms."""
    return from_lasting_thread(lambda: _spawn(launch, filter_program))


def from_lasting_thread(spawn: "Callable[[], subprocess.Popen[bytes]]") -> "subprocess.Popen[bytes]":
    """Start a process that is to end with this one, and not sooner."""
    return _spawner.submit(spawn).result()


def command(launch: Launch, seccomp_fd: int) -> list[str]:
    """The whole command line, outermost first."""
    return [
        *limited(launch),
        *as_machine_uid(),
        *("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--"),
        *("sh", "-c", _MOUNT, "mount", overlay_options(launch), str(launch.folder.merged)),
        *bwrap(launch, seccomp_fd),
        *guest_server(launch.spec),
    ]


def overlay_options(launch: Launch) -> str:
    folder = launch.folder
    return f"lowerdir={launch.rootfs},upperdir={folder.upper},workdir={folder.work},userxattr"


def bwrap(launch: Launch, seccomp_fd: int) -> list[str]:
    """All namespaces new, no network, no capabilities, no further user namespaces, our filter, nothing of the host."""
    merged = launch.folder.merged
    # A tree that an ordinary user built belongs to the machine's own uid, which may not change programs all the same.
    system = [word for name in ("usr", "etc") for word in ("--ro-bind", f"{merged}/{name}", f"/{name}")]
    environment = [word for key, value in _ENVIRONMENT.items() for word in ("--setenv", key, value)]
    return [
        "bwrap",
        *("--bind", str(merged), "/", *system),
        *("--ro-bind", str(launch.folder.machine_id), "/etc/machine-id"),
        *("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"),
        *("--bind", str(launch.folder.ctl), f"{RUN}/ctl"),
        *("--bind", str(launch.folder.frames), f"{RUN}/frames"),
        *("--bind", str(launch.folder.journal), f"{RUN}/journal"),
        *("--ro-bind", str(launch.guest_code), GUEST_CODE),
        *("--unshare-all", "--unshare-user", "--uid", str(UID), "--gid", str(UID), "--hostname", "desktop"),
        *("--cap-drop", "ALL", "--disable-userns", "--seccomp", str(seccomp_fd)),
        *("--die-with-parent", "--new-session", "--chdir", HOME, "--clearenv", *environment, "--"),
    ]


def as_machine_uid() -> list[str]:
    """As root: the command that becomes the uid of machines and gives up everything else; else nothing."""
    if os.geteuid() != 0:
        return []
    uid = str(HOST_UID)
    return ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"]


def limited(launch: Launch) -> list[str]:
    """The command that puts what follows under the machine's limits."""
    if launch.group is None:
        options = prlimit_options(launch.spec.memory_mib, launch.spec.pids)
        return ["prlimit", *options, "--core=0", "--"] if options else []
    files = [str(path) for path in launch.group.join_files]
    return ["sh", "-c", _ENTER_GROUP, "enter", *files, "--", "prlimit", "--core=0", "--"]


def _spawn(launch: Launch, filter_program: bytes) -> "subprocess.Popen[bytes]":
    seccomp_fd = os.memfd_create("seccomp", 0)
    try:
        os.write(seccomp_fd, filter_program)
        os.lseek(seccomp_fd, 0, os.SEEK_SET)
        return _popen(command(launch, seccomp_fd), seccomp_fd, launch.folder.log)
    finally:
        os.close(seccomp_fd)


def _popen(argv: Sequence[str], seccomp_fd: int, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[seccomp_fd],
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
