"""What this host has for all but running sandboxes: building images, saved programs, containers, virtual machines."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from vm_pool import images
from vm_pool.criu import find_criu
from vm_pool.errors import ConfigError, VMPoolError
from vm_pool.host_check import Check, looked_at, refused, sudo
from vm_pool.images.build import missing_for_user_builds
from vm_pool.images.recipe import host_suite
from vm_pool.images.store import images_dir
from vm_pool.providers import PROVIDERS, provider_class
from vm_pool.providers.vm_accel import why_no_kvm
from vm_pool.providers.vm_cloning import EMULATOR, cloning_of
from vm_pool.providers.vm_connection import VARIABLE, check_allowed, choice_of
from vm_pool.providers.vm_places import INSTALL


def builder() -> Check:
    missing = [tool for tool in ("mmdebstrap", "tar", "apt-get") if shutil.which(tool) is None]
    if missing:
        detail, fix = f"missing: {', '.join(missing)}", sudo("apt-get install -y mmdebstrap")
    elif os.geteuid() != 0 and (reason := missing_for_user_builds()):
        detail, _, fix = reason.partition("; run: ")
    else:
        detail, fix = _suite(), None
    return looked_at("image builder", detail, fix, required=False)


def saved_programs() -> Check:
    """Whether running programs can be saved, for the provider `sandbox-criu`."""
    try:
        criu = find_criu()
        criu.check()
    except VMPoolError as error:
        return refused("saved programs", error, prefix="sandbox-criu copies by boot: ")
    detail = f"sandbox-criu copies by restore: CRIU {criu.version} works with this kernel"
    return looked_at("saved programs", detail, None, required=False)


def docker() -> Iterator[Check]:
    """Only where somebody means to use it: the extra or a daemon is installed."""
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if find_spec("docker") is None and dockerd is None:
        return
    try:
        yield looked_at("docker", _docker_daemon(), None, required=False)
    except VMPoolError as error:
        yield refused("docker", error)


def virtual_machines() -> Iterator[Check]:
    """Only where somebody means to use them: QEMU or the extra is installed."""
    emulator, binding = shutil.which(EMULATOR), find_spec("libvirt")
    if emulator is None and binding is None:
        return
    detail, fix = "QEMU is missing", INSTALL
    if emulator and binding is None:
        detail, fix = "libvirt-python is missing", "pip install 'agent-s3[libvirt]'"
    elif emulator:
        detail, fix = _ways_of_virtual_machines(Path(emulator)), _what_mends_their_libvirt()
    yield looked_at("virtual machines", detail, fix, required=False)


def image(name: str) -> Check:
    try:
        found = images.find(name)
    except VMPoolError as error:
        reason = str(error).partition("; run: ")[0]
        return looked_at(f"image {name}", reason, f"agent-s3 pool image build {name}", required=False)
    detail = f"{found.id}, {found.packages} packages, {found.bytes / 2**30:.1f} GiB"
    return looked_at(f"image {name}", detail, None, required=False)


def _suite() -> str:
    try:
        suite = host_suite()
    except VMPoolError as error:
        return str(error)
    return f"builds images of {suite.distribution} {suite.codename} in {images_dir()}"


def _docker_daemon() -> str:
    """Raises: `HostUnfit` without the extra or a fit daemon, `ConfigError` for an address elsewhere."""
    daemon = provider_class("docker", PROVIDERS["docker"])().daemon
    daemon.check()
    return f"{daemon.version()} at {daemon.host}"


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
