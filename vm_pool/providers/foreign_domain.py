"""The description of a virtual machine that starts from somebody else's disk. Pure.

It looks like an ordinary computer: a disk, a network card behind QEMU's user-mode network, a screen, a keyboard, a
tablet. The network leads from one port of this host's loopback interface to the guest server, and nowhere else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from vm_pool.providers.foreign_disk import ForeignDisk
from vm_pool.providers.vm_domain import METADATA, Accel
from vm_pool.types import Frozen

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
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


class ForeignDomain(Frozen):
    """Everything that decides how such a machine is started."""

    name: str
    uuid: str
    generation: str
    """A fresh UUID for each copy of a machine."""
    accel: Accel
    emulator: Path
    what: ForeignDisk
    memory_mib: int
    cpus: int
    disk: Path
    """What it writes on."""
    uefi: UefiFiles | None
    console: Path
    incoming: bool
    """True: it waits for saved state instead of booting."""
    notes: Mapping[str, str] = {}

    def xml(self) -> str:
        root = Xml.Element("domain", {"type": "kvm" if self.accel == "kvm" else "qemu"})
        for tag, text in (("name", self.name), ("uuid", self.uuid), ("genid", self.generation)):
            _add(root, tag, text)
        notes = _add(_add(root, "metadata"), f"{{{METADATA}}}machine")
        for key, value in self.notes.items():
            _add(notes, f"{{{METADATA}}}note", value, name=key)
        _add(root, "memory", str(self.memory_mib), unit="MiB")
        _add(root, "vcpu", str(self.cpus))
        self._add_platform(root)
        self._add_devices(_add(root, "devices"))
        self._add_command_line(_add(root, f"{{{_QEMU}}}commandline"))
        return Xml.tostring(root, encoding="unicode")

    def _add_platform(self, root: Xml.Element) -> None:
        system = _add(root, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        if self.uefi:
            _add(system, "loader", str(self.uefi.code), readonly="yes", type="pflash")
            _add(system, "nvram", str(self.uefi.variables))
        features = _add(root, "features")
        _add(features, "acpi")
        if self.accel == "tcg":
            _add(_add(features, "tcg"), "tb-cache", str(_TRANSLATED_MIB), unit="MiB")
        _add(root, "cpu", mode="host-passthrough" if self.accel == "kvm" else "maximum")
        _add(root, "clock", offset="utc")
        for event in ("on_poweroff", "on_reboot", "on_crash"):
            _add(root, event, "restart" if event == "on_reboot" else "destroy")

    def _add_devices(self, devices: Xml.Element) -> None:
        _add(devices, "emulator", str(self.emulator))
        disk = _add(devices, "disk", type="file", device="disk")
        _add(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
        _add(disk, "source", file=str(self.disk))
        _add(disk, "target", dev=_DISK_TARGETS[self.what.bus], bus=self.what.bus)
        serial = _add(devices, "serial", type="file")
        _add(serial, "source", path=str(self.console))
        _add(serial, "target", port="0")
        _add(_add(devices, "video"), "model", type="vga")
        _add(devices, "input", type="tablet", bus="usb")
        _add(devices, "input", type="keyboard", bus="usb")
        _add(devices, "controller", type="usb", model="qemu-xhci")
        if self.what.tpm:
            _add(_add(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")
        random = _add(devices, "rng", model="virtio")
        _add(random, "backend", "/dev/urandom", model="random")
        _add(devices, "memballoon", model="none")

    def _add_command_line(self, line: Xml.Element) -> None:
        """What libvirt has no words for: a network that is closed but for one port, and waiting for state."""
        # Port 0: the kernel takes a free one, which QEMU tells afterwards.
        forward = f"hostfwd=tcp:127.0.0.1:0-{_GUEST}:{self.what.port}"
        words = ["-netdev", f"user,id=net0,restrict=on,{forward}"]
        words += ["-device", f"{_CARDS[self.what.card]},netdev=net0,romfile=,bus=pcie.0,addr={_SLOT}"]
        words += ["-incoming", "defer"] if self.incoming else []
        for word in words:
            _add(line, f"{{{_QEMU}}}arg", value=word)


def forwarded_port(usernet: str, guest_port: int) -> int | None:
    """The port on this host's loopback, from what QEMU says at `info usernet`; None when it forwards none.

    A line is: protocol and state, descriptor, source address and port, destination address and port, queues.
    """
    for line in usernet.splitlines():
        words = line.split()
        if len(words) >= 6 and words[0] == "TCP[HOST_FORWARD]" and words[5] == str(guest_port):
            return int(words[3])
    return None


def _add(parent: Xml.Element, tag: str, text: str | None = None, **attributes: str) -> Xml.Element:
    element = Xml.SubElement(parent, tag, attributes)
    element.text = text
    return element
