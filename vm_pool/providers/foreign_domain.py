"""The description of a virtual machine that starts from somebody else's disk. Pure.

It looks like an ordinary computer: a disk, a network card behind QEMU's user-mode network, a screen, a keyboard, a
tablet. The network leads from one port of this host's loopback interface to the guest server, from another to our
relay where the machine may reach something, and nowhere else.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from vm_pool.providers.foreign_disk import ForeignDisk
from vm_pool.providers.vm_domain import AnyDomain, Label, add

_GUEST = "10.0.2.15"
"""What user-mode networks give their guest."""
_DISK_TARGETS = {"sata": "sda", "virtio": "vda"}
_CARDS = {"e1000e": "e1000e", "virtio": "virtio-net-pci"}
_SLOT = "0x10"
_TRANSLATED_MIB = 256
"""Most memory for translated code, where a machine runs without hardware support."""


class UefiFiles(NamedTuple):
    """Firmware of this host, and where a machine keeps its variables."""

    code: Path
    variables: Path


class ForeignDomain(AnyDomain):
    """Everything that decides how such a machine is started."""

    what: ForeignDisk
    memory_mib: int
    cpus: int
    uefi: UefiFiles | None
    tunnels: int | None = None
    """Port of the relay inside; None: it reaches nothing."""

    @property
    def as_we(self) -> bool:
        """The emulator of a TPM lets nobody else connect, and writes into a folder that few may enter."""
        return self.what.tpm

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.what.disk, *((self.uefi.code,) if self.uefi else ()))

    @property
    def writes(self) -> tuple[Path, ...]:
        return (*super().writes, *((self.uefi.variables,) if self.uefi else ()))

    def xml(self, labels: Iterable[Label] = ()) -> str:
        root = self.begun(memory_mib=self.memory_mib, cpus=self.cpus)
        self._add_platform(root)
        self._add_devices(add(root, "devices"))
        self.add_labels(root, labels)
        self.add_arguments(root, self._arguments())
        return Xml.tostring(root, encoding="unicode")

    def _add_platform(self, root: Xml.Element) -> None:
        system = add(root, "os")
        add(system, "type", "hvm", arch="x86_64", machine="q35")
        if self.uefi:
            add(system, "loader", str(self.uefi.code), readonly="yes", type="pflash")
            add(system, "nvram", str(self.uefi.variables))
        self.add_processor(root, translated_mib=_TRANSLATED_MIB, on_reboot="restart")

    def _add_devices(self, devices: Xml.Element) -> None:
        add(devices, "emulator", str(self.emulator))
        self.add_disk(devices, target=_DISK_TARGETS[self.what.bus], bus=self.what.bus)
        self.add_console(devices)
        add(add(devices, "video"), "model", type="vga")
        add(devices, "input", type="tablet", bus="usb")
        add(devices, "input", type="keyboard", bus="usb")
        add(devices, "controller", type="usb", model="qemu-xhci")
        if self.what.tpm:
            add(add(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")
        random = add(devices, "rng", model="virtio")
        add(random, "backend", "/dev/urandom", model="random")
        add(devices, "memballoon", model="none")

    def _arguments(self) -> list[str]:
        """A network that is closed but for a port or two."""
        # Port 0: the kernel takes a free one, which QEMU tells afterwards.
        ports = [self.what.port, *([self.tunnels] if self.tunnels else [])]
        forward = ",".join(f"hostfwd=tcp:127.0.0.1:0-{_GUEST}:{port}" for port in ports)
        card = f"{_CARDS[self.what.card]},netdev=net0,romfile=,bus=pcie.0,addr={_SLOT}"
        return ["-netdev", f"user,id=net0,restrict=on,{forward}", "-device", card]


def forwarded_port(usernet: str, guest_port: int) -> int | None:
    """The port on this host's loopback, from what QEMU says at `info usernet`; None when it forwards none.

    A line is: protocol and state, descriptor, source address and port, destination address and port, queues.
    """
    for line in usernet.splitlines():
        words = line.split()
        if len(words) >= 6 and words[0] == "TCP[HOST_FORWARD]" and words[5] == str(guest_port):
            return int(words[3])
    return None
