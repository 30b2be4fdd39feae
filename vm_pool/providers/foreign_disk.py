"""Disks that others made, with a guest server of OSWorld's or WindowsAgentArena's on them: what to know of one.

    Spec(image="/disks/Ubuntu.qcow2")     what stands in /disks/Ubuntu.toml, if there is one
    Spec(image="/disks/windows.toml")

A disk is read and never written. What it says of itself is not believed: one that would make QEMU read other files of
this host is refused.
"""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.providers.vm_places import INSTALL
from vm_pool.types import Frozen

Firmware = Literal["bios", "uefi"]
_LARGEST_TOML = 65536


class ForeignDisk(Frozen):
    """What a TOML file beside a disk may say."""

    disk: Path
    """Relative to the TOML file's folder; a file NAME.toml that leaves it out is about NAME.qcow2."""
    firmware: Firmware = "bios"
    tpm: bool = False
    """A TPM 2.0, which Windows 11 wants; needs swtpm on this host."""
    memory_mib: int | None = Field(default=None, ge=256)
    """None: what the machine's `Spec` says."""
    cpus: int | None = Field(default=None, ge=1, le=64)
    """None: what the machine's `Spec` says."""
    bus: Literal["sata", "virtio"] = "sata"
    """Of the disk. Every system can start from the former; the latter is faster and needs its driver."""
    card: Literal["e1000e", "virtio"] = "e1000e"
    """The network card, by which the guest server is reached. Windows brings no driver for the latter."""
    port: int = Field(default=5000, ge=1, le=65535)
    """TCP port of the guest server, inside."""
    screen: Literal["server", "card"] = "server"
    """Where frames come from: the guest server, or QEMU's graphics card, which costs the guest nothing. The latter is
    right where the desktop is on the card, and its pointer shows only if the guest draws it itself."""
    input: Literal["auto", "server"] = "auto"
    """How pointer and keys without letters are sent: by the machine's own tablet and keyboard where its desktop reads
    these, which is found out at its start; or always by the guest server, which starts a program each time."""
    boot_timeout_s: float = Field(default=600.0, gt=0)


def is_foreign(image: str) -> bool:
    """Whether an image is named by a path."""
    return Path(image).suffix in (".qcow2", ".toml")


def read_foreign_disk(image: str) -> ForeignDisk:
    """What a path says, checked. Blocks. Raises: `ConfigError` in one line, `HostUnfit` without QEMU's tools."""
    path = Path(image).absolute()
    if not is_foreign(image):
        raise ConfigError(f"{image!r} names no disk; give the path of a .qcow2, or of the .toml about one")
    beside = path.with_suffix(".toml")
    described = _read_toml(beside) if path.suffix == ".toml" or beside.is_file() else {}
    described.setdefault("disk", path.with_suffix(".qcow2").name)
    try:
        found = ForeignDisk.model_validate(described)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{beside}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    found = found.model_copy(update={"disk": path.parent / found.disk})
    _check(found.disk)
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_TOML:
            raise ConfigError(f"{path} is no description of a disk: it is longer than {_LARGEST_TOML} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a .qcow2 or the .toml about one") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check(disk: Path) -> None:
    """A disk may name another file as its content, which QEMU would open with this user's rights."""
    if not disk.is_file():
        raise ConfigError(f"no disk at {disk}; name a .qcow2 or the .toml about one")
    if shutil.which("qemu-img") is None:
        raise HostUnfit(f"QEMU is missing; run: {INSTALL}")
    command = ["qemu-img", "info", "-f", "qcow2", "--output=json", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ConfigError(f"{disk} is no qcow2 disk; convert it: qemu-img convert -O qcow2 OLD NEW")
    facts: dict[str, Any] = json.loads(done.stdout)
    outside = facts.get("backing-filename") or facts.get("format-specific", {}).get("data", {}).get("data-file")
    if outside:
        raise ConfigError(f"{disk} has its content elsewhere; copy it whole: qemu-img convert -O qcow2 {disk} NEW")
