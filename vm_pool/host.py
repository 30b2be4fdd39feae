"""What this host can do: the checks behind `agent-s3 doctor`, each with the command that mends it."""

import os
import platform
import shutil
from pathlib import Path

from vm_pool import host_extras
from vm_pool.errors import VMPoolError
from vm_pool.host_check import Check, in_state_folder, looked_at, probe, sudo
from vm_pool.images.recipe import RECIPES
from vm_pool.local_state import default_places, machine_uid
from vm_pool.providers.sandbox_cgroup import find_hierarchy
from vm_pool.providers.sandbox_disk import copies_share_blocks
from vm_pool.providers.sandbox_launch import TOOLS, as_machine_uid
from vm_pool.providers.sandbox_seccomp import AUDIT_ARCH, filter_bytes

__all__ = ["Check", "checks", "namespace_fix"]

_FRAME_BYTES = 1920 * 1080 * 4
_USUAL_MACHINES = 4
_WANTED_DISK = 2 * 2**30
_IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--")


def checks() -> list[Check]:
    """All checks, in the order in which they should be mended. Starts a few short processes; takes about 0.1 s."""
    found = [check() for check in (_kernel, _tools, _namespaces, _overlay, _sandbox)]
    found += [_limits(), _shared_memory(), _disk(), host_extras.builder(), host_extras.saved_programs()]
    built = [host_extras.image(name) for name in RECIPES]
    return [*found, *host_extras.docker(), *host_extras.virtual_machines(), *built]


def _kernel() -> Check:
    machine = platform.machine()
    ok = platform.system() == "Linux" and machine in AUDIT_ARCH
    fix = None if ok else f"use a Linux host with one of these architectures: {', '.join(AUDIT_ARCH)}"
    return looked_at("kernel", f"{platform.system()} {platform.release()} on {machine}", fix)


def _tools() -> Check:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing:
        return looked_at("tools", f"{', '.join(TOOLS)} are there", None)
    packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
    return looked_at("tools", f"missing: {', '.join(missing)}", sudo(f"apt-get install -y {packages}"))


def _namespaces() -> Check:
    if complaint := probe([*as_machine_uid(), *_IN_A_NAMESPACE, "true"]):
        return looked_at("user namespaces", complaint, namespace_fix())
    return looked_at("user namespaces", f"uid {machine_uid()} can make user namespaces", None)


def namespace_fix(proc_sys: Path = Path("/proc/sys")) -> str:
    """The setting that keeps user namespaces from being made, by what this kernel has."""
    for name in ("kernel/apparmor_restrict_unprivileged_userns", "kernel/unprivileged_userns_clone"):
        path = proc_sys / name
        wanted = "0" if "apparmor" in name else "1"
        if path.exists() and path.read_text().strip() != wanted:
            return sudo(f"sysctl -w {name.replace('/', '.')}={wanted}")
    return sudo("sysctl -w user.max_user_namespaces=15000  # in a container: give it the host's user namespaces")


def _overlay() -> Check:
    """Overlayfs inside a user namespace, on the file system that holds the machines."""
    script = 'mkdir lower upper work merged && mount -t overlay overlay -o "$1" merged && touch merged/file'
    options = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    command = [*as_machine_uid(), *_IN_A_NAMESPACE, "sh", "-c", script, "sh", options]
    if complaint := in_state_folder(lambda folder: probe(command, cwd=folder)):
        fix = "AGENT_S3_STATE=/a/directory/on/ext4/xfs/btrfs agent-s3 doctor  # Linux 5.11 or newer"
        return looked_at("overlayfs", complaint, fix)
    return looked_at("overlayfs", f"works in a user namespace on {default_places().state}", None)


def _sandbox() -> Check:
    """bubblewrap with everything that machines ask of it, the system call filter included."""
    if complaint := _probe_bwrap():
        fix = "bwrap 0.8 or newer, and a /proc that is not masked (not inside plain Docker)"
        return looked_at("bubblewrap", complaint, fix)
    detail = "starts with all namespaces new, no capabilities and the system call filter"
    return looked_at("bubblewrap", detail, None)


def _probe_bwrap() -> str | None:
    try:
        program = filter_bytes()
    except VMPoolError as error:
        return str(error)
    fd = os.memfd_create("seccomp", 0)
    try:
        os.write(fd, program)
        os.lseek(fd, 0, os.SEEK_SET)
        isolation = ["--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--disable-userns", "--seccomp", str(fd)]
        places = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        return probe([*as_machine_uid(), "bwrap", *isolation, *places, "--", "true"], pass_fds=(fd,))
    finally:
        os.close(fd)


def _limits() -> Check:
    if hierarchy := find_hierarchy():
        detail = f"control groups version {hierarchy.version}: {', '.join(hierarchy.folders)}"
        return looked_at("limits", detail, None, required=False)
    detail = "no control group can be made; memory is limited per process only, CPU not at all"
    fix = "systemd-run --user --scope --property=Delegate=yes agent-s3 ...  (or run as root)"
    return looked_at("limits", detail, fix, required=False)


def _shared_memory() -> Check:
    place = default_places().runtime.parent
    machines = shutil.disk_usage(place).free // (_FRAME_BYTES + 2**20)
    fix = None if machines >= _USUAL_MACHINES else sudo("mount -o remount,size=1G /dev/shm")
    return looked_at("shared memory", f"{place} has room for the screens of {machines} machines at 1920x1080", fix)


def _disk() -> Check:
    state = default_places().state
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    fix = None if free >= _WANTED_DISK else "agent-s3 pool gc  (or set AGENT_S3_STATE to a larger disk)"
    return looked_at("disk", f"{place} has {free / 2**30:.0f} GiB free; {_copies()}", fix)


def _copies() -> str:
    """What a snapshot or fork does with files."""
    try:
        places = default_places()
        places.make()
        shared = copies_share_blocks(places)
    except (OSError, VMPoolError):
        return "whether copies can share blocks there could not be tried"
    return "forks share blocks there (reflinks)" if shared else "forks copy files there (no reflinks)"
