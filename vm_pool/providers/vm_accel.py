"""Whether this host runs virtual machines in hardware. Only a guest that ran proves it: `/dev/kvm` alone does not."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from vm_pool.providers.vm_domain import KERNEL_LINE, Accel
from vm_pool.providers.vm_user import QemuUser, own_user

PROBE_LINE = "agent-s3: this guest runs"
"""What `images/vm_init.sh` says when it is started with `agent-s3.probe`."""
_PROBE_S = 10.0


class Acceleration(NamedTuple):
    accel: Accel
    reason: str
    """Why, in a few words."""


def choose(emulator: Path, kernel: Path, initrd: Path, user: QemuUser) -> Acceleration:
    """KVM where a guest of this kernel really runs under it, else software emulation. Blocks, for at most 10 s."""
    reason = why_no_kvm(Path("/proc/cpuinfo").read_text(encoding="utf-8"), Path("/dev/kvm"), user)
    if reason is None and not guest_runs("kvm", emulator, kernel, initrd, timeout_s=_PROBE_S, user=user):
        reason = f"a guest under KVM did not start within {_PROBE_S:g} s"
    return Acceleration("kvm", "a guest ran under KVM") if reason is None else Acceleration("tcg", reason)


def why_no_kvm(cpuinfo: str, device: Path, user: QemuUser | None = None) -> str | None:
    """What rules KVM out without a try; None when it may work. `user`: as whom QEMU runs; None: as when we start it."""
    flags = {word for line in cpuinfo.splitlines() if line.startswith("flags") for word in line.split()}
    if not flags & {"vmx", "svm"}:
        return "the processor shows neither vmx nor svm"
    if not device.exists():
        return f"there is no {device}"
    user = user or own_user()
    return None if user.may(device, "rw") else f"{device} may not be opened by uid {user.uid}, as which QEMU runs"


def guest_runs(
    accel: Accel, emulator: Path, kernel: Path, initrd: Path, *, timeout_s: float, user: QemuUser | None = None
) -> bool:
    """Whether a small guest gets as far as saying so."""
    command = [str(emulator), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "256"]
    command += ["-accel", accel, "-cpu", "host" if accel == "kvm" else "max", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", f"{KERNEL_LINE} agent-s3.probe"]
    try:
        done = (user or own_user()).run(command, timeout_s=timeout_s)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return PROBE_LINE.encode() in done.stdout
