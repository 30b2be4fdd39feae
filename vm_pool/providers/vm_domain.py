"""The description of a virtual machine that libvirt gets. Pure.

Machines that share saved state must be alike in all devices, so everything here is the same for booted, forked and
baked ones but the names, the files and how memory is kept.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as Xml

from vm_pool.providers.vm_screen import SharedScreen
from vm_pool.types import Frozen

PORT_NAME = "org.agent-s3.control"
METADATA = "https://agent-s3.invalid/machine"
"""A name, not an address: the XML namespace of what we note in a domain."""
KERNEL_LINE = "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on mitigations=off nokaslr"
_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_TRANSLATED_MIB = 128
"""Most memory for translated code, where a machine runs without hardware support; QEMU's own default is 1 GiB."""

_LOW_MIB, _MOST_LOW_MIB = 2048, 2816
"""Below 4 GiB a machine has the former, unless all it has is less than the latter. Source: QEMU, hw/i386/pc_q35.c."""

Accel = Literal["kvm", "tcg"]


class Memory(Frozen):
    """How a machine keeps its memory."""

    mib: int
    file: Path | None = None
    """None: anonymous."""
    shared: bool = False
    """Write to the file; False: map it copy-on-write."""


class Domain(Frozen):
    """Everything that decides how a virtual machine is started."""

    name: str
    uuid: str
    generation: str
    """A fresh UUID for each copy of a machine; its kernel takes new random numbers when it changes."""
    accel: Accel
    memory: Memory
    screen: SharedScreen
    cpus: float
    """0: one."""
    emulator: Path
    kernel: Path
    initrd: Path
    disk: Path
    port: Path
    console: Path
    incoming: bool
    """True: it waits for saved state instead of booting."""
    notes: Mapping[str, str] = {}
    """Owner and labels, for whoever lists domains."""

    def xml(self) -> str:
        root = Xml.Element("domain", {"type": "kvm" if self.accel == "kvm" else "qemu"})
        for tag, text in (("name", self.name), ("uuid", self.uuid), ("genid", self.generation)):
            _add(root, tag, text)
        notes = _add(_add(root, "metadata"), f"{{{METADATA}}}machine")
        for key, value in self.notes.items():
            _add(notes, f"{{{METADATA}}}note", value, name=key)
        _add(root, "memory", str(self.memory.mib), unit="MiB")
        _add(root, "vcpu", str(max(1, math.ceil(self.cpus))))
        self._add_platform(root)
        self._add_devices(_add(root, "devices"))
        self._add_command_line(_add(root, f"{{{_QEMU}}}commandline"))
        # libvirt would ask for each of 400 features of the processor, which is longer than all else that it does.
        _add(_add(root, f"{{{_QEMU}}}capabilities"), f"{{{_QEMU}}}del", capability="cpu-unavailable-features")
        return Xml.tostring(root, encoding="unicode")

    def _add_platform(self, root: Xml.Element) -> None:
        system = _add(root, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        _add(system, "kernel", str(self.kernel))
        _add(system, "initrd", str(self.initrd))
        # The kernel is told of the memory that this host sees too, as of a place to keep files.
        _add(system, "cmdline", f"{KERNEL_LINE} memmap={self.screen.size}!{self._screen_address()}")
        features = _add(root, "features")
        _add(features, "acpi")
        if self.accel == "tcg":
            _add(_add(features, "tcg"), "tb-cache", str(_TRANSLATED_MIB), unit="MiB")
        _add(root, "cpu", mode="host-passthrough" if self.accel == "kvm" else "maximum")
        _add(root, "clock", offset="utc")
        for event in ("on_poweroff", "on_reboot", "on_crash"):
            _add(root, event, "destroy")

    def _add_devices(self, devices: Xml.Element) -> None:
        _add(devices, "emulator", str(self.emulator))
        disk = _add(devices, "disk", type="file", device="disk")
        # A machine's disk does not outlive a crash of this host, so nothing is forced out to it.
        _add(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
        _add(disk, "source", file=str(self.disk))
        _add(disk, "target", dev="vda", bus="virtio")
        channel = _add(devices, "channel", type="unix")
        _add(channel, "source", mode="bind", path=str(self.port))
        _add(channel, "target", type="virtio", name=PORT_NAME)
        serial = _add(devices, "serial", type="file")
        _add(serial, "source", path=str(self.console))
        _add(serial, "target", port="0")
        random = _add(devices, "rng", model="virtio")
        _add(random, "backend", "/dev/urandom", model="random")
        _add(devices, "controller", type="usb", model="none")
        _add(devices, "memballoon", model="none")

    def _add_command_line(self, line: Xml.Element) -> None:
        """What libvirt has no words for: memory files of our choice, and waiting for state."""
        words = ["-object", json.dumps(self._memory_object()), "-machine", "memory-backend=mem,nvdimm=on"]
        words += ["-m", f"slots=1,maxmem={(self.memory.mib << 20) + self.screen.size}B"]
        words += ["-object", json.dumps(_file_memory("screen", self.screen.size, self.screen.file, share=True))]
        words += ["-device", f"nvdimm,id=screen0,memdev=screen,addr={self._screen_address()}"]
        words += ["-incoming", "defer"] if self.incoming else []
        for word in words:
            _add(line, f"{{{_QEMU}}}arg", value=word)

    def _memory_object(self) -> dict[str, object]:
        size = self.memory.mib << 20
        if self.memory.file is None:
            return {"qom-type": "memory-backend-ram", "id": "mem", "size": size}
        return _file_memory("mem", size, self.memory.file, share=self.memory.shared)

    def _screen_address(self) -> int:
        """Where the machine sees it: at the first GiB above all other memory."""
        high_mib = self.memory.mib - _LOW_MIB if self.memory.mib >= _MOST_LOW_MIB else 0
        return (4 + -(-high_mib // 1024)) << 30


def _file_memory(name: str, size: int, path: Path, *, share: bool) -> dict[str, object]:
    return {"qom-type": "memory-backend-file", "id": name, "size": size, "mem-path": str(path), "share": share}


def _add(parent: Xml.Element, tag: str, text: str | None = None, **attributes: str) -> Xml.Element:
    element = Xml.SubElement(parent, tag, attributes)
    element.text = text
    return element
