"""What this host can do: the checks behind `agent-s3 doctor`, each with the command that mends it."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from vm_pool import images
from vm_pool.criu import find_criu
from vm_pool.errors import ConfigError, VMPoolError
from vm_pool.images.build import missing_for_user_builds
from vm_pool.images.recipe import RECIPES, host_suite
from vm_pool.images.store import images_dir
from vm_pool.local_state import default_places, machine_uid
from vm_pool.providers import PROVIDERS, provider_class
from vm_pool.providers.sandbox_cgroup import find_hierarchy
from vm_pool.providers.sandbox_disk import copies_share_blocks
from vm_pool.providers.sandbox_launch import as_machine_uid
from vm_pool.providers.sandbox_seccomp import AUDIT_ARCH, filter_bytes
from vm_pool.providers.vm_accel import why_no_kvm
from vm_pool.providers.vm_cloning import EMULATOR, cloning_of
from vm_pool.providers.vm_connection import VARIABLE, check_allowed, choice_of
from vm_pool.providers.vm_places import INSTALL
from vm_pool.types import Frozen

_FRAME_BYTES = 1920 * 1080 * 4
_USUAL_MACHINES = 4
_WANTED_DISK = 2 * 2**30
_PROBE_S = 10.0


class Check(Frozen):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found, in one line."""
    fix: str | None = None
    """The command that mends it; None when it is ok or nothing on this host can mend it."""
    required: bool = True
    """False: the sandbox works without it, with less."""


def checks() -> list[Check]:
    """All checks, in the order in which they should be mended. Starts a few short processes; takes about 0.1 s."""
    found = [check() for check in (_kernel, _tools, _namespaces, _overlay, _sandbox)]
    found += [_limits(), _shared_memory(), _disk(), _builder()]
    return [*found, _criu(), *_docker(), *_virtual_machines(), *(_image(name) for name in RECIPES)]


def _kernel() -> Check:
    machine = platform.machine()
    ok = platform.system() == "Linux" and machine in AUDIT_ARCH
    return Check(
        name="kernel",
        ok=ok,
        detail=f"{platform.system()} {platform.release()} on {machine}",
        fix=None if ok else f"use a Linux host with one of these architectures: {', '.join(AUDIT_ARCH)}",
    )


def _tools() -> Check:
    needed = {"bwrap": "bubblewrap", "unshare": "util-linux", "setpriv": "util-linux", "prlimit": "util-linux"}
    missing = [tool for tool in needed if shutil.which(tool) is None]
    packages = " ".join(dict.fromkeys(needed[tool] for tool in missing))
    return Check(
        name="tools",
        ok=not missing,
        detail=f"missing: {', '.join(missing)}" if missing else f"{', '.join(needed)} are there",
        fix=f"{_sudo()}apt-get install -y {packages}" if missing else None,
    )


def _namespaces() -> Check:
    complaint = _probe([*as_machine_uid(), "unshare", "--user", "--map-root-user", "--mount", "--", "true"])
    return Check(
        name="user namespaces",
        ok=complaint is None,
        detail=complaint or f"uid {machine_uid()} can make user namespaces",
        fix=None if complaint is None else namespace_fix(),
    )


def namespace_fix(proc_sys: Path = Path("/proc/sys")) -> str:
    """The setting that keeps user namespaces from being made, by what this kernel has."""
    for name in ("kernel/apparmor_restrict_unprivileged_userns", "kernel/unprivileged_userns_clone"):
        path = proc_sys / name
        wanted = "0" if "apparmor" in name else "1"
        if path.exists() and path.read_text().strip() != wanted:
            return f"{_sudo()}sysctl -w {name.replace('/', '.')}={wanted}"
    return f"{_sudo()}sysctl -w user.max_user_namespaces=15000  # in a container: give it the host's user namespaces"


def _overlay() -> Check:
    """Overlayfs inside a user namespace, on the file system that holds the machines."""
    script = 'mkdir lower upper work merged && mount -t overlay overlay -o "$1" merged && touch merged/file'
    options = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    complaint = _in_state_folder(
        lambda folder: _probe(
            [
                *as_machine_uid(),
                *("unshare", "--user", "--map-root-user", "--mount", "--"),
                "sh",
                "-c",
                script,
                "sh",
                options,
            ],
            cwd=folder,
        )
    )
    return Check(
        name="overlayfs",
        ok=complaint is None,
        detail=complaint or f"works in a user namespace on {default_places().state}",
        fix=None
        if complaint is None
        else "AGENT_S3_STATE=/a/directory/on/ext4/xfs/btrfs agent-s3 doctor  # Linux 5.11 or newer",
    )


def _sandbox() -> Check:
    """bubblewrap with everything that machines ask of it, the system call filter included."""
    complaint = _probe_bwrap()
    return Check(
        name="bubblewrap",
        ok=complaint is None,
        detail=complaint or "starts with all namespaces new, no capabilities and the system call filter",
        fix=None
        if complaint is None
        else "bwrap 0.8 or newer, and a /proc that is not masked (not inside plain Docker)",
    )


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
        return _probe([*as_machine_uid(), "bwrap", *isolation, *places, "--", "true"], pass_fds=(fd,))
    finally:
        os.close(fd)


def _limits() -> Check:
    hierarchy = find_hierarchy()
    if hierarchy:
        controllers = ", ".join(hierarchy.folders)
        return Check(
            name="limits", ok=True, required=False, detail=f"control groups version {hierarchy.version}: {controllers}"
        )
    return Check(
        name="limits",
        ok=False,
        required=False,
        detail="no control group can be made; memory is limited per process only, CPU not at all",
        fix="systemd-run --user --scope --property=Delegate=yes agent-s3 ...  (or run as root)",
    )


def _shared_memory() -> Check:
    free = shutil.disk_usage(default_places().runtime.parent).free
    machines = free // (_FRAME_BYTES + 2**20)
    ok = machines >= _USUAL_MACHINES
    return Check(
        name="shared memory",
        ok=ok,
        detail=f"{default_places().runtime.parent} has room for the screens of {machines} machines at 1920x1080",
        fix=None if ok else f"{_sudo()}mount -o remount,size=1G /dev/shm",
    )


def _disk() -> Check:
    place = _existing(default_places().state)
    free = shutil.disk_usage(place).free
    return Check(
        name="disk",
        ok=free >= _WANTED_DISK,
        detail=f"{place} has {free / 2**30:.0f} GiB free; {_copies()}",
        fix=None if free >= _WANTED_DISK else "agent-s3 pool gc  (or set AGENT_S3_STATE to a larger disk)",
    )


def _copies() -> str:
    """What a snapshot or fork does with files."""
    try:
        places = default_places()
        places.make()
        shared = copies_share_blocks(places)
    except (OSError, VMPoolError):
        return "whether copies can share blocks there could not be tried"
    return "forks share blocks there (reflinks)" if shared else "forks copy files there (no reflinks)"


def _builder() -> Check:
    missing = [tool for tool in ("mmdebstrap", "tar", "apt-get") if shutil.which(tool) is None]
    if missing:
        detail, fix = f"missing: {', '.join(missing)}", f"{_sudo()}apt-get install -y mmdebstrap"
    elif os.geteuid() != 0 and (reason := missing_for_user_builds()):
        detail, _, fix = reason.partition("; run: ")
    else:
        detail, fix = _suite(), None
    return Check(name="image builder", ok=fix is None, required=False, detail=detail, fix=fix)


def _suite() -> str:
    try:
        suite = host_suite()
    except VMPoolError as error:
        return str(error)
    return f"builds images of {suite.distribution} {suite.codename} in {images_dir()}"


def _criu() -> Check:
    """Whether running programs can be saved, for the provider `sandbox-criu`."""
    try:
        criu = find_criu()
        criu.check()
    except VMPoolError as error:
        detail, _, fix = str(error).partition("; run: ")
        detail = f"sandbox-criu copies by boot: {detail}"
        return Check(name="saved programs", ok=False, required=False, detail=detail, fix=fix or None)
    detail = f"sandbox-criu copies by restore: CRIU {criu.version} works with this kernel"
    return Check(name="saved programs", ok=True, required=False, detail=detail)


def _docker() -> Iterator[Check]:
    """Only where somebody means to use it: the extra or a daemon is installed."""
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if find_spec("docker") is None and dockerd is None:
        return
    try:
        detail, fix = _docker_daemon(), None
    except VMPoolError as error:
        detail, _, fix = str(error).partition("; run: ")
    yield Check(name="docker", ok=fix is None, required=False, detail=detail, fix=fix)


def _docker_daemon() -> str:
    """Raises: `HostUnfit` without the extra or a fit daemon, `ConfigError` for an address elsewhere."""
    daemon = provider_class("docker", PROVIDERS["docker"])().daemon
    daemon.check()
    return f"{daemon.version()} at {daemon.host}"


def _virtual_machines() -> Iterator[Check]:
    """Only where somebody means to use them: QEMU or the extra is installed."""
    emulator, binding = shutil.which(EMULATOR), find_spec("libvirt")
    if emulator is None and binding is None:
        return
    detail, fix = "QEMU is missing", INSTALL
    if emulator and binding is None:
        detail, fix = "libvirt-python is missing", "pip install 'agent-s3[libvirt]'"
    elif emulator:
        detail, fix = _ways_of_virtual_machines(Path(emulator)), _what_mends_their_libvirt()
    yield Check(name="virtual machines", ok=fix is None, required=False, detail=detail, fix=fix)


def _ways_of_virtual_machines(emulator: Path) -> str:
    slow = why_no_kvm(Path("/proc/cpuinfo").read_text(encoding="utf-8"), Path("/dev/kvm"))
    runs = f"run by software emulation: {slow}" if slow else "run by KVM if a guest starts under it"
    way, reason = cloning_of(emulator)
    return f"{runs}; copied by {way}: {reason}; {_their_libvirt()}"


def _their_libvirt() -> str:
    try:
        choice = choice_of(None)
        check_allowed(choice, uid=os.geteuid())
    except ConfigError as error:
        return str(error)
    return "started by libvirt inside agent-s3" if choice.kind == "embed" else f"started by {choice.address}"


def _what_mends_their_libvirt() -> str | None:
    """None where machines can be started by the one that the environment names."""
    try:
        check_allowed(choice_of(None), uid=os.geteuid())
    except ConfigError:
        return f"export {VARIABLE}=embed"
    return None


def _image(name: str) -> Check:
    try:
        image = images.find(name)
    except VMPoolError as error:
        fix = f"agent-s3 pool image build {name}"
        return Check(name=f"image {name}", ok=False, required=False, detail=str(error).partition("; run: ")[0], fix=fix)
    detail = f"{image.id}, {image.packages} packages, {image.bytes / 2**30:.1f} GiB"
    return Check(name=f"image {name}", ok=True, required=False, detail=detail)


def _probe(argv: list[str], *, cwd: str | None = None, pass_fds: tuple[int, ...] = ()) -> str | None:
    """Run a harmless command; returns the last line of its complaint when it fails, else None."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PROBE_S, cwd=cwd, pass_fds=pass_fds, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not end within {_PROBE_S:g} s"
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (lines[-1] if lines else f"ended with code {done.returncode}")


def _in_state_folder(probe: Callable[[str], str | None]) -> str | None:
    """Run a probe in a folder next to the machines' that the uid they run as owns."""
    try:
        default_places().make()
        with tempfile.TemporaryDirectory(dir=default_places().machines.parent, prefix="doctor-") as folder:
            os.chown(folder, machine_uid(), -1)
            return probe(folder)
    except (OSError, VMPoolError) as error:
        return str(error)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "
